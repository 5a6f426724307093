"""A sweeper that prepares every job before the first one runs, tolerates the death of any of them, and always reports."""

import itertools
import sys
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


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
        combinations = self._combinations(arguments)
        composed = [(self.context.config_loader.load_sweep_config(self.config, overrides), overrides) for overrides in combinations]
        # Only now: what is imported here needs seconds, and a wrong key should be told at once.
        from harness.own_images import require_source
        from harness.runner import to_config

        configs = [(to_config(config), overrides) for config, overrides in composed]
        for config, overrides in configs:
            require_source(config, overrides)
        sys.exit(self._run_search(configs) if self._is_staged else self._run_grid(configs))

    @property
    def _is_staged(self) -> bool:
        return bool(self.config.search.name == "staged")

    def _run_grid(self, configs: Sequence[tuple[Any, list[str]]]) -> int:
        from harness.grid import run_grid

        return run_grid(configs, self._launch, self._jobs_at_once())

    def _run_search(self, configs: Sequence[tuple[Any, list[str]]]) -> int:
        from harness.errors import ConfigError
        from harness.search.sweep import run_search

        if not self._is_local:
            raise ConfigError(
                "search=staged: runs its jobs one by one on this machine; leave hydra/launcher as it is, or give search=grid."
            )
        return run_search(configs, self.started)

    def _combinations(self, arguments: list[str]) -> list[list[str]]:
        defaults = [f"{key}={value}" for key, value in self.params.items()]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        choices = {override.get_key_element(): _values(override) for override in parser.parse_overrides(defaults + arguments)}
        if "backbone" in choices:
            from harness.runner import expand_backbones

            # Outermost, so that the depths of one backbone follow each other and the time left is told by like jobs.
            choices = {"backbone": expand_backbones(choices.pop("backbone")), **choices}
        if self._is_staged and "all" not in choices["freeze"]:
            choices["freeze"] = ["all", *choices["freeze"]]  # what every backbone is probed at
        return [list(parts) for parts in itertools.product(*([f"{key}={value}" for value in values] for key, values in choices.items()))]

    def _jobs_at_once(self) -> int | None:
        """One by one on this machine, so that each job is reported as it ends and no job's timing disturbs another's."""
        return 1 if self._is_local else self.max_batch_size

    @property
    def _is_local(self) -> bool:
        return type(self.launcher).__name__ == "BasicLauncher"

    def _launch(self, batch: Sequence[list[str]]) -> list[str | None]:
        """What went wrong with each job outside of its own process; None for those that have a row."""
        returns = self.launcher.launch(batch, initial_job_idx=self._num_launched)
        self._num_launched += len(batch)
        return [_error(job) for job in returns]

    _num_launched = 0


def _error(job: JobReturn) -> str | None:
    try:
        job.return_value  # noqa: B018  raises what the job raised
    except Exception as error:  # noqa: BLE001  a launcher passes on anything
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]
