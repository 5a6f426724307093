"""Encode and decode the file of a row, which carries a hash of its own text: a file with any bit changed is refused.

Between the row and the study folder. `sealed` has the form of the bytes; the second key names the predictions that the row was made from.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from harness.study.row import ROW_SCHEMA, Row, from_json, to_json
from harness.study.sealed import dumped, unsealed


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
    return dumped({"schema": record.pop("schema"), "predictions_blake2b": file.predictions_blake2b, **record})


@lru_cache(maxsize=2**14)
def decode(content: bytes) -> RowFile:
    """The inverse of `encode`, for any bytes. A report reads every row several times: equal bytes are looked into once.

    Raises:
        OtherSchemaError: the row's schema is older or newer than this version's.
        ValueError: these are not the bytes that were written; the message says why, as a clause that follows a file name.
    """
    record, is_sealed = unsealed(content)
    schema = record.get("schema")
    if type(schema) is int and schema != ROW_SCHEMA:
        age = "older" if schema < ROW_SCHEMA else "newer"
        raise OtherSchemaError(f"holds a row of schema {schema}, {age} than schema {ROW_SCHEMA} of this version")
    if schema is None or not is_sealed:
        raise ValueError("is not as it was written")
    return _checked(record)


def _checked(record: dict[str, Any]) -> RowFile:
    vouched = record.get("predictions_blake2b")
    try:
        row = from_json(record)
    except (TypeError, ValueError) as error:
        raise ValueError(f"holds what no row has ({' '.join(str(error).split())[:120]})") from error
    return RowFile(row, vouched if isinstance(vouched, str) else None)
