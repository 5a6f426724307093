"""`python -m benchmarks.fastai`: the harness against fastai's own frozen fit, whole process against whole process."""

from importlib.util import find_spec

from benchmarks.head_only import compare
from benchmarks.side_by_side import BenchmarkError
from harness.cli.command import quit_on_error


def main() -> None:
    """Run both sides, print the tables, write `benchmarks/fastai.json`; exit status 2 where fastai is not installed."""
    with quit_on_error():
        if find_spec("fastai") is None:
            raise BenchmarkError("fastai is not installed; run: pip install 'model-selection-harness[bench]'")
        compare(__file__, "benchmarks.baselines.fastai_fit", "fastai", packages=["fastai"])


if __name__ == "__main__":
    main()
