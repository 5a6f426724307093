"""A model that can be used: the network with its kept weights, the class names, and how images come in and decisions out.

Shapes: N images, C classes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harness.compute.thread_pool import ThreadPool
from harness.config import Metric
from harness.data.dataset import ImageRef
from harness.data.images import UInt8Array
from harness.data.preprocess import Preprocess
from harness.data.transforms import PixelDataset, eval_transform, normalise
from harness.errors import DataError
from harness.measure.objective import Objective, objective
from harness.process.place import num_cores
from harness.process.progress import track
from harness.study.model_file import ModelHeader
from harness.transfer.network import Network
from harness.transfer.objective import loss_like

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

AHEAD = 8
"""Pieces that are decoded and wait for the network."""


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What a model says of N images that could be read."""

    places_N: IntArray
    """Of the images that were given."""
    log_probs_NC: FloatArray
    """Calibrated."""
    unreadable: Sequence[str]
    """Sentences, one for each image that could not be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A fitted network at work. What it was fitted on and how is in `header`."""

    header: ModelHeader
    network: Network

    @property
    def class_names(self) -> list[str]:
        return self.header.class_names

    @property
    def preprocess(self) -> Preprocess:
        """How images come in."""
        found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in self.header.preprocess.items()}
        return Preprocess(**found)

    @property
    def objective(self) -> Objective:
        """What the labels ask for."""
        return objective(np.array(self.header.class_prior), self.header.thresholds)

    def predict(self, images: Sequence[ImageRef]) -> Predicted:
        """Calibrated log-probabilities of images, in their order, on the device that the network is on. Those that cannot be read are left out."""
        pool, pixels = ThreadPool(self.network.runtime), PixelDataset(images, eval_transform(self.preprocess))
        pieces = [range(start, min(start + pool.piece, len(images))) for start in range(0, len(images), pool.piece)]
        self.network.eval()
        said = list(track(pool.map(self._log_probs, _decoded(pixels, pieces)), "predictions", len(pieces)))
        readable = [place for piece in said for place in piece.places]
        log_probs = [piece.log_probs_BC for piece in said if piece.places]
        return Predicted(
            places_N=np.array(readable, dtype=np.int64),
            log_probs_NC=np.concatenate(log_probs) if log_probs else np.empty((0, len(self.class_names)), dtype=np.float32),
            unreadable=[reason for piece in said for reason in piece.unreadable],
        )

    def decide(self, log_probs_NC: FloatArray) -> IntArray:
        """The class that each image is called, as in the study."""
        return self.objective.decide(log_probs_NC, Metric(self.header.metric))

    def log_probs(self, images_BCHW: torch.Tensor) -> FloatArray:
        """Calibrated log-probabilities, shape B x C, of normalised images, computed without gradients by whoever asks so."""
        logits_BC = self.network(images_BCHW).float()
        return self.log_probs_of(logits_BC, self.header.temperature)

    def log_probs_of(self, logits_BC: torch.Tensor, temperature: float = 1.0) -> FloatArray:
        """Log-probabilities of logits at a temperature."""
        own = self.objective
        return own.log_probs(loss_like(own).log_probs(logits_BC).cpu().numpy(), temperature)

    @torch.inference_mode()  # holds for the thread that computes
    def _log_probs(self, piece: "_Piece") -> "_Said":
        if not piece.places:
            return _Said(piece.places, np.empty((0, len(self.class_names)), dtype=np.float32), piece.unreadable)
        pixels_BHWC = self.network.runtime.send(torch.from_numpy(np.stack(piece.pixels)))
        return _Said(piece.places, self.log_probs(normalise(pixels_BHWC, self.preprocess)), piece.unreadable)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A few decoded images."""

    places: Sequence[int]
    pixels: Sequence[UInt8Array]
    unreadable: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """What the network says of a piece."""

    places: Sequence[int]
    log_probs_BC: FloatArray
    unreadable: Sequence[str]


def _decoded(pixels: PixelDataset, pieces: Sequence[range]) -> Iterator[_Piece]:
    """Pieces in their order, decoded by threads that stay a little ahead: decoders let go of the interpreter."""
    with ThreadPoolExecutor(max_workers=num_cores()) as threads:
        pending: deque[Future[_Piece]] = deque()
        for piece in pieces:
            pending.append(threads.submit(_decode, pixels, piece))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _decode(pixels: PixelDataset, piece: range) -> _Piece:
    places, found, unreadable = [], [], []
    for place in piece:
        try:
            found.append(pixels[place])
        except DataError as error:
            unreadable.append(str(error))
        else:
            places.append(place)
    return _Piece(places, found, unreadable)
