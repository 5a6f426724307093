"""Makes chosen jobs of a real sweep go wrong, in their own processes: the folder of `plant` goes first on PYTHONPATH.

The interpreter imports `sitecustomize` from there at its start, in the sweep as in the process that jobs are forked from; it waits for
`harness.jobs.run` and then gives it a loader of backbones that does, for some seeds, what `DEEDS` says.
"""

import os
from pathlib import Path

DEEDS = {
    1: "raise RuntimeError('a shape that\\ndoes not fit')",
    2: "sys.exit(5)",
    3: "os._exit(7)",
    4: "ctypes.string_at(0)",
    5: "os.kill(os.getpid(), signal.SIGKILL)",
    6: "hold = [numpy.ones(2**24) for _ in range(10**6)]",
    7: "time.sleep(10**6)",
    8: "endlessly()",
    9: "stop_here()",
    10: "raise KeyboardInterrupt",
    11: "raise RecursionError('maximum recursion depth exceeded')",
}
"""By seed; other seeds are good."""

SMALL, MOST_AT_ONCE = 12, 10
"""At this seed, more images than that do not fit into memory."""

_CODE = """
import importlib.abc, importlib.util, sys

class _Waiting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "harness.jobs.run":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            _change(module)
        spec.loader.exec_module = exec_module
        return spec

def _change(module):
    import ctypes, os, signal, time
    import numpy
    from harness.process.heartbeat import beat

    def endlessly():
        while True:
            time.sleep(0.1)
            beat()

    def stop_here():
        os.kill(os.getpid(), signal.SIGSTOP)

    def small(loaded):
        def look(layer, images):
            if len(images[0]) > {most}:
                raise MemoryError("no room for so many")
        layers = [part for part in loaded.trunk.modules() if type(part).__name__ == "Conv2d"]
        layers[0].register_forward_pre_hook(look)
        return loaded

    load = module.run_jobs.__kwdefaults__["load"]
    def misbehaving(*arguments, seed, **options):
        with open({log!r}, "a") as log:
            print(seed, file=log)
        {deeds}
        loaded = load(*arguments, seed=seed, **options)
        return small(loaded) if seed == {small} else loaded
    module.run_jobs.__kwdefaults__["load"] = misbehaving

sys.meta_path.insert(0, _Waiting())
"""


def plant(folder: Path) -> dict[str, str]:
    """Write the module; returns the environment that brings it in. Each start of a job adds its seed to `folder`/started."""
    folder.mkdir(parents=True, exist_ok=True)
    deeds = "\n        ".join(f"if seed == {seed}:\n            {deed}" for seed, deed in DEEDS.items())
    code = (
        _CODE.replace("{deeds}", deeds)
        .replace("{most}", str(MOST_AT_ONCE))
        .replace("{small}", str(SMALL))
        .replace("{log!r}", repr(str(folder / "started")))
    )
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])])}
