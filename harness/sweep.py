"""Entry: `python -m harness.sweep backbone=a,b freeze=all,none data=folder data.root=...`, one job per candidate and seed.

The sweeper in `hydra_plugins/` composes one configuration per job and hands them to a grid or a search, which prepares them all, runs those
that are not done, and ends with the table, the report and a recommendation. In Python `harness.sweep(...)` does the same: this module can be called
(`harness.api.sweeping.sweep`).
"""

import gc
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.cli.interrupt import told
from harness.text.streams import make_usable

if TYPE_CHECKING:
    from inspect import Signature

    from omegaconf import DictConfig

    from harness.api.study import Study

_ASKING = frozenset({"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"})
"""Flags that run nothing."""


def main() -> None:
    """Console entry point."""
    gc.set_threshold(100_000)  # importing makes a great many objects and no garbage; looking for some takes a fifth of its time
    make_usable()
    with told():
        from harness.process.isolate import warm_up

        if _ASKING.isdisjoint(sys.argv):
            warm_up()  # before anything else is imported: what jobs need takes the longest to be there
            if not any(typed.startswith("hydra.mode=") for typed in sys.argv):
                sys.argv.insert(1, "--multirun")  # else Hydra composes the line to learn that, and blames commas for any mistake
        from harness.cli import command
        from harness.cli.own_images import with_source
        from harness.config import SweepConfig

        with command.quit_on_error():
            sys.argv[1:] = with_source(sys.argv[1:])
        command.launch(run_job, config_name="sweep", schema=SweepConfig)


def run_job(cfg: "DictConfig") -> str:
    """Hydra's task function, for launchers with workers of their own: one job from configuration to row. Returns the job's id."""
    from hydra.core.hydra_config import HydraConfig

    from harness.cli.command import running, stay
    from harness.cli.compose import to_config
    from harness.search.grid import run_one

    with running():
        stay()
        return run_one((to_config(cfg), list(HydraConfig.get().overrides.task)))


class _Callable(ModuleType):
    """`harness.sweep` names this module and the function that Python programs call, as neither can wait for the other to be imported."""

    def __call__(self, *arguments: Any, **options: Any) -> "Study":
        from harness.api.sweeping import sweep

        return sweep(*arguments, **options)

    @property
    def __signature__(self) -> "Signature":
        from inspect import signature

        from harness.api.sweeping import sweep

        return signature(sweep)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    main()
