"""`harness COMMAND` and `python -m harness COMMAND`; without one, a screen that names them."""

import sys
from difflib import get_close_matches
from importlib import import_module

from harness import __version__
from harness.text.commands import runnable
from harness.text.streams import make_usable
from harness.text.untrusted import visible

SCREEN = f"""model-selection-harness {__version__}
Which pretrained backbone to start from, how deep to freeze it, and whether to trust the answer.

  python -m harness.sweep backbone=resnet50,mobilenetv3 data=folder data.root=~/photos
      fine-tune each backbone at several freeze depths on your images; ends with a recommendation
  python -m harness.report study=folder rank.max_latency_ms=30
      rank a finished study again, with other limits or another metric; trains nothing
  python -m harness.predict study=folder images=~/new
      have the recommended model say what new images show
  python -m harness.refit study=folder
      train the recommended candidate again, on train and val together, for use
  python -m harness.export study=folder
      the recommended model as a folder for timm, onnxruntime and torch, checked on the val images, with a model card
  python -m harness.push study=folder to=ORGANISATION/NAME
      put an exported folder on the model hub
  python -m harness.log study=folder to=mlflow
      log a study's rows, report and recommended model to an experiment tracker
  python -m harness.retime study=folder
      time the models of a study again, on this machine, when it is quiet or another one
  python -m harness.work study=folder
      do jobs of a sweep with workers=2 or more, on=slurm or on=ray on this machine too
  python -m harness.follow study=folder
      tell how a sweep on a cluster goes, and write its report at the end
  python -m harness.verify study=folder
      check a study bit by bit: rows, predictions, table, weights and cached features against what was written
  python -m harness.backbones 'mobilenet*'
      names, sizes, licences and published accuracies of backbones, and which weights are locally cached

Each answers --help; where this environment is active, `harness sweep` is the first of them, and so on. Results are in results/<study>/: results.csv, report/index.html, report/report.md.
"""


COMMANDS = {
    name: f"harness.{name}"
    for name in ("sweep", "report", "predict", "refit", "export", "push", "log", "retime", "work", "follow", "verify")
} | {"backbones": "harness.backbones.__main__"}
"""What can stand behind `harness`, and the module that does it."""


def main() -> int:
    """Hand over to the command that was named, or print the screen. Returns the exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        sys.argv[:2] = [sys.argv[0]]
        return import_module(COMMANDS[name]).main() or 0
    make_usable()
    if name in ("--help", "-h"):
        print(runnable(SCREEN), end="")
        return 0
    if name == "--version":
        print(__version__)
        return 0
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}? Known" if near else "known"
    print(visible(f"error: {name}: no such command; {hint}: {', '.join(COMMANDS)}."), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
