"""A model as a plain `torch.export` file and as ONNX: both from one traced program, for any number of images.

Between a network and files that other programs run. The exporters print and warn much; what they raise becomes one line.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.errors import BackboneError, ConfigError, is_out_of_memory
from harness.models.exported import PREPROCESSING, Record

OPSET = 18
"""Version of ONNX's operators: what the exporter writes natively, and runtimes of the last years read."""
INPUT, OUTPUTS, BATCH = "images", ("probabilities", "label"), "batch"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raises ConfigError: a package is missing."""
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise ConfigError(
            f"formats=onnx: needs {', '.join(missing)}, not installed; run: python -m pip install 'model-selection-harness[export]', "
            f"or give formats=timm,torch_export."
        )


def traced(deployed: nn.Module, image_size: int) -> "torch.export.ExportedProgram":
    """The program of a module that takes normalised images (B, 3, H, W). Raises BackboneError: torch cannot trace it."""
    images_BCHW = torch.zeros(2, 3, image_size, image_size)
    try:
        with _silence(), torch.no_grad():
            return torch.export.export(deployed.eval(), (images_BCHW,), dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},))
    except Exception as error:
        raise _refused("torch.export", error) from error


def write_torch(program: "torch.export.ExportedProgram", record: Record, path: Path) -> None:
    """A file for `torch.export.load`, with the preprocessing in it. Raises BackboneError, OSError."""
    with _silence():
        torch.export.save(program, path, extra_files={PREPROCESSING: json.dumps(record)})


def load_torch(path: Path) -> nn.Module:
    """What is in such a file."""
    with _silence():
        module: nn.Module = torch.export.load(path).module()
    return module


def write_onnx(program: "torch.export.ExportedProgram", record: Record, path: Path) -> None:
    """One file, class names and preprocessing in its metadata. Raises BackboneError: the exporter cannot write it."""
    try:
        with _silence():
            made: Any = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
            _describe(made.model, record)
            made.save(path)
    except Exception as error:
        raise _refused("torch.onnx.export", error) from error


def _describe(model: Any, record: Record) -> None:
    """Plain names of sizes, and metadata that `onnxruntime` hands out as `custom_metadata_map`."""
    model.metadata_props["class_names"] = json.dumps(record["class_names"])
    model.metadata_props["preprocessing"] = json.dumps({name: record[name] for name in ("input", "decision")})


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing of an exporter's on the terminal; its errors are raised as ever."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _refused(exporter: str, error: Exception) -> BackboneError:
    if is_out_of_memory(error):
        raise error
    words = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    return BackboneError(f"{exporter} cannot write this network ({words})")
