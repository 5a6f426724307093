"""An export takes the place of an earlier one whole, or not at all."""

from pathlib import Path

import pytest
import torch

from harness.config import ExportConfig
from harness.errors import StoreError
from harness.models import export
from harness.models.exported import PREPROCESSING


def _earlier(folder: Path) -> Path:
    folder.mkdir()
    (folder / PREPROCESSING).write_text('{"schema": 1, "sha256": {}}')
    (folder / "old").touch()
    return folder


def test_what_fails_leaves_the_earlier_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While files are written, and at the very end; nothing else is left beside it."""
    to = _earlier(tmp_path / "model")
    with pytest.raises(StoreError, match="cannot be written"), export._replacing(to) as folder:
        (folder / "missing" / "new").touch()
    assert (to / "old").exists()
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, target: _refuse() if (self / "new").exists() else rename(self, target))
    with pytest.raises(StoreError, match="cannot be written"), export._replacing(to) as folder:
        (folder / "new").touch()
    assert (to / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def _refuse() -> None:
    raise OSError(13, "Permission denied")


def test_what_does_not_fit_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much is free and how much the files take."""
    monkeypatch.setattr(export, "free_mib", lambda _: 22.0)
    network = torch.nn.Linear(1024, 1024)  # 4 MiB
    export._require_room(tmp_path, network, ExportConfig(formats="timm"))
    with pytest.raises(StoreError, match="22 MiB are free and the export takes 28"):
        export._require_room(tmp_path, network, ExportConfig())
