"""A kept model becomes a folder that needs neither its study nor the harness, and is checked on the images that its study was chosen on.

Reads top to bottom: the network with its temperature, its files, the check, the card, the seal. The folder gets its name when it is whole.
"""

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import nn

from harness.backbones.to_timm import Config, load_folder
from harness.config import ExportConfig, Metric, Quantize
from harness.data.dataset import Dataset
from harness.errors import BackboneError, ConfigError, StoreError
from harness.files import free_mib, why
from harness.models import checked, exported
from harness.models.card import Facts, Measured, write_card
from harness.models.checked import Answer, Form
from harness.models.deployed import Whole, deployed_of, whole
from harness.models.exported import CARD, CONFIG, MODEL, ONNX, ONNX_INT8, PREPROCESSING, TORCH, Record
from harness.models.judged import CONFIDENCE, Agreement, difference
from harness.models.model import Model
from harness.models.onnx_runtime import OnnxModel, quantise
from harness.models.torch_file import load_torch, traced, write_onnx, write_torch
from harness.reporting import formats
from harness.reporting.wording import metric_name
from harness.study.row import Row
from harness.text.counts import counted

_NUM_CALIBRATION = 256
"""Train images, from the first to the last, from which `quantize=static` takes the ranges of activations."""
_SPARE_MIB = 16
"""Beside the tensors of every file."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported."""

    label: str
    """The candidate."""
    row: Row
    model: Model
    """On the processor."""
    data: Dataset | str
    """The images that the study used, or why they are not here."""
    measured: Sequence[Measured]
    """What the study knows of this model."""


@dataclass(slots=True)
class Exported:
    """What was written and how it compares with the model."""

    folder: Path
    files: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Format -> why it is not there, as a clause."""
    checked_on: str = ""
    agreements: dict[str, Agreement] = field(default_factory=dict)
    """File -> how far it is from the model."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def changed(self) -> dict[str, Agreement]:
        """Files in float32 that call some image another class than the model does: none of them should."""
        return {name: found for name, found in self.agreements.items() if found.num_changed and name != ONNX_INT8}


def export(source: Source, to: Path, cfg: ExportConfig) -> Exported:
    """Write the folder.

    Args:
        source: what.
        to: where; an earlier export there is replaced, anything else refused.
        cfg: formats and quantisation.

    Raises:
        ConfigError: something else lies at `to`.
        DataError: an image of the study can no longer be read.
        StoreError: the disk does not take it.
    """
    with _replacing(to) as folder:
        done, record = Exported(folder), exported.described(source.model.header)
        found = whole(source.model)
        _require_room(folder, found.network, cfg)
        _write_tensors(found, record, done, cfg)
        _write_programs(found, source, record, done, cfg)
        if cfg.quantize is not Quantize.none and ONNX in done.files:
            _quantise(source, done, cfg.quantize)
        _check(found, source, done)
        write_card(_facts(source, done), folder / CARD)
        done.files.append(CARD)
        (folder / PREPROCESSING).write_bytes(exported.sealed(record, folder, done.files))
    return replace(done, folder=to)


def _write_tensors(found: Whole, record: Record, done: Exported, cfg: ExportConfig) -> None:
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in found.network.state_dict().items()}
    (done.folder / MODEL).write_bytes(save(tensors, metadata={"format": "pt"}))  # `save_file` makes one that nobody else may read
    done.files.append(MODEL)
    if "timm" not in cfg.asked_formats:
        return
    if found.config is None:
        done.left_out["timm"] = found.why_not
        return
    decision: Config = {"decision": record["decision"]}
    (done.folder / CONFIG).write_bytes(exported.as_json({**found.config, **decision}))
    done.files.append(CONFIG)


def _write_programs(found: Whole, source: Source, record: Record, done: Exported, cfg: ExportConfig) -> None:
    wanted = [name for name in ("torch_export", "onnx") if name in cfg.asked_formats]
    if not wanted:
        return
    header = source.model.header
    deployed = deployed_of(found.network, header)
    try:
        program = traced(deployed, header.image_size)
    except BackboneError as error:
        done.left_out |= dict.fromkeys(wanted, str(error))
        return
    if "torch_export" in wanted:
        write_torch(program, record, done.folder / TORCH)
        done.files.append(TORCH)
    if "onnx" in wanted:
        try:
            write_onnx(program, record, done.folder / ONNX)
        except BackboneError as error:
            done.left_out["onnx"] = str(error)
            return
        done.files.append(ONNX)


def _quantise(source: Source, done: Exported, how: Quantize) -> None:
    model, data = source.model, source.data
    batches = [] if how is Quantize.dynamic else [each.contiguous().numpy() for each in _calibration(model, data)]
    try:
        quantise(done.folder / ONNX, done.folder / ONNX_INT8, how, batches)
    except Exception as error:  # noqa: BLE001  whatever the quantiser raises, the other files are whole
        done.left_out[f"quantize={how.value}"] = f"onnxruntime cannot make 8-bit numbers of this network ({why(error)[:160]})"
        return
    done.files.append(ONNX_INT8)


