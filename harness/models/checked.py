"""Whether an exported file says what the model says: the same images through all forms of it, and single images through two of them in turn.

Shapes: N images, B of a batch, C classes.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.data.dataset import ImageRef
from harness.data.labels import is_right
from harness.data.transforms import PixelDataset, eval_transform, normalise
from harness.measure.interleave import Pace, interleave, latency
from harness.models.judged import Agreement
from harness.models.model import Model
from harness.process.progress import track

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Answer = tuple[FloatArray, IntArray]
"""Calibrated probabilities, B x C, and the decided class, B."""
Form = Callable[[Tensor], Answer]
"""One form of a model, given normalised images (B, 3, H, W)."""

BATCH_SIZE = 16
NUM_SYNTHETIC = 64
"""Images of noise that stand in for images that are gone."""
_TIMING_MS = 1500.0


def agreements(answers: Mapping[str, Answer], reference: str) -> dict[str, Agreement]:
    """Of every form but the reference, on the same images."""
    own_NC, decided_N = answers[reference]
    return {
        name: Agreement(len(decided_N), float(np.abs(found_NC - own_NC).max(initial=0.0)), int((~is_right(label_N, decided_N)).sum()))
        for name, (found_NC, label_N) in answers.items()
        if name != reference
    }


def ask_all(batches: Iterator[Tensor], num_batches: int, forms: Mapping[str, Form]) -> dict[str, Answer]:
    """What every form says of the same images, each decoded once."""
    said: dict[str, list[Answer]] = {name: [] for name in forms}
    for images_BCHW in track(batches, "checking", num_batches):
        for name, form in forms.items():
            said[name].append(form(images_BCHW))
    return {name: (np.concatenate([p for p, _ in found]), np.concatenate([d for _, d in found])) for name, found in said.items()}


def decoded(model: Model, images: Sequence[ImageRef]) -> Iterator[Tensor]:
    """Batches of images as the model sees them, in their order. Raises DataError: one cannot be read."""
    pixels = PixelDataset(images, eval_transform(model.preprocess))
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(images), BATCH_SIZE):
            places = range(start, min(start + BATCH_SIZE, len(images)))
            yield normalise(torch.from_numpy(np.stack(list(threads.map(pixels.__getitem__, places)))), model.preprocess)


def noise(model: Model) -> Iterator[Tensor]:
    """Batches of random pixels, the same ones each time."""
    size, random = model.preprocess.image_size, np.random.default_rng(0)
    for _ in range(0, NUM_SYNTHETIC, BATCH_SIZE):
        pixels = random.integers(0, 256, (BATCH_SIZE, size, size, 3), dtype=np.uint8)
        yield normalise(torch.from_numpy(pixels), model.preprocess)


def num_batches(num_images: int) -> int:
    """Return how many batches so many images make."""
    return -(-num_images // BATCH_SIZE)


def of_logits(model: Model, network: Callable[[Tensor], Tensor]) -> Form:
    """A network whose logits become what the model would make of them; its temperature is that of the model's header."""

    @torch.inference_mode()
    def answer(images_BCHW: Tensor) -> Answer:
        log_probs_BC = model.log_probs_of(network(images_BCHW).float())
        return np.exp(log_probs_BC), model.decide(log_probs_BC)

    return answer


def of_model(model: Model) -> Form:
    """The model itself."""

    @torch.inference_mode()
    def answer(images_BCHW: Tensor) -> Answer:
        log_probs_BC = model.log_probs(images_BCHW)
        return np.exp(log_probs_BC), model.decide(log_probs_BC)

    return answer


def of_module(module: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Form:
    """A module that answers with probabilities and labels (`Deployed`)."""

    @torch.inference_mode()
    def answer(images_BCHW: Tensor) -> Answer:
        probabilities_BC, label_B = module(images_BCHW.contiguous())
        return probabilities_BC.numpy(), label_B.numpy()

    return answer


def of_onnx(session: Callable[[FloatArray], Answer]) -> Form:
    """An ONNX file in its runtime."""
    return lambda images_BCHW: session(images_BCHW.contiguous().numpy())


def latencies_ms(forms: Mapping[str, Form], image_size: int) -> dict[str, float]:
    """Median time of a single image (milliseconds) by each form, in turn."""
    image_1CHW = torch.randn(1, 3, image_size, image_size)

    def call(form: Form) -> Callable[[], float]:
        def timed() -> float:
            started = time.perf_counter()
            form(image_1CHW)
            return (time.perf_counter() - started) * 1000

        return timed

    blocks = interleave([call(form) for form in forms.values()], Pace(_TIMING_MS))
    return {name: latency(found).latency_ms_p50 for name, found in zip(forms, blocks, strict=True)}
