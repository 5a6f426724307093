"""`python -m tests.floors FOLDER`: the whole job on tiny data, with whatever versions are installed; for `make test-floors`.

A sweep of two backbones at two depths, its report, a report again, and verify, each a command of its own. Prints the versions.
"""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
TINY = (
    *("backbone=test_resnet,test_vit", "freeze=all,none", "weights=random", "data=digits", "data.max_images=60", "data.image_size=32"),
    *("train.epochs=1", "measure.warm_up_s=0", "measure.timing_s=0", "evidence.minutes=0"),
)


def main() -> int:
    """Exit status of the first command that does not end well, else 0."""
    folder = Path(sys.argv[1])
    where, cache = f"results_dir={folder}", f"cache_dir={folder / 'cache'}"
    for module, *arguments in (("sweep", *TINY, where, cache), ("report", where), ("verify", where, cache)):
        done = subprocess.run([sys.executable, "-m", f"harness.{module}", *arguments], cwd=_ROOT, check=False)
        if done.returncode:
            return done.returncode
    print(f"the job runs on Python {sys.version.split()[0]} with {_versions()}")
    return 0


def _versions() -> str:
    text = (_ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2].partition("]")[0]
    names = [line.split('"')[1].split(">")[0] for line in text.splitlines() if '"' in line]
    return ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
