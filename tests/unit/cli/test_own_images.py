"""A folder of images that is named means that folder, never the tutorial's data set."""

import pytest

from harness.cli.own_images import require_source, with_source
from harness.config import DataConfig, SweepConfig
from harness.errors import ConfigError


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        (["data.root=~/photos"], ["data=folder"]),
        (["backbone=a,b", "++data.root=/x"], ["data=folder"]),
        (["data=cifar10", "data.root=/x"], []),
        (["experiment=demo", "data.root=/x"], []),
        (["data.max_images=9", "--help"], []),
    ],
)
def test_a_root_implies_the_folder_source(typed: list[str], added: list[str]) -> None:
    """Unless a data set is named, or an experiment may bring one."""
    assert with_source(typed) == typed + added


@pytest.mark.parametrize("value", ["~/photos", "/x/photos", "../photos"])
def test_a_path_is_no_data_set(value: str) -> None:
    """The error says which key takes it."""
    with pytest.raises(ConfigError, match=r"is a path, not a data set; .* type data\.root="):
        with_source([f"data={value}"])


def test_an_experiment_with_another_data_set() -> None:
    """It would be looked for in the folder, or downloaded to it."""
    cfg = SweepConfig(backbone="x", data=DataConfig(name="cifar10", source="torchvision", root="/x"), study="s")
    with pytest.raises(ConfigError, match="the experiment uses data=cifar10; type data=folder as well"):
        require_source(cfg, ["experiment=finetune_top", "data.root=/x"])
    require_source(cfg, ["data=cifar10", "data.root=/x"])
    require_source(cfg, ["experiment=finetune_top"])
