"""A real Ray of two nodes on this machine, in a place of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.cluster.sealed_off import Place, sealed_off, wait_until

_PORT, _KILL = "address", "kill"
"""Files by which the process that holds the nodes is spoken with."""


def is_installed() -> bool:
    """Whether the package is."""
    return find_spec("ray") is not None


@dataclass
class Ray:
    """It, while it is there."""

    place: Place
    folder: Path
    address: str

    def kill_node(self) -> None:
        """The second of the two, and all that runs on it, at once."""
        (self.folder / _KILL).touch()
        wait_until(lambda: not (self.folder / _KILL).exists(), "the node is gone")


@contextmanager
def ray_nodes(folder: Path) -> Iterator[Ray]:
    """Start it below a folder; nothing of it is left at the end. `folder`: short, as sockets lie in it."""
    folder.mkdir(parents=True)
    with sealed_off() as place:
        place.env = {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
        place.start(sys.executable, "-m", "tests.cluster.ray_nodes", str(folder), log=folder / "nodes.log")
        wait_until((folder / _PORT).exists, "Ray is there")
        yield Ray(place, folder, (folder / _PORT).read_text(encoding="ascii"))


def _hold(folder: Path) -> None:
    """Start the nodes, say so, and wait for the word to kill one."""
    import time

    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    second = cluster.add_node(num_cpus=1, num_gpus=0)
    (folder / ".address").write_text(cluster.address, encoding="ascii")
    (folder / ".address").rename(folder / _PORT)
    while True:
        if (folder / _KILL).exists():
            cluster.remove_node(second, allow_graceful=False)
            (folder / _KILL).unlink()
        time.sleep(0.1)


if __name__ == "__main__":
    _hold(Path(sys.argv[1]))
