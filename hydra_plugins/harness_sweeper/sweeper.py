"""A sweeper that prepares every job before the first one runs, tolerates the death of any of them, and always reports."""

import itertools
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from harness.cli.command import running
from harness.errors import ConfigError, OwnError
from harness.transfer.depth import parse_freeze

Asked = tuple[Any, list[str]]
"""The configuration of a job, and the overrides that composed it."""


class GridSweeper(Sweeper):
    """Every combination of the swept values, one job each."""

    def __init__(self, params: dict[str, str] | None = None, max_batch_size: int | None = None) -> None:
        self.params = params or {}
        self.max_batch_size = max_batch_size
        self.context: HydraContext
        self.config: DictConfig
        self.launcher: Launcher
        self.started = time.perf_counter()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config, self.started = hydra_context, config, time.perf_counter()
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the grid that the command line spans. Ends the program with the sweep's exit status."""
        sys.exit(self.run(self.asked(arguments)))

    def asked(self, arguments: list[str]) -> list[Asked]:
        """The jobs that a command line spans. Raises whatever Hydra does about it, and ConfigError."""
        from harness.cli.compose import Composer
        from harness.cli.own_images import require_source

        composer = Composer(self._compose, self._is_group)
        asked = [(composer.config(overrides), overrides) for overrides in self._combinations(arguments)]
        for config, overrides in asked:
            require_source(config, overrides)
        return asked

    def run(self, asked: Sequence[Asked]) -> int:
        """Run jobs to the report. Returns the sweep's exit status."""
        with running():
            return self._run_search(asked) if self._is_staged else self._run_grid(asked)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self.context.config_loader.load_sweep_config(self.config, list(overrides))

    def _is_group(self, key: str) -> bool:
        return bool(self.context.config_loader.get_group_options(key))

    @property
    def _is_staged(self) -> bool:
        return bool(self.config.search.name == "staged")

    # What is imported from here on needs seconds, and a wrong key is told before.

    def _run_grid(self, asked: Sequence[Asked]) -> int:
        from harness.search.grid import run_grid

        return run_grid(asked) if self._is_local else run_grid(asked, self._launch, self.max_batch_size)

    def _run_search(self, asked: Sequence[Asked]) -> int:
        from harness.search.sweep import run_search

        if not self._is_local:
            raise ConfigError(
                "search=staged: runs its jobs one by one on this machine; leave hydra/launcher as it is, or give search=grid."
            )
        return run_search(asked, self.started)

    def _combinations(self, arguments: list[str]) -> list[list[str]]:
        defaults = [f"{key}={value}" for key, value in self.params.items()]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        choices = {override.get_key_element(): _values(override) for override in parser.parse_overrides(defaults + arguments)}
        if "backbone" in choices:
            from harness.search.runner import expand_backbones

            # Outermost, so that the depths of one backbone follow each other and the time left is told by like jobs.
            choices = {"backbone": expand_backbones(choices.pop("backbone")), **choices}
        if self._is_staged and not any(map(_is_whole, choices["freeze"])):
            choices["freeze"] = ["all", *choices["freeze"]]  # what every backbone is probed at
        return [list(parts) for parts in itertools.product(*([f"{key}={value}" for value in values] for key, values in choices.items()))]

    @property
    def _is_local(self) -> bool:
        """Whether jobs run on this machine, which needs no launcher: they are prepared already."""
        return type(self.launcher).__name__ == "BasicLauncher"

    def _launch(self, jobs: Sequence[Any]) -> list[str | None]:
        """What went wrong with each job outside of its own process; None for those that have a row. A worker composes its job anew."""
        returns = self.launcher.launch([list(job.command) for job in jobs], initial_job_idx=self._num_launched)
        self._num_launched += len(jobs)
        return [_error(job) for job in returns]

    _num_launched = 0


def _error(job: JobReturn) -> str | None:
    try:
        job.return_value  # noqa: B018  raises what the job raised
    except OwnError as error:
        return " ".join(str(error).split())
    except Exception as error:  # noqa: BLE001  a launcher passes on anything
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def _is_whole(freeze: str) -> bool:
    with suppress(ConfigError):  # told with all else that is wrong, once jobs are prepared
        return parse_freeze(freeze).is_whole
    return False


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]
