"""A JSON object with a checksum: its first key is the hash of all the text behind it.

So a change which leaves the values equal is found as well. Between the disk and whatever the object means.
"""

import json
from typing import Any, NoReturn

from harness.files import digest

_OPENING = '{\n "blake2b": "'


def sealed(text: str) -> str:
    """A JSON object as text, with the hash of that text put in front of its first key."""
    return f'{_OPENING}{digest(text.encode())}",{text[1:]}'


def dumped(record: dict[str, Any]) -> bytes:
    """The bytes of a record. Raises ValueError for numbers that JSON does not have."""
    return sealed(json.dumps(record, indent=1, allow_nan=False)).encode("ascii")


def unsealed(content: bytes) -> tuple[dict[str, Any], bool]:
    """The record in some bytes, and whether they carry a hash.

    Raises:
        ValueError: these are not the bytes that were written; the message says why, as a clause that follows a file name.
    """
    if not content:
        raise ValueError("is empty")
    record = _parsed(content)
    text = content.decode("ascii")
    if text.startswith(_OPENING) and text != sealed("{" + text.partition('",')[2]):
        raise ValueError("is not as it was written")
    return record, text.startswith(_OPENING)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content.decode("ascii"), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON any more, so cut short or changed") from error
    if not isinstance(record, dict):
        raise ValueError("is no record")  # noqa: TRY004  one kind of error, whatever the bytes are
    return record


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
