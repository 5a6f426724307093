"""Whether a lower precision will do: judged by the decisions and probabilities of a probe, on enough images, and never unasked on few."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from harness.data.dataset import Dataset, Split
from harness.transfer.agreement import LEAST_IMAGES, MAX_OFF, NUM_CHECKED, Judge, compare, judge_of
from tests.unit.tiny import colours, split

NUM_IMAGES, NUM_FEATURES = 120, 12
FloatArray = npt.NDArray[np.float64]

LABELS = np.arange(NUM_IMAGES) % 3


def _features() -> FloatArray:
    """Three classes that lie apart, but for a few images."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(NUM_IMAGES, NUM_FEATURES)) + 3.0 * np.eye(3, NUM_FEATURES)[LABELS]


def _judge() -> Judge:
    return Judge(np.arange(NUM_IMAGES), LABELS)


def _swapped(features_ND: FloatArray) -> FloatArray:
    """One image looks like one of another class."""
    found = features_ND.copy()
    found[[5, 6]] = found[[6, 5]]
    return found


@pytest.mark.parametrize(
    "spoil", [_swapped, lambda x: x * (1 + (np.arange(NUM_IMAGES) == 7)[:, None] * 9), lambda x: np.full_like(x, np.nan)]
)
def test_one_image_that_is_off_is_seen(spoil: Callable[[FloatArray], FloatArray]) -> None:
    """However close all others are: a decision changes, or a log-probability by more than is allowed."""
    said = _judge()(spoil(_features()), _features())
    assert said is not None
    assert said.startswith("changed ")
    assert f"of {NUM_IMAGES} decisions" in said


def test_rounding_is_no_difference() -> None:
    """Equal features agree to the digit, and those of a rounding in float32 nearly."""
    assert compare(LABELS, _features(), _features()) == (0, 0.0)
    changed, off = compare(LABELS, _features().astype(np.float32).astype(np.float64), _features())
    assert (changed, off < MAX_OFF / 10) == (0, True)
    assert _judge()(_features() * (1 + 1e-6), _features()) is None


def test_few_images_are_not_judged() -> None:
    """They are computed in float32; of many, train and val are looked at from end to end, and test never is."""
    assert judge_of(colours()) is None
    data = replace(colours(), train=_many(LEAST_IMAGES), val=split(100, 12), test=split(200, 12))
    judge = judge_of(data)
    assert judge is not None
    assert len(judge.rows_N) == NUM_CHECKED
    assert (judge.rows_N[0], judge.rows_N[-1]) == (0, LEAST_IMAGES + 11)
    assert judge.labels_N.tolist() == [_label(data, row) for row in judge.rows_N.tolist()]


def _many(num_images: int) -> Split:
    one = split(0, 3)
    return Split([one.images[number % 3] for number in range(num_images)], np.arange(num_images, dtype=np.int64) % 3)


def _label(data: Dataset, row: int) -> int:
    labels = data.train.labels if row < len(data.train) else data.val.labels
    return int(labels[row if row < len(data.train) else row - len(data.train)])
