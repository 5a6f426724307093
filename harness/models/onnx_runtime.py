"""ONNX files at work in onnxruntime, and made smaller: weights, or weights and activations, as 8-bit numbers."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config import Quantize
from harness.models.torch_file import INPUT, OUTPUTS

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
_ERRORS_ONLY = 3


class OnnxModel:
    """A file in onnxruntime on the processor."""

    def __init__(self, path: Path, num_threads: int = 0) -> None:
        """`num_threads`: 0 takes as many as there are cores."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = num_threads
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, images_BCHW: FloatArray) -> tuple[FloatArray, IntArray]:
        """Probabilities, shape B x C, and the number of the decided class, shape B."""
        probabilities_BC, label_B = self._session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(images_BCHW)})
        return probabilities_BC, label_B

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)


def quantise(source: Path, target: Path, how: Quantize, images: Sequence[FloatArray]) -> None:
    """Write an ONNX file with 8-bit weights.

    Args:
        source: in float32.
        target: the file to write.
        how: `dynamic` measures the range of activations while it runs, `static` takes the one that `images` show.
        images: normalised batches (B, 3, H, W) of train; used by `static` only.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=target.parent) as folder, _no_warnings():
        prepared = Path(folder) / source.name
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        if how is Quantize.dynamic:
            # The processor kernels of onnxruntime take unsigned weights in convolutions.
            quantize_dynamic(prepared, target, weight_type=QuantType.QUInt8)
        else:
            quantize_static(prepared, target, _reader(images), quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8)


def _reader(images: Sequence[FloatArray]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # of a library without types
        def __init__(self) -> None:
            self._batches = iter(images)

        def get_next(self) -> dict[str, FloatArray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    return Reader()


@contextmanager
def _no_warnings() -> Iterator[None]:
    """The quantiser logs advice to the root logger."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
