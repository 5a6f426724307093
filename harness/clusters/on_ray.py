"""Workers on a Ray cluster: for each a detached actor, which holds one process.

Detached, they outlive whoever asked for them. Where a node dies, Ray starts its actors anew on another, and each starts its worker as it did before.
Ray ends a program whose cluster it has lost, so a process beside this one speaks with it (`ray_client`).
"""

import atexit
import os
import socket
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from harness.clusters.cluster import WORK, note
from harness.clusters.start import command
from harness.config import On, RayConfig
from harness.errors import ConfigError
from harness.files import why
from harness.process.beside import Beside
from harness.text.counts import counted

_JOIN_S, _ANSWER_S, _KNOCK_S = 180.0, 60.0, 5.0
"""What is waited for at most: joining a cluster, any other answer, the port of its head."""
_LOCAL = "local"
_HANDED_ON = (
    "PYTHONPATH",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "HARNESS_DEBUG",
)
"""Variables of the command that say where things are; others are those with which Ray was started. No secrets: the cluster keeps them."""


class RayCluster:
    """Workers of one plan on a Ray cluster, which is joined when it is first asked something."""

    def __init__(self, config: RayConfig, group: str = "", address: str | None = None, *, work: str = WORK) -> None:
        """See that Ray is installed; nothing is asked of it.

        Args:
            config: the cluster, and what each worker is given.
            group: how the names of its actors begin; empty: there are none yet.
            address: of the cluster that has them; None: `config.address`.
            work: `module:function` that each worker calls.

        Raises:
            ConfigError: it is not.
        """
        if find_spec("ray") is None:
            raise ConfigError("on=ray: the package ray is not installed; run: python -m pip install 'model-selection-harness[ray]'")
        self.config, self.work, self.group, self.address = config, work, group, address or config.address
        self._client: Beside | None = None

    @classmethod
    def resumed(cls, config: dict[str, Any], group: str, address: str) -> "RayCluster":
        """The same again, from what it noted."""
        return cls(RayConfig(**config), group, address)

    def submit(self, plan: Path, num: int) -> str:
        """As `Cluster.submit`."""
        plan = plan.resolve()
        (plan / "ray").mkdir(parents=True, exist_ok=True)
        self.group = self.group or f"{plan.name}-{uuid4().hex[:8]}-"
        placed = {"num_cpus": self.config.num_cpus, "num_gpus": self.config.num_gpus}
        env = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        held = {"argv": command(self.work, plan), "env": env, "cwd": str(Path.cwd())}
        names = [f"{self.group}{uuid4().hex[:8]}" for _ in range(num)]
        self.address, has_room = self._ask("start", names, placed, held, str(plan / "ray"))
        note(plan, On.ray, config=asdict(self.config), group=self.group, address=self.address)
        each = f"{_number(self.config.num_cpus, 'core')} and {_number(self.config.num_gpus, 'GPU')}"
        waiting = "" if has_room else "; they wait, as none of its nodes is large enough for one"
        return f"{counted(num, 'worker')} submitted to Ray at {self.address}, each with {each}{waiting}"

    def num_alive(self) -> int | None:
        """As `Cluster.num_alive`."""
        try:
            return len(self._ask("names", self.group)) if self.group else 0
        except ConfigError:
            return None

    def cancel(self) -> None:
        """As `Cluster.cancel`."""
        if self.group:
            self._ask("kill", self.group)

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What a function of `ray_client` returns. Raises ConfigError with what Ray says, or that it says nothing."""
        if self._client is None:
            self._join()
        assert self._client is not None
        self._client.tell((function, arguments))
        return self._answer(_ANSWER_S)

    def _join(self) -> None:
        _knock(os.environ.get("RAY_ADDRESS", self.address) if self.address == "auto" else self.address)
        self._client = Beside("harness.clusters.ray_client:serve", self.address, niceness=0)
        atexit.register(self._leave)
        self._answer(_JOIN_S)

    def _answer(self, patience_s: float) -> Any:
        assert self._client is not None
        is_well, answer = self._client.heard(patience_s) or (False, "no answer")
        if not is_well:
            self._leave()
            raise ConfigError(f"ray.address={self.address}: {answer}; start Ray with `ray start --head`, or give ray.address=local.")
        return answer

    def _leave(self) -> None:
        """A cluster that was started for this command ends with it."""
        atexit.unregister(self._leave)
        if self._client is not None:
            if self.config.address == _LOCAL:
                self._client.tell(("end", ()))  # a busy machine takes longer for that than a process beside is waited for
                self._client.heard(_ANSWER_S)
            self._client.close()
        self._client = None


def _knock(address: str) -> None:
    """See that somebody listens there: Ray itself waits for minutes. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise ConfigError(
            f"ray.address={address}: nothing answers there ({why(error)}); give what `ray start --head` says, or ray.address=local."
        ) from error


def _number(value: float, noun: str) -> str:
    return counted(int(value), noun) if value == int(value) else f"{value:g} {noun}s"
