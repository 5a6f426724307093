"""What an audit of the images found, in a file of the study for each data fingerprint: near copies, and images unlike the others.

A file carries its checksum as a row does (`sealed`). Made by the first job that has features of all images at hand (`jobs.audit_data`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from harness.study.sealed import dumped, unsealed

FINDINGS_SCHEMA = 1
NEAR_COPY = "near copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem of one image."""

    path: str
    """Its name in the data set."""
    split: str
    problem: str
    label: str
    score: float
    """Of a near copy the cosine of features, of a suspect label its margin; else what was measured."""
    other_path: str | None = None
    """Of a near copy the image that it copies, which is no copy of another one itself."""
    other_split: str | None = None
    suggested_label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Of one data set as it was split."""

    num_images: Mapping[str, int]
    """By split."""
    copied: Mapping[str, Mapping[str, int]]
    """Split -> another one -> images of the first that have a near copy in it; `val` in `train`, `test` in `train` and `val`."""
    backbone: str
    """Whose features were compared."""
    is_complete: bool
    """False: so many images are alike that not all pairs were looked at."""
    findings: tuple[Finding, ...] = field(default=())


def encode(found: Findings) -> bytes:
    """The bytes to write."""
    return dumped({"schema": FINDINGS_SCHEMA, **asdict(found)})


def decode(content: bytes) -> Findings:
    """The inverse of `encode`, for any bytes.

    Raises:
        ValueError: these are not the bytes that were written; the message says why, as a clause that follows a file name.
    """
    record, is_sealed = unsealed(content)
    if not is_sealed:
        raise ValueError("is not as it was written")
    if record.get("schema") != FINDINGS_SCHEMA:
        raise ValueError(f"holds findings of another schema than {FINDINGS_SCHEMA}")
    try:
        values: dict[str, Any] = {each.name: record[each.name] for each in fields(Findings)}
        return Findings(**values | {"findings": tuple(Finding(**each) for each in record["findings"])})
    except (KeyError, TypeError) as error:
        raise ValueError("holds what no findings have") from error
