"""The loss on tensors: the half of `measure/objective` that needs torch.

Asked by the training loop, by heads that train together, and by prediction. Where images are weighted, the loss of each is multiplied by its weight;
what a batch is divided by stays the same, as the weights of train are 1 on average. Shapes: J heads, B images of a batch, C classes.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from harness.measure.objective import Objective, SeveralLabels


@dataclass(frozen=True, slots=True)
class SingleLabelLoss:
    """Cross-entropy over softmax (nats), every image of exactly one class."""

    class_weights_C: Tensor | None = None
    """Weight of an image of each class; None: all weigh the same."""
    label_smoothing: float = 0.0
    """Share of every target that goes to all classes alike."""

    def total(self, logits_BC: Tensor, labels_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
        """Return the weighted sum over images; times `share` of the batch that they are part of it adds up to the batch's mean.

        Labels of mixed images are shares of classes, shape B x C.
        """
        smoothing, reduction = self.label_smoothing, "sum" if weights_B is None else "none"
        found = functional.cross_entropy(logits_BC, labels_B, weight=self.class_weights_C, reduction=reduction, label_smoothing=smoothing)
        return found if weights_B is None else (weights_B * found).sum()

    def share(self, labels_B: Tensor) -> float | Tensor:
        """Return one over the weight of a batch."""
        weights_C = self.class_weights_C
        if weights_C is None:
            return 1.0 / len(labels_B)
        return 1.0 / (labels_B @ weights_C if _are_shares(labels_B) else weights_C[labels_B]).sum()

    def means(self, logits_JBC: Tensor, labels_JB: Tensor, weights_JB: Tensor | None = None) -> Tensor:
        """Return the mean of each head's own batch, shape J."""
        weights_C = self.class_weights_C
        loss_JB = functional.cross_entropy(
            logits_JBC.flatten(0, 1), labels_JB.flatten(), weights_C, reduction="none", label_smoothing=self.label_smoothing
        ).view_as(labels_JB)
        loss_JB = loss_JB if weights_JB is None else weights_JB * loss_JB
        return loss_JB.mean(dim=1) if weights_C is None else loss_JB.sum(dim=1) / weights_C[labels_JB].sum(dim=1)

    def double(self) -> "SingleLabelLoss":
        """Return the same for heads that train together, on the processor and in float64."""
        return replace(self, class_weights_C=None if self.class_weights_C is None else self.class_weights_C.to("cpu", torch.float64))

    def num_correct(self, logits_xBC: Tensor, labels_xB: Tensor) -> Tensor:
        """Return how many images of a batch are correctly classified; of each head's where there are several. Of mixed images the larger share counts."""
        called_xB = labels_xB.argmax(dim=-1) if _are_shares(labels_xB) else labels_xB
        return (logits_xBC.argmax(dim=-1) == called_xB).sum(dim=-1)

    def log_probs(self, logits_xC: Tensor) -> Tensor:
        """Return log-probabilities, float32 for float32."""
        return torch.log_softmax(logits_xC, dim=-1)


def _are_shares(labels: Tensor) -> bool:
    return labels.is_floating_point()


@dataclass(frozen=True, slots=True)
class SeveralLabelsLoss:
    """Binary cross-entropy over sigmoid (nats), the mean over labels; labels, B x C, are 0 or 1, of mixed images shares."""

    class_weights_C: Tensor | None = None
    """Weight of a label where it is there; None: as where it is not."""
    label_smoothing: float = 0.0
    """How far every target moves to one half, where 1 is all the way."""

    def total(self, logits_BC: Tensor, labels_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
        """Return the sum over images; times `share` of the batch that they are part of it adds up to the batch's mean."""
        return self._losses(logits_BC, labels_B, weights_B).sum()

    def share(self, labels_B: Tensor) -> float | Tensor:
        """Return one over the number of images."""
        return 1.0 / len(labels_B)

    def means(self, logits_JBC: Tensor, labels_JB: Tensor, weights_JB: Tensor | None = None) -> Tensor:
        """Return the mean of each head's own batch, shape J."""
        return self._losses(logits_JBC, labels_JB, weights_JB).mean(dim=1)

    def double(self) -> "SeveralLabelsLoss":
        """Return the same for heads that train together, on the processor and in float64."""
        return replace(self, class_weights_C=None if self.class_weights_C is None else self.class_weights_C.to("cpu", torch.float64))

    def num_correct(self, logits_xBC: Tensor, labels_xB: Tensor) -> Tensor:
        """Return how many images of a batch have all their labels correct; of each head's where there are several. Of mixed images the larger share counts."""
        return ((logits_xBC > 0) == (labels_xB > _HALF)).all(dim=-1).sum(dim=-1)

    def log_probs(self, logits_xC: Tensor) -> Tensor:
        """Return log-probabilities, float32 for float32."""
        return functional.logsigmoid(logits_xC)

    def _losses(self, logits_xC: Tensor, labels_x: Tensor, weights_x: Tensor | None) -> Tensor:
        """Of each image."""
        shares_xC = labels_x.to(logits_xC.dtype)
        targets_xC = shares_xC + self.label_smoothing * (_HALF - shares_xC)
        loss_xC = functional.binary_cross_entropy_with_logits(logits_xC, targets_xC, pos_weight=self.class_weights_C, reduction="none")
        return loss_xC.mean(-1) if weights_x is None else weights_x * loss_xC.mean(-1)


_HALF = 0.5

Loss = SingleLabelLoss | SeveralLabelsLoss
"""The kinds of label there are."""


def loss_like(objective: Objective) -> Loss:
    """Return the plain loss that goes with an objective."""
    return SeveralLabelsLoss() if isinstance(objective, SeveralLabels) else SingleLabelLoss()
