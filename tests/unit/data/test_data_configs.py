"""The files in `conf/data/` select sources that exist and name their command."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.config import DataConfig, register
from harness.data.sources import SOURCES
from harness.data.torchvision_sets import SETS

CONF = Path(__file__).parents[3] / "conf"
FILES = sorted((CONF / "data").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_file_composes(file: Path) -> None:
    """Each file becomes its schema's dataclass, is named after the file, and its source is known."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_object(compose(f"data/{file.stem}").data)
    assert isinstance(cfg, DataConfig)
    assert cfg.name == file.stem
    assert cfg.source in SOURCES
    assert file.read_text(encoding="utf-8").startswith("# python -m harness.sweep backbone=")
    assert f"data={file.stem}" in file.read_text(encoding="utf-8").splitlines()[0]


def test_every_torchvision_set_has_a_file() -> None:
    """A set in the mapping can be asked for by `data=NAME`."""
    assert set(SETS) | {"elpv", "folder", "table", "hf", "webdataset", "digits"} == {file.stem for file in FILES}


def test_sources_import_no_torch() -> None:
    """Listing and splitting work in a process that never imports torch."""
    import subprocess
    import sys

    code = "import sys, harness.data.load; assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
