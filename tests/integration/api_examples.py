"""Run the examples of the Python interface's docstrings in the current folder: a program of its own, as a reader would run them."""

import doctest
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import harness
from harness.api.sweeping import sweep

OBJECTS = (
    sweep,
    harness.load_study,
    harness.Study,
    harness.Ranking,
    harness.rank,
    harness.compare,
    harness.load_model,
    harness.Model,
    harness.list_backbones,
)
"""The first makes the study that the others use."""


def draw(root: Path, count: int = 24) -> Path:
    """Noise of two kinds, a folder each."""
    generator = np.random.default_rng(0)
    for name, level in (("dark", 60), ("bright", 150)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(generator.integers(level, level + 80, (40, 40, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def _tests() -> Iterator[doctest.DocTest]:
    for found in OBJECTS:
        tests = doctest.DocTestFinder().find(found, found.__name__, module=False, globs={})
        yield from sorted(tests, key=lambda test: test.lineno or 0)


def main() -> int:
    """Return 1 when an example does not do what it says."""
    draw(Path("photos"))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in _tests():
        runner.run(test)
    print(runner.summarize(verbose=False), inspect.getsourcefile(harness))
    return int(runner.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
