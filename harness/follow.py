"""Entry: `python -m harness.follow study=lesions` tells how a sweep goes whose workers are elsewhere, and writes its report at the end."""

import sys

from omegaconf import DictConfig

from harness.cli import command
from harness.config import FollowConfig
from harness.errors import ConfigError
from harness.files import local_folder
from harness.study.store import find_study


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="follow", schema=FollowConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(FollowConfig):
        command.stay()
        status = run(command.typed(cfg, FollowConfig))
    sys.exit(status)


def run(cfg: FollowConfig) -> int:
    """Follow the plan that was written to a study last, or end its workers.

    Returns:
        The exit status of the sweep; 0 when its workers were ended.

    Raises:
        TableError: there is no such study, or no plan in it; workers end without doing anything.
        ConfigError: there are no workers to end, or their cluster does not answer.
        StoreError: the study cannot be written.
    """
    from harness.clusters.cluster import resumed
    from harness.search.follow import follow
    from harness.search.grid import announced
    from harness.search.plan import newest_plan, read_plan
    from harness.search.runner import sweep_of

    study = find_study(local_folder(cfg.results_dir), cfg.study)
    folder = newest_plan(study)
    cluster = resumed(folder)
    if cfg.cancel:
        if cluster is None:
            raise ConfigError(f"cancel=true: no cluster has workers of {study.root}; end those that were started by hand where they run.")
        cluster.cancel()
        print("its workers were told to end; what is finished stays", flush=True)
        return 0
    plan = read_plan(folder)
    sweep = sweep_of(plan.jobs)
    return follow(plan, sweep, cluster, announced(sweep))


if __name__ == "__main__":
    main()
