"""Every line of the page on own data runs, in its order, in the folder that it describes; with a tiny network of random weights in place of its backbone."""

import csv
import re
import shlex
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from timm.models import save_for_hf

from harness import predict, report
from harness.sweep import main as sweep
from tests.integration.api_examples import draw
from tests.integration.conftest import _run

PAGE = Path(__file__).parents[2] / "docs" / "your_data.md"
QUICK = ["data.image_size=32", "train.epochs=1", "evidence.minutes=0", "measure.warm_up_s=0", "measure.timing_s=0"]
COMMANDS: dict[str, Callable[[], None]] = {"sweep": sweep, "report": report.main, "predict": predict.main}


def lines(page: str) -> list[list[str]]:
    """The commands on a page, in their order."""
    blocks = re.findall(r"^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [shlex.split(line)[2:] for block in blocks for line in block.splitlines() if line.startswith("python -m harness.")]


def arrange(folder: Path) -> None:
    """Everything that the page takes to be there."""
    photos = draw(folder / "photos")
    paths = sorted(path.relative_to(folder) for path in photos.rglob("*.png"))
    kinds = [path.parent.name for path in paths]
    rows = list(zip(map(str, paths), kinds, strict=True))
    _write(folder / "photos.csv", ["path", "label"], rows)
    pd.DataFrame(rows, columns=["path", "label"]).to_parquet(folder / "photos.parquet")
    finding = dict(zip(sorted(set(kinds)), ("healthy", "ill"), strict=True))
    _write(
        folder / "scans.csv",
        ["scan", "finding", "patient", "trust"],
        [(path, finding[kind], f"{kind} {n // 3}", 1 + n % 2) for n, (path, kind) in enumerate(rows)],
    )
    _write(folder / "tags.csv", ["path", "label"], [(path, kind if n % 3 else f"{kind}|blurred") for n, (path, kind) in enumerate(rows)])
    _write(folder / "costs.csv", ["true", "healthy", "ill"], [("healthy", 0, 1), ("ill", 9, 0)])
    (folder / "shards").mkdir()
    for number in range(2):
        with tarfile.open(folder / "shards" / f"00{number}.tar", "w") as archive:
            for path, kind in rows[number::2]:
                (folder / "kind.txt").write_text(kind)
                archive.add(folder / path, path)
                archive.add(folder / "kind.txt", path.replace(".png", ".cls"))
    shutil.copytree(photos, folder / "pets")
    shutil.copytree(photos / "dark", folder / "new")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_resnet", num_classes=3), str(folder / "mine"))
    shutil.copy(Path(__file__).with_name("own_networks.py"), folder / "networks.py")


def _write(path: Path, names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the page, as the current one."""
    arrange(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_line_runs(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """None is refused, and the same images are the same task in every form."""
    page = PAGE.read_text(encoding="utf-8")
    for module, *arguments in lines(page):
        command = module.removeprefix("harness.")
        typed = [each.replace("tf_efficientnet_lite0", "test_resnet@random") for each in arguments]
        if command == "sweep":
            typed += [*QUICK, "cache_dir=cache", *([] if any(each.startswith("freeze=") for each in typed) else ["freeze=all"])]
        status = _run(COMMANDS[command], typed, monkeypatch)
        said = capfd.readouterr()
        assert status == 0, f"{shlex.join([module, *typed])}: {said.err}"
