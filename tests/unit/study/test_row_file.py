"""The bytes of a row: whatever they are, they are a good row or there is a reason, in words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.study.row import COLUMNS, ROW_SCHEMA
from harness.study.row_file import OtherSchemaError, RowFile, decode, encode
from harness.study.sealed import sealed
from tests.unit.fuzzing import examples
from tests.unit.study.test_store import make_row

FILE = RowFile(make_row("a", val_accuracy=0.1 + 0.2, val_log_loss=1e-05, error="ünï\ud800", n_val=3), "0" * 32)
CONTENT = encode(FILE)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def reason_or_row(content: bytes) -> str | RowFile:
    """What comes of some bytes; any other exception fails the test."""
    try:
        return decode(content)
    except ValueError as error:
        return str(error)


def test_what_is_read_is_what_was_written() -> None:
    """Half characters and the last digit of a number included; a file without predictions says so."""
    assert decode(CONTENT) == FILE
    assert decode(encode(RowFile(make_row("a"), None))).predictions_blake2b is None


def test_every_single_changed_bit_is_found() -> None:
    """In the text, in the numbers, in spaces and in the hash itself: all bits of the head, and one of every byte behind it."""
    for place in range(len(CONTENT)):
        for bit in range(8) if place < 200 else [place % 8]:
            changed = bytearray(CONTENT)
            changed[place] ^= 1 << bit
            assert isinstance(reason_or_row(bytes(changed)), str), (place, bit)


def test_a_change_that_leaves_the_values_equal_is_found() -> None:
    """Another spelling of a number, of an escape or of the space between them is another file."""
    for old, new in ((b"1e-05", b"1E-05"), (b"\\u00fc", b"\\u00FC"), (b"0.30000000000000004", b"0.30000000000000005"), (b'": 3', b'":  3')):
        assert old in CONTENT
        assert reason_or_row(CONTENT.replace(old, new, 1)) == "is not as it was written"
    assert reason_or_row(CONTENT + b"\n") == "is not as it was written"


def test_every_place_to_be_cut_at_is_found() -> None:
    """Nothing short of the whole file is a row."""
    assert all(isinstance(reason_or_row(CONTENT[:end]), str) for end in range(len(CONTENT)))


@examples(500)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode) | PLAIN.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_no_row_for_a_reason(content: bytes) -> None:
    """No exception but the one that says why, and that on one line."""
    found = reason_or_row(content)
    assert isinstance(found, str)
    assert found
    assert "\n" not in found


@examples(300)
@given(st.integers(0, len(CONTENT)), st.integers(0, 40), st.binary(max_size=40))
def test_a_row_with_a_part_overwritten_is_itself_or_no_row(start: int, length: int, rubbish: bytes) -> None:
    """Bytes put in, taken out or replaced anywhere."""
    found = reason_or_row(CONTENT[:start] + rubbish + CONTENT[start + length :])
    assert isinstance(found, str) or found == FILE


@examples(300)
@given(st.sampled_from([*COLUMNS, "details", "schema", "predictions_blake2b"]), PLAIN)
def test_a_sealed_row_of_wrong_values_is_no_row(name: str, value: Any) -> None:
    """Whoever wrote it: a value of no type that its column can have is never let into the table."""
    record = json.loads(CONTENT) | {name: value}
    del record["blake2b"]
    found = reason_or_row(sealed(json.dumps(record)).encode())
    if isinstance(found, RowFile) and name in COLUMNS:
        kept = getattr(found.row, name)
        assert (type(kept), kept) == (type(value), value)
        assert type(value) in {str, int, float, bool, type(None)}


@examples(200)
@given(st.dictionaries(st.sampled_from(["curve", "profile", "class_names", "undefined", "command", "lr_losses"]), PLAIN, max_size=2))
def test_sealed_details_of_wrong_types_are_no_row(details: dict[str, Any]) -> None:
    """Lists are lists, and a learning curve is made of points."""
    record = json.loads(CONTENT) | {"details": details}
    del record["blake2b"]
    reason_or_row(sealed(json.dumps(record)).encode())


@pytest.mark.parametrize(
    ("column", "value"), [("seed", 1.5), ("seed", True), ("status", "fine"), ("job_id", None), ("val_accuracy", "0.5")]
)
def test_the_wrong_value_is_named(column: str, value: object) -> None:
    """The reason says which column."""
    record = json.loads(CONTENT) | {column: value}
    del record["blake2b"]
    with pytest.raises(ValueError, match=rf"holds what no row has \(.*{value if column == 'status' else column}"):
        decode(sealed(json.dumps(record)).encode())


@pytest.mark.parametrize("schema", [ROW_SCHEMA - 1, ROW_SCHEMA + 1, 0, 99])
def test_another_schema_is_refused_by_number(schema: int) -> None:
    """With a seal and, as in versions before it, without one; but a seal that does not hold is damage, not another version."""
    record = json.loads(CONTENT) | {"schema": schema}
    del record["blake2b"]
    for text in (json.dumps(record), sealed(json.dumps(record))):
        with pytest.raises(
            OtherSchemaError, match=rf"schema {schema}, {'older' if schema < ROW_SCHEMA else 'newer'} than schema {ROW_SCHEMA}"
        ):
            decode(text.encode())
    with pytest.raises(ValueError, match="is not as it was written"):
        decode(CONTENT.replace(f'"schema": {ROW_SCHEMA}'.encode(), f'"schema": {schema}'.encode()))


def test_numbers_that_json_does_not_have_are_no_row() -> None:
    """NaN and infinity are never written, so never read."""
    with pytest.raises(ValueError, match="JSON"):
        encode(RowFile(make_row("a", val_accuracy=float("nan")), None))
    record = json.loads(CONTENT) | {"val_accuracy": float("inf")}
    del record["blake2b"]
    assert reason_or_row(sealed(json.dumps(record)).encode()) == "is not JSON any more, so cut short or changed"
