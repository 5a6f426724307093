"""What is installed, what is imported, and that the documents say what is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.command import choices, conf_dir
from harness.study.row import COLUMN_DOCS, COLUMNS
from tests.integration.commands import TINY

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["harness"],
        ["harness.sweep", "--help"],
        ["harness.report", "--help"],
        ["harness.retime", "--help"],
        ["harness.verify", "--help"],
        ["harness.backbones", "--help"],
    ],
)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    """Torch, timm, pandas and matplotlib take seconds; a question about usage must not wait for them."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", *command], capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert imported.isdisjoint({"torch", "timm", "pandas", "matplotlib"})
    assert done.stdout


def test_the_report_side_never_imports_torch() -> None:
    """Neither the report command nor the sweep's own process needs torch."""
    code = "import sys, harness.report, harness.search.grid, harness.data.early, harness.data.load; sys.exit(bool({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_column_is_documented() -> None:
    """results/README.md lists the columns in order, in the words that the report has for them."""
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE)) == COLUMN_DOCS
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) == COLUMNS


def test_the_readme_names_commands_and_choices_that_exist() -> None:
    """Modules, make targets, data sets and experiments in README.md are there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for module in set(re.findall(r"python -m (harness[.\w]*)", text)):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists() or (ROOT / module.replace(".", "/") / "__main__.py").exists()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in re.findall(r"^make (\w+)", text, flags=re.MULTILINE))
    assert set(re.findall(r" data=(\w+)", text)) <= set(choices("data"))
    assert set(re.findall(r"experiment=(\w+)", text)) <= set(choices("experiment"))
    for path in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (ROOT / path).exists(), path


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of a machine and no address of a package index in what is committed."""
    forbidden = [f"/{'work'}/", f"/{'root'}/", f"index{'-'}url"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    for name in listed:
        content = (ROOT / name).read_bytes()
        assert not any(word.encode() in content for word in forbidden), name


@pytest.mark.slow
def test_the_wheel_runs_a_sweep_from_another_folder(tmp_path: Path) -> None:
    """Built, unpacked elsewhere and put first on the path: configuration, plugin, templates and tables are all inside."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    options = [*TINY, "backbone=test_resnet", "freeze=all", f"cache_dir={tmp_path / 'cache'}"]
    where = "import harness, hydra_plugins.harness_sweeper as plugin; print(harness.__file__, plugin.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.count(str(tmp_path / "site")) == 2
    sweep = [sys.executable, "-m", "harness.sweep", *options]
    done = subprocess.run(sweep, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "digits" / "report" / "index.html").exists()
    assert conf_dir().parent == ROOT
