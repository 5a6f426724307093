"""Binary cross-entropy of labels: in pieces, side by side, weighted, smoothed."""

import pytest
import torch
from torch.nn import functional

from harness.transfer.objective import SeveralLabelsLoss


def make() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels, B x C, float64."""
    generator = torch.Generator().manual_seed(0)
    logits_BC = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    return logits_BC, (torch.rand(6, 3, generator=generator) < 0.5).long()


def test_pieces_and_heads_add_up_to_torchs() -> None:
    """The mean over images and labels, whatever the pieces, of heads each its own; weighted as torch's `pos_weight`."""
    logits_BC, labels_BC = make()
    weights_C = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    loss = SeveralLabelsLoss(weights_C)
    wanted = functional.binary_cross_entropy_with_logits(logits_BC, labels_BC.double(), pos_weight=weights_C).item()
    pieces = [loss.total(logits_BC[rows], labels_BC[rows]) for rows in (slice(0, 2), slice(2, 6))]
    assert loss.share(labels_BC) * sum(pieces).item() == pytest.approx(wanted)  # type: ignore[union-attr]
    heads_J = loss.means(torch.stack([logits_BC, -logits_BC]), torch.stack([labels_BC, 1 - labels_BC]))
    assert heads_J[0].item() == pytest.approx(wanted)
    alone = SeveralLabelsLoss().means(torch.stack([logits_BC, -logits_BC]), torch.stack([labels_BC, 1 - labels_BC]))
    assert alone[0].item() == pytest.approx(alone[1].item())


def test_smoothing_moves_targets_to_one_half() -> None:
    """All the way, labels say nothing; shares of mixed images are targets as they are."""
    logits_BC, labels_BC = make()
    smooth = SeveralLabelsLoss(label_smoothing=1.0)
    assert smooth.total(logits_BC, labels_BC).item() == pytest.approx(smooth.total(logits_BC, 1 - labels_BC).item())
    shares_BC = 0.5 * labels_BC.double() + 0.25
    assert SeveralLabelsLoss(label_smoothing=0.5).total(logits_BC, labels_BC).item() == pytest.approx(
        SeveralLabelsLoss().total(logits_BC, shares_BC).item()
    )


def test_an_image_is_correct_when_all_its_labels_are() -> None:
    """At one half."""
    logits_BC = torch.tensor([[2.0, -1.0], [2.0, 1.0], [-1.0, -1.0]])
    labels_BC = torch.tensor([[1, 0], [1, 0], [0, 0]])
    assert SeveralLabelsLoss().num_correct(logits_BC, labels_BC).item() == 2
