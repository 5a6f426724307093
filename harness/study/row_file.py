"""A row as the bytes of its file, which prove themselves: whatever bit of them changes, they are no row any more.

Between the row and the study folder. The text is JSON. Its first key is the hash of all the text behind it, so that a change which
leaves the values equal is found as well; the second names the predictions that the row was made from.
"""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from harness.study.disk import digest
from harness.study.row import ROW_SCHEMA, Row, from_json, to_json

_OPENING = '{\n "blake2b": "'


@dataclass(frozen=True, slots=True)
class RowFile:
    """What the file of a row says."""

    row: Row
    predictions_blake2b: str | None
    """Hash of the file of predictions that lay there when the row was written; None: there was none."""


class OtherSchemaError(ValueError):
    """A row that another version of the harness has written."""


def encode(file: RowFile) -> bytes:
    """The bytes to write."""
    record = to_json(file.row)
    content = {"schema": record.pop("schema"), "predictions_blake2b": file.predictions_blake2b, **record}
    return sealed(json.dumps(content, indent=1, allow_nan=False)).encode("ascii")


def decode(content: bytes) -> RowFile:
    """The inverse of `encode`, for any bytes.

    Raises:
        OtherSchemaError: the row's schema is older or newer than this version's.
        ValueError: these are not the bytes that were written; the message says why, as a clause that follows a file name.
    """
    if not content:
        raise ValueError("is empty")
    record = _parsed(content)
    text, schema = content.decode("ascii"), record.get("schema")
    if text.startswith(_OPENING) and text != sealed("{" + text.partition('",')[2]):
        raise ValueError("is not as it was written")
    if type(schema) is int and schema != ROW_SCHEMA:
        age = "older" if schema < ROW_SCHEMA else "newer"
        raise OtherSchemaError(f"holds a row of schema {schema}, {age} than schema {ROW_SCHEMA} of this version")
    if schema is None or not text.startswith(_OPENING):
        raise ValueError("is not as it was written")
    return _checked(record)


def sealed(text: str) -> str:
    """A JSON object as text, with the hash of that text put in front of its first key."""
    return f'{_OPENING}{digest(text.encode())}",{text[1:]}'


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content.decode("ascii"), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON any more, so cut short or changed") from error
    if not isinstance(record, dict):
        raise ValueError("is no row")  # noqa: TRY004  one kind of error, whatever the bytes are
    return record


def _checked(record: dict[str, Any]) -> RowFile:
    vouched = record.get("predictions_blake2b")
    try:
        row = from_json(record)
    except (TypeError, ValueError) as error:
        raise ValueError(f"holds what no row has ({' '.join(str(error).split())[:120]})") from error
    return RowFile(row, vouched if isinstance(vouched, str) else None)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
