"""`python -m harness`: one screen that names the commands."""

from harness import __version__
from harness.invocation import runnable
from harness.streams import make_usable

SCREEN = f"""model-selection-harness {__version__}
Which pretrained backbone to start from, how deep to freeze it, and whether to trust the answer.

  python -m harness.sweep backbone=resnet50,mobilenetv3 data=folder data.root=~/photos
      fine-tune each backbone at several freeze depths on your images; ends with a recommendation
  python -m harness.report study=folder rank.max_latency_ms=30
      rank a finished study again, with other limits or another metric; trains nothing
  python -m harness.retime study=folder
      time the networks of a study again, on this machine, when it is quiet or another one
  python -m harness.verify study=folder
      check a study bit by bit: rows, predictions, table, weights and kept features against what was written
  python -m harness.backbones 'mobilenet*'
      names, sizes, licences and published accuracies of backbones, and whose weights are here now

Each answers --help. Results are in results/<study>/: results.csv, report/index.html, report/report.md.
"""


def main() -> None:
    """Print the screen."""
    make_usable()
    print(runnable(SCREEN), end="")


if __name__ == "__main__":
    main()
