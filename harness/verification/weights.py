"""Check weights files that are still on this machine against the hashes in the rows. Runs in a process of its own: it needs model libraries."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from harness.backbones.backbone import Kind, WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.hub import CHECKPOINTS, cached_file, published
from harness.backbones.integrity import sha256_of
from harness.backbones.spellings import own_place
from harness.backbones.weights import BUNDLES
from harness.errors import BackboneError
from harness.study.row import Row


@dataclass(frozen=True, slots=True)
class Weighed:
    """One file of weights and the rows that it was loaded for."""

    path: Path
    sha256: str
    source: str
    """Where the rows say that it was found, as in `WeightsSource`."""
    stated: Mapping[str, str]
    """Job id -> the hash in its row."""

    @property
    def wrong(self) -> list[str]:
        """Ids of the jobs that had other weights."""
        return [job_id for job_id, sha256 in self.stated.items() if sha256 != self.sha256]


def weigh(rows: Iterable[Row]) -> list[Weighed]:
    """Hash each file that rows say they were loaded from, as far as it is here; nothing is downloaded."""
    stated: dict[tuple[Path, str], dict[str, str]] = {}
    for row in rows:
        if row.weights_sha256 is not None and (path := _path(row)) is not None:
            stated.setdefault((path, str(row.weights_source)), {})[row.job_id] = row.weights_sha256
    return [Weighed(path, sha256_of(path), source, jobs) for (path, source), jobs in stated.items()]


def _path(row: Row) -> Path | None:
    """Return where the row's weights are locally cached; None when they are not, or not known to be the same ones."""
    if row.weights_source == WeightsSource.bundled:
        return BUNDLES[row.model].path() if row.model in BUNDLES else None
    if row.weights_source == WeightsSource.file:
        return _given(row)
    try:
        spec = resolve(row.backbone)
        source = published(spec)
    except BackboneError:  # another version of the libraries has no such model
        return None
    return cached_file(source) if source and (spec.own or spec.tag == row.weights) else None


def _given(row: Row) -> Path | None:
    """The file that the command named, quoted or not, or the one in the folder that it named."""
    parser = OverridesParser.create()
    values = [str(parser.parse_override(part).value()) for part in row.details.command if part.startswith(("weights=", "backbone="))]
    paths = [Path(value.rpartition("@")[2]).expanduser() for value in values]
    if (own := own_place(row.backbone)) and own[0] is Kind.folder:
        paths += [Path(own[1]).expanduser() / name for name in CHECKPOINTS]
    return next((path for path in paths if path.name == row.weights and path.is_file()), None)
