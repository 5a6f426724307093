"""The same images from any source are the same task: equal fingerprints, equal jobs, equal rows."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness.config import DataConfig, HubDataConfig, ShardsConfig, TableConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.study.row import Row
from harness.study.store import Study
from tests.integration.api_examples import draw
from tests.integration.test_api import OPTIONS
from tests.loopback import of_dataset, serving
from tests.unit.data.test_hub_data import as_parquet, images_of
from tests.unit.data.test_shards import samples, shard

TIMES = (
    "latency_ms",
    "latency_steady",
    "throughput_ips",
    "timed_",
    "peak_mem_mib",
    "started_at",
    "input_wait_frac",
    "num_threads",
    "git",
    "details",
)
"""How columns begin that differ when a job is run twice, as the cores that the machine has to spare and the state of the working tree may; those
of seconds end in `_s`."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of two classes: as a folder, tables, shards and files of the hub, side by side."""
    top = tmp_path_factory.mktemp("sources")
    images = images_of(draw(top / "folder", 20))
    frame = pd.DataFrame(
        {"path": [path.relative_to(top / "folder").as_posix() for path, *_ in images], "label": [label for _, label, _ in images]}
    )
    absolute = frame.assign(path=[str(path) for path, *_ in images])
    absolute.to_csv(top / "images.csv", index=False)
    absolute.to_parquet(top / "images.parquet")
    absolute.to_json(top / "images.jsonl", orient="records", lines=True)
    members = list(samples(top / "folder").items())
    for number in range(2):
        shard(top / "shards" / f"{number:02d}.tar", dict(members[40 * number : 40 * (number + 1)]))
    as_parquet(top / "hub", images, ["bright", "dark"])
    return top


def _content(data: Dataset) -> list[list[tuple[str, str]]]:
    """Images and classes of each split, in the order in which they are trained on."""
    splits = (data.train, data.val, data.test)
    return [
        [(image.content_hash, data.class_names[label]) for image, label in zip(split.images, split.labels, strict=True)] for split in splits
    ]


def test_every_source_gives_the_same_splits_in_the_same_order(pictures: Path) -> None:
    """Equal fingerprints, and what is trained on is equal image for image."""
    common: dict[str, Any] = {"name": "pictures"}
    wanted: list[DataConfig] = [
        DataConfig(**common, source="folder", root=str(pictures / "folder")),
        *(TableConfig(**common, source="table", root=str(pictures / f"images.{suffix}")) for suffix in ("csv", "parquet", "jsonl")),
        ShardsConfig(**common, source="webdataset", root=str(pictures / "shards" / "{00..01}.tar")),
        HubDataConfig(**common, source="hf", id=str(pictures / "hub")),
        HubDataConfig(**common, source="hf", id=str(pictures / "folder")),
    ]
    found = [load_dataset(each, pictures / "cache") for each in wanted]
    assert len({data.fingerprint for data in found}) == 1
    assert all(_content(data) == _content(found[0]) for data in found)


def _row(results: Path) -> Row:
    (row,) = Study(results / "same").rows()
    assert row.status == "ok", row.error
    return row


def _numbers(row: Row) -> dict[str, object]:
    """All columns but those of times and memory."""
    return {
        field.name: getattr(row, field.name) for field in fields(row) if not field.name.startswith(TIMES) and not field.name.endswith("_s")
    }


@pytest.mark.slow
def test_rows_do_not_depend_on_the_source(pictures: Path) -> None:
    """A folder, a DataFrame, shards and a data set of the hub: one job by its id, and the same numbers when each is run by itself."""
    files = {path.relative_to(pictures / "hub").as_posix(): path.read_bytes() for path in (pictures / "hub").rglob("*") if path.is_file()}
    rows = {}
    options = OPTIONS | {"data__name": "pictures", "model__keep": "none"}
    given: dict[str, Any] = {
        "folder": pictures / "folder",
        "frame": pd.read_csv(pictures / "images.csv"),
        "shards": pictures / "shards" / "*.tar",
    }
    for name, images in given.items():
        places: dict[str, Any] = {"results_dir": pictures / name / "results", "cache_dir": pictures / name / "cache"}
        harness.sweep(images, "test_resnet", [0.5], study="same", **options, **places)
        rows[name] = _row(pictures / name / "results")
    typed = [f"{key.replace('__', '.')}={value}" for key, value in options.items()]
    with serving(of_dataset("me/pets", files)) as site:
        environment = os.environ | {"HF_ENDPOINT": site.address, "HF_HOME": str(pictures / "home"), "HF_HUB_OFFLINE": "0", "no_proxy": "*"}
        line = ["backbone=test_resnet", "freeze=0.5", "study=same", "data=hf", "data.id=me/pets", *typed]
        line += [f"results_dir={pictures / 'results'}", f"cache_dir={pictures / 'cache'}"]
        command = [sys.executable, "-m", "harness.sweep", *line]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows["hub"] = _row(pictures / "results")
    own = _numbers(rows["folder"])
    assert [set(_numbers(row).items() ^ own.items()) for row in rows.values()] == [set()] * len(rows)
    assert "is taken from the hub at commit" in done.stdout
    assert (rows["hub"].details.profile["licence"], len(rows["hub"].details.profile["revision"])) == ("cc-by-4.0", 40)
