"""The side of `on_ray` that speaks with Ray, in a process of its own: joins a cluster, and answers until its caller is gone."""

import os
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from harness.files import why

_NAMESPACE = "harness"


def serve(connection: Connection, address: str) -> None:
    """Join, and answer pairs of one of this module's functions and its arguments with pairs of whether all is well and its value."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for number in (signal.SIGTERM, signal.SIGHUP):  # what is ignored here would be by all that Ray starts for `local`
        signal.signal(number, signal.SIG_DFL)
    _be_silent()
    functions: dict[str, Callable[..., Any]] = {"start": start, "names": names, "kill": kill, "end": end}
    try:
        import ray

        ray.init(address=address, namespace=_NAMESPACE, log_to_driver=False, logging_level="ERROR")
        connection.send((True, None))
        while True:
            function, arguments = connection.recv()
            connection.send((True, functions[function](*arguments)))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001  Ray raises anything
        connection.send((False, why(error).rstrip(".")))


def start(actors: list[str], placed: Mapping[str, float], held: Mapping[str, Any], folder: str) -> tuple[str, bool]:
    """Start an actor for each of these names. Returns the address of the cluster, and whether one of its nodes is large enough.

    Args:
        actors: their names.
        placed: `num_cpus` and `num_gpus` of each.
        held: command, variables and folder of its process.
        folder: of logs.
    """
    import ray

    holder = ray.remote(_holder())
    for name in actors:
        actor = holder.options(name=name, namespace=_NAMESPACE, lifetime="detached", max_restarts=-1, **placed)
        actor.remote(**held, log=f"{folder}/{name}.log")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has_room = any(node.get("CPU", 0) >= placed["num_cpus"] and node.get("GPU", 0) >= placed["num_gpus"] for node in nodes)
    return ray.get_runtime_context().gcs_address, has_room


def names(group: str) -> list[str]:
    """Of the actors of a group that run, or wait for a place."""
    import ray

    found = ray.util.list_named_actors(all_namespaces=True)
    return [each["name"] for each in found if each["namespace"] == _NAMESPACE and each["name"].startswith(group)]


def kill(group: str) -> None:
    """End the actors of a group, and their processes with them."""
    import ray

    for name in names(group):
        try:
            ray.kill(ray.get_actor(name, namespace=_NAMESPACE), no_restart=True)
        except ValueError:  # has ended meanwhile
            continue


def end() -> None:
    """Leave the cluster; one that was started here ends."""
    import ray

    ray.shutdown()


def _holder() -> type:
    """The actor's class. Ray sends one that is defined in a function whole, so that its own processes need not find this package."""

    class Holder:
        """Starts a process, waits for its end, and ends."""

        def __init__(self, argv: list[str], env: dict[str, str], cwd: str, log: str) -> None:
            import os
            import subprocess
            import threading

            import ray

            own = ray.get_runtime_context().current_actor

            def hold() -> None:
                with open(log, "ab") as out:  # noqa: PTH123
                    subprocess.run(argv, env=os.environ | env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)  # noqa: S603
                ray.kill(own, no_restart=True)

            threading.Thread(target=hold, daemon=True).start()

    return Holder


def _be_silent() -> None:
    """Ray's own processes write to the terminal, past any setting; what matters is in the answers."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
