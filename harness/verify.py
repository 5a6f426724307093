"""Entry of the check: `python -m harness.verify study=lesions` says what in a study is not what it was, one line each.

Everything that a row rests on is held against something else: its file against its hash, its metrics against its predictions, the table
against the rows, weights and kept features against the hashes that were taken when they were used. Changes nothing and opens no seal.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from harness import cli
from harness.config import VerifyConfig
from harness.features.store import FeatureStore
from harness.isolate import run_isolated
from harness.study.row import Row, Status
from harness.study.store import Damage, Study, find_study
from harness.untrusted import one_line


def main() -> None:
    """Console entry point."""
    cli.launch(_task, config_name="verify", schema=VerifyConfig)


def _task(cfg: DictConfig) -> None:
    with cli.quit_on_error(VerifyConfig):
        config = OmegaConf.to_object(cfg)
        assert isinstance(config, VerifyConfig)
        status = run(config)
    sys.exit(status)


def run(cfg: VerifyConfig) -> int:
    """Check one study and print what does not match.

    Returns:
        0 when everything does, else `cli.BAD_JOBS`.

    Raises:
        TableError: there is no such study.
        StoreError: a folder cannot be read.
    """
    study = find_study(Path(cfg.results_dir).expanduser(), cfg.study)
    found = 0
    for problem in _problems(study, Path(cfg.cache_dir).expanduser()):
        print(one_line(str(problem)), flush=True)
        found += 1
    what = "everything matches" if not found else f"{found} thing{'s' * (found > 1)} named above must be seen to"
    checked = f"{len(study.rows())} rows with their predictions, weights and kept features checked"
    print(f"{one_line(str(study.root))}: {checked}; {what}.")
    return cli.BAD_JOBS if found else 0


def _problems(study: Study, cache_dir: Path) -> Iterator[Damage]:
    from harness.verification import recomputed

    files, _ = study.row_files()
    yield from study.damaged()
    yield from recomputed.metrics(study, [file for file in files if study.has_predictions(file.row.job_id)])
    yield from recomputed.tables(study)
    yield from recomputed.openings(study, [file.row for file in files])
    yield from _weights(study, [file.row for file in files if file.row.status == Status.ok])
    yield from _features(cache_dir)


def _weights(study: Study, rows: list[Row]) -> Iterator[Damage]:
    rows = [row for row in rows if row.weights_sha256 is not None]
    if not rows:
        return
    outcome = run_isolated("harness.verification.weights:weigh", rows)
    if outcome.status is not Status.ok:
        yield Damage(study.root, f"its weights were not checked ({outcome.error})", "run the check again")
    for file in outcome.value or []:
        if file.wrong:
            more = f" and {len(file.wrong) - 1} more were" if file.wrong[1:] else " was"
            what = f"is not the file that job {file.wrong[0]}{more} made from"
            yield Damage(file.path, what, "delete it, so that it is fetched anew, or run these jobs again in another study")


def _features(cache_dir: Path) -> Iterator[Damage]:
    for folder, reason in FeatureStore(cache_dir / "features", max_gib=0).verify():
        if reason is not None:
            yield Damage(folder, f"is damaged ({reason})", "nothing: the next job that needs it computes it anew")


if __name__ == "__main__":
    main()
