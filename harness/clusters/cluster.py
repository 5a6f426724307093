"""What starts workers somewhere else, and what is noted of it beside the plan, so that another process can take it up again."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from harness.config import On, SweepConfig
from harness.errors import TableError
from harness.files import why, write_durably

WORK = "harness.search.worker:work"
"""What every worker calls with the path of the plan: `module:function`."""
_NOTE = "cluster.json"


class Cluster(Protocol):
    """Workers of one plan."""

    def submit(self, plan: Path, num: int) -> str:
        """Start so many workers, or have them wait for a place. May be called again, for more.

        Returns:
            What was submitted, in one line.

        Raises:
            ConfigError: the cluster is not there or refuses them; none was started.
        """

    def num_alive(self) -> int | None:
        """Workers that run or wait for a place; None: the cluster does not answer."""

    def cancel(self) -> None:
        """End all of them. What they had begun is free for others. Raises ConfigError when the cluster does not answer."""


def cluster_of(cfg: SweepConfig) -> Cluster | None:
    """The cluster that a configuration asks for; None: this machine. Raises ConfigError when its programs or packages are not here."""
    if cfg.on is On.here:
        return None
    found: Cluster = _kind(cfg.on)(cfg.slurm if cfg.on is On.slurm else cfg.ray)
    return found


def resumed(plan: Path) -> Cluster | None:
    """The cluster that a plan was submitted to, with the workers that it was told to start; None: it never was.

    Raises:
        TableError: what was noted cannot be read.
    """
    path = plan / _NOTE
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        found: Cluster = _kind(On(noted.pop("on"))).resumed(**noted)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{path}: cannot be read ({why(error)}); end the workers with the cluster's own commands and remove the file."
        ) from error
    return found


def note(plan: Path, on: On, **facts: Any) -> None:
    """Write beside a plan what `resumed` needs. Raises StoreError."""
    write_durably(plan / _NOTE, json.dumps({"on": on.value, **facts}, indent=1).encode())


def _kind(on: On) -> Any:
    module, name = _KINDS[on]
    return getattr(import_module(module), name)


_KINDS: Mapping[On, tuple[str, str]] = {
    On.slurm: ("harness.clusters.slurm", "SlurmCluster"),
    On.ray: ("harness.clusters.on_ray", "RayCluster"),
}
"""Each is made from its part of the configuration, and again by `resumed` from what it noted."""
