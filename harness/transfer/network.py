"""A backbone with a new head, and the head's two ways to start: at random or solved.

Shapes: B images, N images of a split, C classes, D features, H, W pixels.
"""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from harness.config import Head, Precision, TrainConfig
from harness.runtime import Runtime

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse L2 strengths tried for the solved head, weakest fit first; the best is chosen by log loss on val."""


class Network(nn.Module):
    """`head(trunk(images_BCHW)) -> logits_BC`. The trunk may run under autocast; the head is always float32."""

    def __init__(self, trunk: nn.Module, head: nn.Module, runtime: Runtime) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.runtime = runtime
        self.train_precision = runtime.precision
        """Of passes with gradients."""

    def choose_train_precision(self) -> None:
        """Train in float32 where lower precision would be slower; to be called when the set of free parameters changes."""
        self.train_precision = Precision.float32 if self.runtime.trains_slowly(self.trunk) else self.runtime.precision

    def features(self, images_BCHW: Tensor) -> Tensor:
        """What the head sees, float32, shape B x D."""
        with self.autocast():
            features_BD: Tensor = self.trunk(images_BCHW)
        return features_BD.float()

    def autocast(self) -> AbstractContextManager[object]:
        """The arithmetic of the trunk: that of training where gradients are asked for."""
        return self.runtime.autocast(self.train_precision if torch.is_grad_enabled() else self.runtime.precision)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.head(self.features(images_BCHW))
        return logits_BC


class Tail(nn.Module):
    """The part of a network behind a boundary: `tail(*crossing) -> logits_BC`, with the network's own modules."""

    def __init__(self, network: Network, segment: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.segment = segment

    def forward(self, *crossing: Tensor) -> Tensor:
        # Kept rows may be bfloat16, which layers that train in float32 do not take.
        entering = [part.float() if part.is_floating_point() else part for part in crossing]
        with self.network.autocast():
            (features_BD,) = self.segment(*entering)
        logits_BC: Tensor = self.network.head(features_BD.float())
        return logits_BC


def new_head(num_features: int, num_classes: int, cfg: TrainConfig, seed: int) -> nn.Module:
    """An untrained head whose random start depends on `seed` alone."""
    with _forked_rng(seed):
        if cfg.head is Head.linear:
            return nn.Linear(num_features, num_classes)
        return nn.Sequential(nn.Linear(num_features, cfg.head_hidden), nn.ReLU(), nn.Linear(cfg.head_hidden, num_classes))


@contextmanager
def _forked_rng(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def solve_head(
    head: nn.Linear, train_ND: FloatArray, train_labels_N: IntArray, val_ND: FloatArray, val_labels_N: IntArray, *, class_weights: bool
) -> None:
    """Put the head at the multinomial logistic regression on fixed features, its L2 strength chosen by val log loss.

    Features are standardised for the fit, and the scaling is folded into the head's weights afterwards.
    """
    mean_D, scale_D = train_ND.mean(axis=0), train_ND.std(axis=0)
    scale_D = np.where(scale_D > 0, scale_D, 1.0)
    inputs_ND = (train_ND - mean_D) / scale_D
    model = LogisticRegression(max_iter=300, warm_start=True, class_weight="balanced" if class_weights else None)
    fits = []
    for strength in _STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            # An unconverged fit is still a start, and its val loss says whether it is a good one.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs_ND, train_labels_N)
        fits.append(_unscaled(model.coef_, model.intercept_, mean_D, scale_D))
    weight_CD, bias_C = min(fits, key=lambda found: _log_loss(found[0], found[1], val_ND, val_labels_N))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight_CD))
        head.bias.copy_(torch.from_numpy(bias_C))


def _unscaled(coef_CD: FloatArray, intercept_C: FloatArray, mean_D: FloatArray, scale_D: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights and bias that act on features as they are; one row per class."""
    if len(coef_CD) == 1:  # scikit-learn keeps one row for two classes; the softmax of (-z/2, z/2) is its sigmoid
        halves_C1 = np.asarray([[-0.5], [0.5]])
        coef_CD, intercept_C = halves_C1 @ coef_CD, halves_C1[:, 0] * intercept_C
    weight_CD = coef_CD / scale_D
    return weight_CD, intercept_C - weight_CD @ mean_D


def _log_loss(weight_CD: FloatArray, bias_C: FloatArray, features_ND: FloatArray, labels_N: IntArray) -> float:
    log_probs_NC = log_softmax(features_ND @ weight_CD.T + bias_C, axis=1)
    return float(-log_probs_NC[np.arange(len(labels_N)), labels_N].mean())
