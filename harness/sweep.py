"""Entry: `python -m harness.sweep backbone=a,b freeze=all,none data=folder data.root=...`, one job per candidate and seed.

The sweeper in `hydra_plugins/` composes one configuration per job and hands them to a grid or a search, which prepares them all, runs those
that are not done, and ends with the table, the report and a recommendation.
"""

import gc
import sys
from typing import TYPE_CHECKING

from harness.interrupt import told
from harness.streams import make_usable

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ASKING = frozenset({"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"})
"""Flags that run nothing."""


def main() -> None:
    """Console entry point."""
    gc.set_threshold(100_000)  # importing makes a great many objects and no garbage; looking for some takes a fifth of its time
    make_usable()
    with told():
        from harness.isolate import warm_up

        if _ASKING.isdisjoint(sys.argv):
            warm_up()  # before anything else is imported: what jobs need takes the longest to be there
            if not any(typed.startswith("hydra.mode=") for typed in sys.argv):
                sys.argv.insert(1, "--multirun")  # else Hydra composes the line to learn that, and blames commas for any mistake
        from harness import cli
        from harness.config import SweepConfig
        from harness.own_images import with_source

        with cli.quit_on_error():
            sys.argv[1:] = with_source(sys.argv[1:])
        cli.launch(run_job, config_name="sweep", schema=SweepConfig)


def run_job(cfg: "DictConfig") -> str:
    """Hydra's task function, for launchers with workers of their own: one job from configuration to row. Returns the job's id."""
    from harness.cli import running
    from harness.grid import run_composed

    with running():
        return run_composed(cfg)


if __name__ == "__main__":
    main()
