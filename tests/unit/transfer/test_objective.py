"""The loss on tensors, and that nobody but the objective knows what kind of label there is."""

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness.transfer.objective import SingleLabelLoss

HARNESS = Path(__file__).parents[3] / "harness"
OBJECTIVE = {"measure/objective.py", "measure/logistic.py", "transfer/objective.py"}
WEIGHTS_C = torch.tensor([0.5, 1.0, 3.0])


@pytest.mark.parametrize("weights_C", [None, WEIGHTS_C], ids=["unweighted", "weighted"])
def test_parts_of_a_batch_add_up_to_its_mean(weights_C: Tensor | None) -> None:
    """Whatever the pieces, their totals times the share of the batch are the mean cross-entropy, weighted and smoothed."""
    logits_BC, labels_B = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 3
    loss = SingleLabelLoss(weights_C, label_smoothing=0.2)
    found = sum(loss.share(labels_B) * loss.total(logits_BC[part], labels_B[part]) for part in (slice(4), slice(4, 7)))
    wanted = functional.cross_entropy(logits_BC, labels_B, weights_C, reduction="sum", label_smoothing=0.2)
    assert float(found) == pytest.approx(float(wanted / (7 if weights_C is None else weights_C[labels_B].sum())))


@pytest.mark.parametrize("weights_C", [None, WEIGHTS_C], ids=["unweighted", "weighted"])
def test_the_mean_of_each_head_is_of_its_own_batch(weights_C: Tensor | None) -> None:
    """Heads that train together see images in orders of their own; each mean and each count is what the head alone would have."""
    logits_JBC = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))
    labels_JB = torch.stack([torch.arange(7).roll(k) % 3 for k in range(4)])
    loss = SingleLabelLoss(weights_C, label_smoothing=0.2)
    for j, (logits_BC, labels_B) in enumerate(zip(logits_JBC, labels_JB, strict=True)):
        wanted = functional.cross_entropy(logits_BC, labels_B, weights_C, label_smoothing=0.2)
        assert float(loss.means(logits_JBC, labels_JB)[j]) == pytest.approx(float(wanted))
        assert loss.num_correct(logits_JBC, labels_JB)[j] == loss.num_correct(logits_BC, labels_B)


def test_softmax_and_cross_entropy_are_the_objective_s_alone() -> None:
    """A second kind of label is a second object: no other module of training, heads or choice spells this one out."""
    names = {"softmax", "log_softmax", "cross_entropy", "logsumexp"}
    rooms = [path for room in ("transfer", "measure", "jobs", "select") for path in sorted((HARNESS / room).glob("*.py"))]
    users = {
        path.relative_to(HARNESS).as_posix()
        for path in rooms
        if names & {getattr(node, "attr", getattr(node, "id", None)) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}
    }
    assert users == OBJECTIVE
