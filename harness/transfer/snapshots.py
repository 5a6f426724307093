"""Where a long training stands, kept on disk between two epochs: whoever takes the job up goes on from there and ends with the same numbers.

What an epoch draws does not depend on what was trained before it, so that such a moment is the weights that training moves, the optimiser's state, and what
earlier epochs and learning rates came to. The start and everything frozen are made anew, as for any job.
"""

import hashlib
import io
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import StoreError
from harness.files import atomic_write, free_mib, is_there, open_plain
from harness.measure.choice import Evaluation
from harness.measure.epoch import Epoch
from harness.measure.quality import FloatArray
from harness.process.isolate import one_line
from harness.transfer.checkpoints import Snapshot
from harness.transfer.spec import Phase, SnapshotPlace

_log = logging.getLogger(__name__)

WRITING_FRAC = 0.02
"""Of the time that may be spent on writing them."""
_ROOM_MIB = 256
"""That they leave free for rows, predictions and models, which matter more."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Moment:
    """Between two epochs of a training."""

    phase: int
    epochs: int
    """Of the training that is under way: a short one or the whole."""
    lr: float
    """Its peak learning rate."""
    num_done: int
    """Of its epochs."""
    first_lr: float | None
    """Learning rate of the first phase."""
    lr_losses: Mapping[float, float | None]
    """What the rates that were compared before came to."""
    snapshot: Snapshot
    learner: Mapping[str, Any]
    spent_s: float
    """On the training until then, by all processes that had it."""


class Snapshots:
    """Those of one training run: what an earlier process left, and what this one leaves."""

    def __init__(self, place: SnapshotPlace | None, network: Mapping[str, Tensor]) -> None:
        """`network`: the tensors that training may change, by name. Without a place nothing is read or kept."""
        self._place = place
        self._left = None if place is None else _read(place, network)
        self._started_s = self._last_s = time.monotonic()
        self._writing_s = 0.0
        self.earlier_s = 0.0 if self._left is None else self._left.spent_s
        """Spent by earlier processes on what this one need not do again."""

    @property
    def left(self) -> Moment | None:
        """Where an earlier process stood; None: there is nothing to go on from, or no longer."""
        return self._left

    def is_past(self, phase: Phase) -> bool:
        """Whether a later phase was under way."""
        return self._left is not None and self._left.phase > phase.number

    def told(self, phase: Phase) -> Mapping[float, float | None]:
        """What learning rates of this phase came to before."""
        return self._left.lr_losses if self._left is not None and self._left.phase == phase.number else {}

    def take(self, phase: Phase, lr: float) -> Moment | None:
        """The moment to go on from, if it is of this very training; it is handed out once."""
        left = self._left
        if left is None or (left.phase, left.epochs, left.lr) != (phase.number, phase.epochs, lr):
            return None
        self._left = None
        return left

    @property
    def is_due(self) -> bool:
        """Whether the last one is long enough ago: for what is lost, and for what writing takes."""
        if self._place is None:
            return False
        return time.monotonic() - self._last_s >= max(self._place.every_s, self._writing_s / WRITING_FRAC)

    @property
    def spent_s(self) -> float:
        return self.earlier_s + time.monotonic() - self._started_s

    def write(self, moment: Moment) -> None:
        """Replace the snapshot. A disk that does not take it costs the snapshot and not the job."""
        assert self._place is not None
        started_s = time.monotonic()
        try:
            _write(self._place, moment)
        except StoreError as error:
            _log.warning("No snapshot of this training is kept: %s", error)
            self._place = None
        self._last_s = time.monotonic()
        self._writing_s = self._last_s - started_s


def _write(place: SnapshotPlace, moment: Moment) -> None:
    snapshot = moment.snapshot
    content = {
        "key": place.key,
        **{name: getattr(moment, name) for name in ("phase", "epochs", "lr", "num_done", "first_lr", "spent_s")},
        "lr_losses": dict(moment.lr_losses),
        "learner": dict(moment.learner),
        "curve": [asdict(point) for point in snapshot.curve],
        "evaluations": [
            (_tensor(found.log_probs_NC), _tensor(found.loss_NT), tuple(map(float, found.value))) for found in snapshot.evaluations
        ],
        "best": snapshot.best,
        "now": snapshot.now,
    }
    packed = io.BytesIO()  # torch has errors of its own for a disk that is full
    torch.save(content, packed)
    size_mib = packed.getbuffer().nbytes / _MIB
    if (free := free_mib(place.path.parent.parent)) < size_mib + _ROOM_MIB:
        raise StoreError(f"{place.path}: {free:,.0f} MiB are free, {size_mib:,.0f} are needed and {_ROOM_MIB} for rows; free some space.")
    packed.seek(0)
    with atomic_write(place.path, is_durable=True) as temporary, temporary.open("wb") as file:
        file.write(hashlib.file_digest(packed, _hash).digest())
        file.write(packed.getbuffer())


def _read(place: SnapshotPlace, network: Mapping[str, Tensor]) -> Moment | None:
    """What lies there, if it can be gone on from; what is of another kind of training, or torn, is said and left alone until it is written over."""
    if not is_there(place.path):
        return None
    try:
        with open_plain(place.path) as file:
            digest, packed = file.read(_hash().digest_size), io.BytesIO(file.read())
        return _moment(torch.load(_whole(packed, digest), map_location="cpu", weights_only=True), place.key, network)
    except Exception as error:  # noqa: BLE001  whatever a torn or foreign file brings forth: the job can do without
        _log.warning("%s: this snapshot is not used (%s); training begins anew.", place.path, one_line(error))
        return None


def _whole(packed: io.BytesIO, digest: bytes) -> io.BytesIO:
    """Raises ValueError when a byte is another one than was written: torch does not look."""
    if hashlib.file_digest(packed, _hash).digest() != digest:
        raise ValueError("it is damaged")
    packed.seek(0)
    return packed


def _hash() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def _moment(found: Mapping[str, Any], key: str, network: Mapping[str, Tensor]) -> Moment:
    """Raises ValueError when it is of another kind of training, and anything where it is not what was written."""
    if found["key"] != key:
        raise ValueError("it was made with other versions, on another device, or with other threads or batches")
    if {name: tensor.shape for name, tensor in found["now"].items()} != {name: tensor.shape for name, tensor in network.items()}:
        raise ValueError("it is of another network")
    evaluations = [Evaluation(log_probs.numpy(), loss.numpy(), value) for log_probs, loss, value in found["evaluations"]]
    return Moment(
        **{name: found[name] for name in ("phase", "epochs", "lr", "num_done", "first_lr", "spent_s", "lr_losses", "learner")},
        snapshot=Snapshot([Epoch(**point) for point in found["curve"]], evaluations, found["best"], found["now"]),
    )


def _tensor(array: FloatArray) -> Tensor:
    return torch.from_numpy(np.array(array))
