"""The configuration of a job from the overrides that its row recorded: what it read can then be read again.

At the border, like `compose`; also where no Hydra program runs.
"""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from harness import config
from harness.cli.command import conf_dir
from harness.cli.compose import to_config
from harness.config import SweepConfig


def config_of(overrides: Sequence[str]) -> SweepConfig:
    """Compose a recorded job anew. Raises whatever Hydra does about overrides of another version, and ConfigError."""
    config.register()
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return to_config(compose("sweep", list(overrides)))
    finally:
        GlobalHydra.instance().hydra = before
