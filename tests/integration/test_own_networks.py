"""Networks that no library has by name: a folder, a repository of the hub, a Python function. Real command lines, started where the user's files are."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from harness import export, predict
from harness.study.row import Row
from harness.study.store import Study
from tests.integration.commands import TINY, Command
from tests.integration.conftest import _run
from tests.integration.own_networks import Odd, Small
from tests.loopback import serving

NETWORKS = Path(__file__).with_name("own_networks.py")
ROOT = str(Path(__file__).parents[2])
SWEEP = (*TINY[:2], *TINY[3:], "evidence.minutes=0", "results_dir=results", "cache_dir=cache")
"""Of which weights is left to each test."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a file of networks, and traps called like modules that are installed."""
    shutil.copy(NETWORKS, tmp_path / "networks.py")
    for name in ("pandas", "email", "wave"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n", encoding="utf-8")
    return tmp_path


def _command(here: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"harness.{name}", *arguments],
        cwd=here,
        env=os.environ | {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _rows(here: Path) -> list[Row]:
    return Study(here / "results" / "digits").rows()


@pytest.mark.slow
def test_functions_are_swept_used_and_timed_again(here: Path) -> None:
    """A small network, one with ten odd things and one that timm knows by name: nothing frozen moves, and what was made of each is said. Their
    models predict and are timed in later commands, which build them by name; no other file of the folder runs.
    """
    names = ["python:networks:small", "python:networks:odd@random", "python:networks:registered@random"]
    done = _command(here, "sweep", f"backbone={','.join(names)}", "freeze=all,0.5,none", "model.keep=all", *SWEEP)
    assert done.returncode == 0, done.stderr
    rows = _rows(here)
    assert [(row.status, row.frozen_ok) for row in rows] == [("ok", True)] * 9
    assert {(row.backbone.rpartition(":")[2], row.weights_source, row.num_blocks) for row in rows} == {
        *(("small", "code", 4), ("odd", "random", 7), ("registered", "random", 5))
    }
    assert "python:networks:small: 4 blocks (stem, layers.0, layers.1, layers.2); cached at 3 of 3 boundaries" in done.stdout
    assert "python:networks:odd: 7 blocks (stem, reused, ..., last); cached at 0 of 6 boundaries between them, where none is" in done.stdout
    assert "its classifier classifier (5 classes) is replaced; taken for granted: ImageNet's mean and deviation" in done.stdout
    notes = {(row.backbone.rpartition(":")[2], row.freeze): row.activations_note for row in rows}
    assert notes["odd", "0.5"] == "no clean cut at this depth: the frozen part ran again for every epoch"
    assert notes["small", "0.5"] is None
    pictures = here / "new"
    pictures.mkdir()
    shutil.copy(ROOT + "/docs/images/report.png", pictures)
    for name in ("small", "odd"):
        said = _command(here, "predict", "study=digits", "results_dir=results", f"candidate=python:networks:{name} none", "images=new")
        assert said.returncode == 0, said.stderr
    again = _command(here, "retime", "study=digits", "results_dir=results", *TINY[:2])
    assert (again.returncode, "timing 3 models" in again.stdout) == (0, True), again.stderr
    assert not (here / "sprung").exists()


def test_what_a_network_lacks_is_told_before_anything_runs(here: Path) -> None:
    """A line for each thing, of all networks together."""
    names = ",".join(f"python:networks:{name}" for name in ("wrong", "maps", "nothing@pretrained", "odd@pretrained", "nope", "nn"))
    done = _command(here, "sweep", f"backbone={names}", "freeze=all", "weights=random", *SWEEP)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(" (")[0].removeprefix("error: ") for line in done.stderr.splitlines()] == [
        (
            "backbone=python:networks:wrong: layers.0.one.weight is also layers.1.one.weight in block layers.1; "
            "give blocks=... so that one block has both."
        ),
        "backbone=python:networks:wrong: changes calls when it runs in eval mode; change it while self.training alone.",
        (
            "backbone=python:networks:wrong: gives an image other features in other company in eval mode; features must not depend on the rest "
            "of the batch."
        ),
        "backbone=python:networks:maps: returns a tuple; have it return one tensor.",
        "backbone=python:networks:nothing: has no parameters besides its classifier, so there is nothing to freeze.",
        (
            "weights=pretrained: python:networks:odd returns other weights each time, so it loads none or not all of them; give weights=random, "
            "or weights=PATH of a checkpoint."
        ),
        f"backbone=python:networks:nope: nope is not in {here / 'networks.py'}.",
        "backbone=python:networks:nn: nn is a module; name a function or a class.",
    ]
    assert not (here / "results").exists()


def test_other_code_under_the_same_name_is_another_job(here: Path) -> None:
    """Its row is another one; what was trained before is not timed or used as if it were the new code."""
    line = ("backbone=python:networks:small", "freeze=all", "weights=random", "model.keep=all", *SWEEP)
    assert _command(here, "sweep", *line).returncode == 0
    again = _command(here, "sweep", *line)
    assert "1 job, 1 already done" in again.stdout
    code = (here / "networks.py").read_text(encoding="utf-8")
    (here / "networks.py").write_text(code.replace("x.mean((2, 3))", "x.amax((2, 3))", 1), encoding="utf-8")
    changed = _command(here, "sweep", *line)
    assert (changed.returncode, "1 job, 0 already done" in changed.stdout) == (0, True), changed.stderr
    assert len({row.model for row in _rows(here)}) == len(_rows(here)) == 2
    first = min(_rows(here), key=lambda row: row.started_at)
    (here / "new").mkdir()
    said = _command(here, "predict", "study=digits", "results_dir=results", f"candidate={first.job_id}", f"images={ROOT}/docs/images")
    assert (said.returncode, "what builds it has changed" in said.stderr) == (2, True)


def test_blocks_are_counted_as_given(here: Path) -> None:
    """Other blocks make another job and another boundary; a pattern that matches nothing is told with what there is."""
    line = ("backbone=python:networks:small,test_vit", "freeze=0.5", "weights=random", *SWEEP)
    assert _command(here, "sweep", *line, "blocks=layers.*").returncode == 2
    vit = ("backbone=test_vit", *line[1:])
    assert _command(here, "sweep", *vit).returncode == 0
    given = _command(here, "sweep", *vit, r"blocks='blocks\.[135]'")
    assert given.returncode == 0, given.stderr
    assert sorted((row.num_blocks, row.boundary) for row in _rows(here)) == [(6, "blocks.2"), (7, "blocks.2")]
    wrong = _command(here, "sweep", *vit, "blocks=stages.*")
    assert (wrong.returncode, "blocks=stages.*: matches no module with parameters; there are patch_embed" in wrong.stderr) == (2, True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network in timm's format, of an activation and a normalisation of its own, licence on the card."""
    folder = tmp_path / "mine"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = timm.create_model("test_resnet", num_classes=7, act_layer="silu")
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    config = json.loads((folder / "config.json").read_bytes())
    config["pretrained_cfg"] |= {"mean": [0.1, 0.2, 0.3], "input_size": [3, 32, 32]}
    del config["pretrained_cfg"]["license"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\ntags: [x]\n---\n# Mine\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_folder_of_timm_is_a_backbone_and_so_is_an_export(
    run_sweep: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its tensors, arguments, preprocessing and licence are taken and its classifier replaced; what comes of it is exported for timm, and
    the export is a backbone again.
    """
    options = [option for option in TINY if not option.startswith(("weights=", "data.image_size="))]
    swept = run_sweep(*options, f"backbone=local-dir:{folder}", "freeze=all,0.5", "model.keep=all")
    assert swept.status == 0, swept.err
    for row in swept.rows():
        assert (row.frozen_ok, row.weights_source, row.weights, row.licence) == (True, "file", "model.safetensors", "cc-by-4.0")
        assert (row.image_size, row.model.partition("#")[0], row.num_blocks) == (32, "test_resnet", 5)
        assert "mean 0.1/0.2/0.3" in row.details.transforms["eval"]
    exported = folder.parent / "exported"
    assert _run(export.main, [f"results_dir={swept.results}", "study=digits", f"to={exported}"], monkeypatch) == 0
    said = capfd.readouterr().out
    assert "model.safetensors: largest difference of a probability" in said
    assert "No timm" not in said
    config = json.loads((exported / "config.json").read_bytes())
    assert (config["model_args"]["act_layer"], config["pretrained_cfg"]["mean"]) == ("silu", [0.1, 0.2, 0.3])
    theirs, ours = load_file(folder / "model.safetensors"), load_file(exported / "model.safetensors")
    assert torch.equal(theirs["conv1.0.weight"], ours["conv1.0.weight"])
    again = run_sweep(*options, f"backbone=local-dir:{exported}", "freeze=all", results="again")
    assert (again.status, [row.frozen_ok for row in again.rows()]) == (0, [True]), again.err


@pytest.fixture
def hub(folder: Path) -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    """Address of a hub with the folder as me/mine, of other weights as revision v1 of me/second, a repository of another library, and one without weights; what was asked."""
    files = {f"/me/mine/resolve/main/{path.name}": path.read_bytes() for path in folder.iterdir()}
    files |= {f"/me/second/resolve/v1/{path.name}": path.read_bytes() for path in folder.iterdir()}
    save_file({name: 2 * tensor for name, tensor in load_file(folder / "model.safetensors").items()}, folder / "second")
    files["/me/second/resolve/v1/model.safetensors"] = (folder / "second").read_bytes()
    files |= {path.replace("/v1/", "/main/"): content for path, content in files.items() if "/v1/" in path}  # what the only commit has
    other = {"architectures": ["ViTForImageClassification"], "model_type": "vit"}
    files["/me/other/resolve/main/config.json"] = json.dumps(other).encode()
    files["/me/empty/resolve/main/config.json"] = (folder / "config.json").read_bytes()
    with serving(files) as site:
        yield site.address, site.asked


@pytest.mark.slow
def test_a_repository_is_a_backbone(here: Path, hub: tuple[str, list[tuple[str, str, str | None]]]) -> None:
    """Downloaded, then found in the cache with the hub off; a revision is part of the name; what is wrong is one line each."""
    address, asked = hub
    online = {"HF_ENDPOINT": address, "HF_HOME": str(here / "home"), "HF_HUB_OFFLINE": "0", "HARNESS_DOWNLOAD_STALL_S": "8"}
    options = [option for option in SWEEP if not option.startswith("data.image_size")]
    done = _command(here, "sweep", "backbone=hf-hub:me/mine,hf-hub:me/second@v1", "freeze=all,0.5", *options, **online)
    assert done.returncode == 0, done.stderr
    assert sorted({(row.backbone, row.weights, row.weights_source, row.licence) for row in _rows(here)}) == [
        ("hf-hub:me/mine", "model.safetensors", "hub", "cc-by-4.0"),
        ("hf-hub:me/second@v1", "v1", "hub", "cc-by-4.0"),
    ]
    assert {(row.frozen_ok, row.num_blocks) for row in _rows(here)} == {(True, 5)}
    assert ("HEAD", "/me/second/resolve/v1/model.safetensors") in {visit[:2] for visit in asked}
    offline = online | {"HF_HUB_OFFLINE": "1"}
    again = _command(here, "sweep", "backbone=hf-hub:me/mine", "freeze=all", "seed=1", *options, **offline)
    assert (again.returncode, {row.weights_source for row in _rows(here) if row.seed == 1}) == (0, {"cache"}), again.stderr
    assert "everything matches" in _command(here, "verify", "study=digits", "results_dir=results", "cache_dir=cache", **offline).stdout
    wrong = _command(here, "sweep", "backbone=hf-hub:me/other,hf-hub:me/empty,hf-hub:me/none", *options, **online)
    assert wrong.returncode == 2
    told = wrong.stderr.splitlines()
    assert "backbone=hf-hub:me/other: its config.json is not in timm's format" in told[0]
    assert "weights=pretrained: hf-hub:me/empty: the download from" in told[1]
    assert "backbone=hf-hub:me/none: the download from" in told[2]
    away = _command(here, "sweep", "backbone=hf-hub:me/away", *options, **offline)
    assert (away.returncode, "is out of reach (HF_HUB_OFFLINE is set)" in away.stderr) == (2, True)


def test_an_exported_folder_names_no_code(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """It may come from anywhere: a function that it names is not called; its ONNX file needs none."""
    assert _command(here, "sweep", "backbone=python:networks:small", "freeze=all", "model.keep=all", *SWEEP).returncode == 0
    done = _command(here, "export", "study=digits", "results_dir=results", "to=out", "formats=torch_export")
    assert done.returncode == 0, done.stderr
    assert "harness.predict" not in (here / "out" / "README.md").read_text(encoding="utf-8")
    capfd.readouterr()
    status = _run(predict.main, [f"folder={here / 'out'}", f"images={ROOT}/docs/images", f"to={here / 'a.csv'}"], monkeypatch)
    assert (status, "an exported folder names no code that is run" in capfd.readouterr().err) == (2, True)


def test_a_checkpoint_fills_a_function(here: Path) -> None:
    """`name@file`: the function gives the architecture, the file all of its tensors; one of another network is refused."""
    save_file(Small().state_dict(), here / "small.safetensors")
    save_file(Odd().state_dict(), here / "odd.safetensors")
    done = _command(here, "sweep", "backbone=python:networks:small@small.safetensors", "freeze=all", *SWEEP)
    assert (done.returncode, [row.weights_source for row in _rows(here)]) == (0, ["file"]), done.stderr
    assert _rows(here)[0].transferability_s is not None
    wrong = _command(here, "sweep", "backbone=python:networks:small@odd.safetensors", "freeze=all", *SWEEP)
    assert (wrong.returncode, "does not fit the backbone: lacks" in wrong.stderr) == (2, True)


API = """
import harness, networks

options = dict(data="digits", data__max_images=60, data__image_size=32, train__epochs=1, measure__timing_s=0, evidence__minutes=0, cache_dir="cache")
def mine():
    return networks.Small()
try:
    harness.sweep(None, [mine], **options)
except harness.ConfigError as error:
    print(error)
study = harness.sweep(None, [networks.small, networks.Small], freeze="all", weights="random", **options)
print(sorted(study.results["backbone"]), len(study.failed))
"""


def test_functions_are_given_from_python(here: Path) -> None:
    """A function or a class that can be imported is called by its name; one of the running program is refused with what to do."""
    for trap in ("pandas", "email", "wave"):
        (here / f"{trap}.py").unlink()  # a program finds what lies beside it, as any Python does
    done = subprocess.run(
        [sys.executable, "-c", API], cwd=here, env=os.environ | {"PYTHONPATH": ROOT}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0].startswith(
        "backbones: mine cannot be imported by name, and jobs build their networks in processes of their own; put a function"
    )
    assert told[-1] == "['python:networks:Small', 'python:networks:small'] 0"