def _calibration(model: Model, data: Dataset | str) -> Iterator[torch.Tensor]:
    """Some train images of every class: neighbours in a folder are alike."""
    if isinstance(data, str):
        return checked.noise(model)
    images = data.train.images
    return checked.decoded(model, images[:: max(1, len(images) // _NUM_CALIBRATION)][:_NUM_CALIBRATION])


def _check(found: Whole, source: Source, done: Exported) -> None:
    model, data = source.model, source.data
    forms = {"model": checked.of_model(model), **_forms(found, model, done)}
    num = checked.NUM_SYNTHETIC if isinstance(data, str) else len(data.val)
    done.checked_on = (
        f"{counted(num, 'image')} of random noise, as the images of the study are not here ({data})"
        if isinstance(data, str)
        else f"the {counted(num, 'val image')} of the study"
    )
    images = checked.noise(model) if isinstance(data, str) else checked.decoded(model, data.val.images)
    answers = checked.ask_all(images, checked.num_batches(num), forms)
    done.agreements = checked.agreements(answers, "model")
    timed = {"torch": forms["model"]} | {f"onnxruntime {name}": forms[name] for name in (ONNX, ONNX_INT8) if name in forms}
    done.latency_ms = checked.latencies_ms(timed, model.preprocess.image_size)
    if ONNX_INT8 in answers:
        done.remarks.append(_loss(answers, source))


def _forms(found: Whole, model: Model, done: Exported) -> dict[str, Form]:
    """Each file that was written, loaded as its users load it."""
    forms: dict[str, Form] = {}
    forms[MODEL] = checked.of_logits(model, load_folder(done.folder) if CONFIG in done.files else found.network)
    if TORCH in done.files:
        forms[TORCH] = checked.of_module(load_torch(done.folder / TORCH))
    for name in (ONNX, ONNX_INT8):
        if name in done.files:
            forms[name] = checked.of_onnx(OnnxModel(done.folder / name, torch.get_num_threads()))
    return forms


def _loss(answers: Mapping[str, Answer], source: Source) -> str:
    """What 8-bit numbers take from the score, on the val images."""
    model, data, metric = source.model, source.data, Metric(source.model.header.metric)
    if isinstance(data, str):
        return f"{ONNX_INT8}: what it loses is not known, as the images of the study are not here."
    first_NC, second_NC = (np.log(np.maximum(answers[name][0], np.finfo(np.float32).tiny)) for name in (ONNX, ONNX_INT8))
    found = difference(model.objective, metric, data.val, first_NC, second_NC)
    if found is None:
        return f"{ONNX_INT8}: {metric_name(metric)} has no value on val, so its loss has none."
    lost = formats.difference_with_range(metric, found.value, found.interval)
    unit = "" if metric is Metric.log_loss else " points"
    return f"{ONNX_INT8} loses {lost}{unit} of {metric_name(metric)} on the val images ({formats.confidence(CONFIDENCE)} interval, paired)."


def _facts(source: Source, done: Exported) -> Facts:
    return Facts(
        label=source.label,
        row=source.row,
        header=source.model.header,
        measured=source.measured,
        files=[*done.files, PREPROCESSING],
        left_out=done.left_out,
        checked_on=done.checked_on,
        agreements=done.agreements,
        latency_ms=done.latency_ms,
        remarks=done.remarks,
    )


@contextmanager
def _replacing(to: Path) -> Iterator[Path]:
    """A folder beside `to` that takes its place when the block ends well, and vanishes when it does not."""
    require_free(to)
    part, old = (to.with_name(f".{to.name}.{uuid.uuid4().hex}") for _ in range(2))
    try:
        part.mkdir(parents=True)
        yield part
        _swap(part, to, old)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{to}: cannot be written ({why(error)}); free some space or give another folder with to=...") from error
    finally:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)


def _swap(part: Path, to: Path, old: Path) -> None:
    """Give `part` its name; what lay there is back if that fails."""
    if to.exists():
        to.rename(old)
    try:
        part.rename(to)
    except OSError:
        if old.exists():
            old.rename(to)
        raise


def _require_room(folder: Path, network: nn.Module, cfg: ExportConfig) -> None:
    """Raises StoreError: the files do not fit. Writers of libraries have many ways to say so halfway."""
    own_mib = sum(tensor.nbytes for tensor in network.state_dict().values()) / 2**20
    copies = 1 + len({"onnx", "torch_export"} & set(cfg.asked_formats)) + 2 * (cfg.quantize is not Quantize.none)
    free, wanted = free_mib(folder), copies * own_mib + _SPARE_MIB
    if free < wanted:
        raise StoreError(f"{folder.parent}: {free:,.0f} MiB are free and the export takes {wanted:,.0f}; free some space or give to=...")


def require_free(to: Path) -> None:
    """Before anything is loaded. Raises ConfigError: something else lies there."""
    is_taken = to.exists() and not (to.is_dir() and (exported.is_export(to) or not any(to.iterdir())))
    if is_taken:
        raise ConfigError(f"to={to}: is there and no earlier export; give another folder, or move it away.")
