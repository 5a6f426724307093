"""Entry: `python -m harness.export study=lesions` writes the recommended model as a folder for timm, onnxruntime and torch."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from harness.cli import command
from harness.compute.idle_threads import wait_briefly
from harness.config import Device, ExportConfig, Precision
from harness.files import local_folder
from harness.status import BAD_JOBS
from harness.study.store import find_study
from harness.text.commands import runnable
from harness.text.counts import counted
from harness.text.untrusted import one_line

if TYPE_CHECKING:
    from harness.models.export import Exported
    from harness.study.row import Row


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="export", schema=ExportConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(ExportConfig):
        command.stay()
        status = run(command.typed(cfg, ExportConfig))
    sys.exit(status)


def run(cfg: ExportConfig) -> int:
    """Export a model and say how it compares.

    Returns:
        0, or `BAD_JOBS` where a format that was asked for is missing or a file decides otherwise than the model.

    Raises:
        ConfigError: something else lies in the folder's place, or a package is missing.
        TableError: there is no such study, candidate or model.
        BackboneError: the base weights are not here, or are others.
        StoreError: the folder cannot be written.
    """
    wait_briefly()
    from harness.cli.again import config_of
    from harness.compute.runtime import resolve_runtime
    from harness.models.card import measured
    from harness.models.choose import choose, ranked
    from harness.models.export import Source, export, require_free
    from harness.models.images import images_of
    from harness.models.load import load_model
    from harness.models.torch_file import require_onnx
    from harness.study.models import Models

    if "onnx" in cfg.asked_formats:
        require_onnx()
    study = find_study(local_folder(cfg.results_dir), cfg.study)
    models, chosen = Models(study), choose(ranked(study, cfg.protocol), cfg.candidate)
    file = chosen.model(models, refitted=cfg.refit)
    row = next(row for row in chosen.rows if row.job_id == file.header.job_id)
    to = study.root / "export" / folder_name(row) if cfg.to is None else Path(cfg.to).expanduser()
    require_free(to)
    model = load_model(file, resolve_runtime(Device.cpu, Precision.float32))
    data = images_of(row, lambda: config_of(row.details.command))
    done = export(Source(chosen.label, row, model, data, measured(study, row)), to, cfg)
    _say(f"{chosen.label} of study {study.name} -> {done.folder}: {', '.join(done.files)}")
    return _verdict(done, cfg)


def folder_name(row: "Row") -> str:
    """`resnet50-0.5`: what may stand in any file name."""
    return re.sub(r"[^\w.-]+", "-", f"{row.backbone}-{row.strategy}").strip("-.")


def _verdict(done: "Exported", cfg: ExportConfig) -> int:
    _say(f"Checked on {done.checked_on}:")
    for name, found in done.agreements.items():
        _say(f"  {name}: largest difference of a probability {found.largest:.1e}, {counted(found.num_changed, 'decision')} changed")
    times = [f"{name} {value:.2f} ms" for name, value in done.latency_ms.items()]
    _say(f"  one image takes {', '.join(times)} (medians, in turn)")
    for remark in done.remarks:
        _say(remark)
    for name, reason in done.left_out.items():
        _say(f"No {name}: {reason}.")
    for name, found in done.changed.items():
        _say(f"WARNING: {name} calls {found.num_changed} of {found.num_images} images another class than the model does; do not use it.")
    is_missing = any(cfg.formats is not None or name != "timm" for name in done.left_out)
    return BAD_JOBS if done.changed or is_missing else 0


def _say(text: str) -> None:
    print(one_line(runnable(text)), flush=True)


if __name__ == "__main__":
    main()
