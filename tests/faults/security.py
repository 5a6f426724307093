"""Names, texts and folders that others made and that want to be more than that."""

import csv
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import timm
import torch

from harness.status import Status
from tests.faults.box import Box, Ended
from tests.faults.catalog import Outcome, Seen, fault
from tests.faults.data import folder, once_read, photos

CLASSES = ("<script>alert(1)<", '"><img src=x onerror=alert(1)>', "[a](javascript:alert(1))|`b`", "[red]c\x1b[2J\x07\u202e:bomb:", "=1+1")


@dataclass(frozen=True)
class _Told:
    """What sweeps over hostile names say."""

    good: Ended
    bad: Ended
    """A job failed, with one of the names in its error."""
    report: Ended
    """The Markdown, as if it had been printed."""
    html: str


@cache
def _hostile() -> _Told:
    """A sweep over classes with hostile names, and one more whose job fails with some of them in its error."""
    place = Path(tempfile.mkdtemp())
    try:
        box = Box(place, study_name="folder")
        root = photos(place / "photos", *CLASSES)
        good = box.sweep(*folder(root), "freeze=all")
        assert good.status == 0, good.err

        def remove() -> None:
            for name in (CLASSES[0], CLASSES[3]):
                shutil.rmtree(root / name)

        with once_read(remove):
            bad = box.sweep(*folder(root), "freeze=all", "data.image_size=48")
        assert [row.status for row in box.rows()] == [Status.ok, Status.failed]
        report = Ended(0, (box.study.report_dir / "report.md").read_text(encoding="utf-8"), "")
        return _Told(good, bad, report, (box.study.report_dir / "index.html").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(place)


def _without_own_scripts(html: str) -> str:
    """The page without the script and the data that are its own, in lower case."""
    own = r'<script>"use strict";.*?</script>|<script type="application/json"[^>]*>.*?</script>'
    return re.sub(own, "", html, flags=re.DOTALL).lower()


@fault("security", 'classes called <script>alert(1)< and "><img src=x onerror=alert(1)>')
def markup_in_class_names(_: Box) -> Seen:
    """class names are HTML"""
    told = _hostile()
    assert "&lt;script&gt;alert(1)&lt;" in told.html
    page = _without_own_scripts(told.html).replace("[a](javascript:", "").replace('<img src="data:image/webp;base64,', "")
    assert not [tag for tag in ("<script", "<img", "<iframe", "javascript:") if tag in page]
    return Seen(Outcome.recovered, told.report.line("script", "alert", "| "))


@fault("security", "a class called [a](javascript:alert(1))|`b`")
def markdown_in_class_names(_: Box) -> Seen:
    """class names are Markdown"""
    told = _hostile()
    return Seen(Outcome.recovered, told.report.line("\\[a\\](javascript:alert(1))\\|\\`b\\`"))


@fault("security", "the images of a class called <script>... vanish, so that a job's error names it")
def markup_in_an_error(_: Box) -> Seen:
    """the text of an error is HTML"""
    told = _hostile()
    assert "<script" not in _without_own_scripts(told.html)
    assert "no longer can" in told.html
    return Seen(Outcome.row, re.sub(r"'/\S*?/photos", "'/photos", told.bad.line("FAILED", "no longer can")))


@fault("security", "a class called [red], ESC [2J, BEL, U+202E, :bomb:")
def control_characters(_: Box) -> Seen:
    """names would clear the terminal, ring its bell and turn its direction"""
    told = _hostile()
    for text in (told.good.out, told.good.err, told.bad.out, told.bad.err, told.report.out, told.html):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    return Seen(Outcome.recovered, told.report.line("\\x1b", "\\x07\\u202e:bomb:", "| "))


@fault("security", "weights=FILE, the file being called =1+1.pth")
def a_formula_in_the_table(box: Box) -> Seen:
    """a cell of the table would run as a formula in a spreadsheet"""
    path = box.root / "=1+1.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    ended = box.sweep("backbone=test_resnet", "freeze=all", f"weights='{path}'")
    assert ended.status == 0, ended.err
    cells = []
    for name in ("results.csv", "report/ranking.csv"):
        (line,) = csv.DictReader((box.study.root / name).read_text(encoding="utf-8").splitlines())
        assert not [cell for cell in line.values() if cell.startswith(("=", "+", "@"))], line
        cells.append(line["weights"])
    assert len(set(cells)) == 1
    return Seen(Outcome.recovered, f"weights: {cells[0]}")


@fault("security", "study=../outside, /outside, a/b, ., .., a b and a line break")
def study_names_that_lead_out(box: Box) -> Seen:
    """a study name leads out of the results"""
    before = sorted(box.root.parent.iterdir())
    names = ("../outside", f"{box.root}/outside", "a/b", ".", "..", ".hidden", "'a b'", '"a\nb"', '""', "${data.name}/../x")
    said = [box.sweep("backbone=test_resnet", "freeze=all", f"study={name}") for name in names]
    assert [(ended.status, ended.err.count("\n")) for ended in said] == [(2, 1)] * len(names), said
    assert all("study=" in ended.err and "one folder name" in ended.err for ended in said), said
    assert sorted(box.root.parent.iterdir()) == before
    assert not list(box.root.rglob("*.json"))
    return Seen(Outcome.refused, said[0].line("study='../outside'"))


@fault("security", "study= with 300 letters")
def a_study_name_too_long(box: Box) -> Seen:
    """a study name is longer than a file system takes"""
    ended = box.sweep("backbone=test_resnet", "freeze=all", f"study={'a' * 300}")
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended
    return Seen(Outcome.refused, ended.line("at most 200 bytes").replace("a" * 300, "aaa..."))


MODULES = (
    "sitecustomize",
    "usercustomize",
    "numpy",
    "yaml",
    "typing",
    "email",
    "torch",
    "PIL",
    "matplotlib",
    "multiprocessing",
    "random",
    "timm",
)
SETTINGS = (
    "config.yaml",
    "sweep.yaml",
    "conf/sweep.yaml",
    "conf/config.yaml",
    "conf/data/folder.yaml",
    ".hydra/config.yaml",
    "harness.yaml",
)


def _poison(place: Path, marks: Path) -> None:
    """Files that leave a mark when they run, or send a sweep elsewhere when they are read."""
    for name in (*(f"{module}.py" for module in MODULES), "hydra_plugins/evil.py", "harness/sweep.py"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"open({str(marks / name.replace('/', '-'))!r}, 'w')\n", encoding="utf-8")
    shutil.rmtree(place / "harness")  # `python -m harness` itself would be another program then
    for name in SETTINGS:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("study: poisoned\ntrain: {epochs: 99}\nhydra: {sweep: {dir: poisoned}}\n", encoding="utf-8")
    (place / "matplotlibrc").write_text("text.usetex: True\n", encoding="utf-8")


def _trap(place: Path, marks: Path) -> None:
    """A repository whose configuration names programs."""

    def git(*arguments: str) -> None:
        identity = {f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        subprocess.run(["git", *arguments], cwd=place, check=True, capture_output=True, env={**os.environ, **identity})

    (place / "note.txt").write_text("one\n", encoding="utf-8")
    git("init", "-q")
    git("add", "note.txt")
    git("commit", "-q", "-m", "first")
    git("config", "core.fsmonitor", f"sh -c 'echo > {marks}/git-watcher'")
    git("config", "filter.evil.clean", f"sh -c 'echo > {marks}/git-filter; cat'")
    (place / ".gitattributes").write_text("*.txt filter=evil\n", encoding="utf-8")
    (place / "note.txt").write_text("two\n", encoding="utf-8")


@cache
def _foreign() -> Seen:
    """A real sweep started as a program inside a folder of images that came with all of that; its images are there too."""
    place, marks = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    try:
        root = photos(place / "photos", "cat", "dog")
        for where in (place, root):
            _poison(where, marks)
        _trap(place, marks)
        box = Box(place, study_name="folder")
        ended = box.run(*folder(root), "freeze=all")
        assert ended.status == 0, ended.err
        assert sorted(path.name for path in marks.iterdir()) == [], "something of the folder has run"
        (row,) = box.rows()
        assert (row.study, row.epochs, row.details.class_names) == ("folder", 1, ["cat", "dog"])
        assert (row.git or "").endswith("+")
        assert not (place / "poisoned").exists()
        return Seen(Outcome.recovered, ended.line("[1/1]"))
    finally:
        shutil.rmtree(place)
        shutil.rmtree(marks)


@fault("security", f"{', '.join(MODULES)}.py and hydra_plugins/ in the current folder and in data.root")
def code_in_a_dataset_folder(_: Box) -> Seen:
    """a folder of images holds files called like modules, and the sweep is started in it"""
    return _foreign()


@fault("security", f"{', '.join(SETTINGS)} and matplotlibrc in the current folder and in data.root")
def settings_in_a_dataset_folder(_: Box) -> Seen:
    """a folder of images holds configuration"""
    return _foreign()


@fault("security", "core.fsmonitor and a filter in the .git/config of the current folder")
def a_repository_that_names_programs(_: Box) -> Seen:
    """a folder of images is a repository that would have git run programs"""
    return _foreign()
