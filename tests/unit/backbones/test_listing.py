"""`python -m harness.backbones`: the table, the CSV, the aliases, and unknown names."""

import csv
import io
import subprocess
import sys
import time

import pytest

from harness.backbones import listing
from harness.backbones.__main__ import main
from harness.backbones.catalog import ALIASES, resolve
from harness.backbones.complexity import complexity


def _rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    assert main([*arguments, "--csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_glob_lists_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """Each match has its family, cost, size, accuracy, licence, tags, and where its weights are now."""
    lite0, lite1 = _rows(capsys, "tf_efficientnet_lite[01]")
    assert lite0 == {
        "name": "tf_efficientnet_lite0",
        "family": "efficientnet",
        "params_m": "4.65",
        "gmacs": "0.39",
        "image_size": "224x224",
        "imagenet_top1_frac": "0.7485",
        "licence": "apache-2.0",
        "local_weights": "bundled",
        "tags": "in1k",
    }
    assert lite1["image_size"] == "240x240"


def test_tag_in_the_name_decides_accuracy_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    """`arch.tag` shows that tag's figures, not the default's."""
    default, other = _rows(capsys, "resnet18", "resnet18.tv_in1k")
    assert (default["imagenet_top1_frac"], default["licence"]) == ("0.7150", "apache-2.0")
    assert (other["imagenet_top1_frac"], other["licence"]) == ("0.6975", "bsd-3-clause")


@pytest.mark.parametrize(
    ("name", "params_m", "gmacs"),
    [("alexnet", 61.10, 0.71), ("googlenet", 6.62, 1.50), ("resnet50", 25.56, 4.09), ("vgg16", 138.36, 15.47), ("vit", 22.05, 4.60)],
)
def test_complexity_agrees_with_the_literature(name: str, params_m: float, gmacs: float) -> None:
    """Parameters (millions) and multiply-adds (10^9) of the whole network are those usually quoted."""
    counted = complexity(resolve(name))
    assert counted.params_m == pytest.approx(params_m, abs=0.01)
    assert counted.gmacs == pytest.approx(gmacs, rel=0.01)


def test_plain_table_is_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal, columns start at the same place on every line and nothing is cut."""
    assert main(["resnet18", "squeezenet1_1"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    start = header.index("tags")
    assert lines[0][start:].startswith("a1_in1k ")
    assert lines[0].endswith("tv_in1k")
    assert lines[1][start:] == "IMAGENET1K_V1"


def test_without_pattern_aliases_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """The default listing says what every alias means."""
    rows = _rows(capsys)
    assert {row["alias"]: row["means"] for row in rows} == dict(ALIASES)


def test_a_cell_that_would_run_as_a_formula_is_kept_from_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the table of results: names, tags and licences are other people's words."""
    monkeypatch.setattr(listing, "alias_listing", lambda: (("alias", "means"), [("=1+1", "a,b"), ("nan", "")]))
    assert main(["--csv"]) == 0
    assert capsys.readouterr().out == 'alias,means\n\'=1+1,"a,b"\nnan,\n'


def test_unknown_name_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name prints no table."""
    assert main(["resnet18", "resnet5"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "did you mean resnet50" in output.err
    assert main(["resnet\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_help_answers_at_once() -> None:
    """Help imports no model library."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "harness.backbones", "--help"], capture_output=True, text=True, check=True
    )
    assert "quoted glob" in done.stdout
    assert "torch" not in done.stderr
    assert time.monotonic() - started < 2
