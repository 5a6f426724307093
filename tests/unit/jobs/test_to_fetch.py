"""Weights that are fetched ahead of the jobs, from a hub on loopback."""

import hashlib
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save

from harness.backbones.backbone import HubFile, Weights, WeightsSource
from harness.jobs.spec import JobSpec
from harness.jobs.to_fetch import announcement, fetching_ahead
from tests import loopback
from tests.faults.box import wait_for
from tests.unit.search.test_cross_fit import World

CONTENTS = {f"org/{name}": save({"a.weight": torch.full((60_000,), number)}) for number, name in enumerate(("one", "two"))}
FILES = {f"/{repo}/resolve/main/model.safetensors": content for repo, content in CONTENTS.items()}


@pytest.fixture
def jobs(tmp_path: Path) -> list[JobSpec]:
    """Two on each network, whose weights are on the hub, and one on another that needs none."""
    made = World(tmp_path).job("resnet18", "all")

    def weights(repo: str, content: bytes) -> Weights:
        remote = HubFile(repo, None, loopback.COMMIT, "model.safetensors", len(content))
        return Weights(WeightsSource.hub, None, "a1_in1k", hashlib.sha256(content).hexdigest(), None, None, remote)

    return [*(replace(made, weights=weights(*each)) for each in CONTENTS.items() for _ in range(2)), made]


@pytest.fixture
def hub_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the processes that are started keep what they fetch."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HARNESS_DOWNLOAD_STALL_S", "60")
    return tmp_path / "hub"


def _here(home: Path) -> list[Path]:
    return [path for path in home.rglob("snapshots/*/model.safetensors") if path.is_file()]


def test_each_file_is_told_once(jobs: list[JobSpec]) -> None:
    """With its size, where the hub has said it; nothing where there is nothing to fetch."""
    text = announcement(jobs)
    assert text is not None
    assert text.startswith("weights to fetch from the hub: 2 (1 MiB), each")
    remote = jobs[0].weights.remote
    assert remote is not None
    unknown = replace(jobs[0], weights=replace(jobs[0].weights, remote=replace(remote, size_bytes=None)))
    assert "hub: 1 (0 MiB) and 1 of unknown size" in str(announcement([unknown, *jobs[2:]]))
    assert announcement(jobs[-1:]) is None


@pytest.mark.slow
def test_all_is_fetched_beside_the_jobs(jobs: list[JobSpec], hub_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, each file by one transfer, those of the first jobs first."""
    with loopback.serving(FILES) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.address)
        with fetching_ahead(jobs):
            wait_for(lambda: len(_here(hub_home)) == 2)
        assert [path for method, path, _ in site.asked if method == "GET" and path in FILES] == list(FILES)
    assert sorted(path.read_bytes() for path in _here(hub_home)) == sorted(CONTENTS.values())


@pytest.mark.slow
def test_nothing_goes_on_when_the_jobs_are_done(jobs: list[JobSpec], hub_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is left, nor a part of a file."""
    with loopback.serving(FILES, get=loopback.stalling) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.address)
        with fetching_ahead(jobs):
            wait_for(lambda: any(hub_home.rglob("*.incomplete")))
            started = psutil.Process().children(recursive=True)
        wait_for(lambda: not any(process.is_running() for process in started if "download" in " ".join(_line(process))))
    assert not any(hub_home.rglob("*.incomplete"))
    assert _here(hub_home) == []


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
