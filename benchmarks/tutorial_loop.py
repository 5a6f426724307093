"""`python -m benchmarks.tutorial_loop`: the harness against the training loop that tutorials teach, whole process against whole process."""

from benchmarks.head_only import compare
from harness.cli.command import quit_on_error


def main() -> None:
    """Run both sides, print the tables, write `benchmarks/tutorial_loop.json`."""
    with quit_on_error():
        compare(__file__, "benchmarks.baselines.tutorial", "tutorial loop", packages=())


if __name__ == "__main__":
    main()
