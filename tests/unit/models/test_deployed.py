"""The exported network states calibrated probabilities, and its labels are the study's decisions."""

import numpy as np
import pytest
import torch

from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.config import Features, Metric
from harness.models.deployed import Deployed, whole
from harness.models.load import head_of
from harness.models.model import Model
from harness.transfer.network import Network
from tests.unit.study.models import make_header
from tests.unit.tiny import PLAIN_CPU, RANDOM


def _model(**changes: object) -> Model:
    changed = {"backbone": "test_resnet", "model": "test_resnet", "image_size": 32, "class_names": ["a", "b", "c"], "temperature": 2.5}
    header = make_header(**{**changed, **changes})
    found = load_backbone(resolve("test_resnet"), RANDOM, image_size=32, features=Features(header.features), seed=0)
    return Model(header, Network(found.trunk, head_of(found.num_features, header), PLAIN_CPU).eval())


@pytest.mark.parametrize("changes", [{}, {"head": "mlp", "head_hidden": 8}, {"features": "map"}])
def test_the_temperature_is_within_the_head(changes: dict[str, object]) -> None:
    """Softmax of the exported logits is the probability that the model states, whatever the head; the model itself stays as it was."""
    model, images = _model(class_prior=[1 / 3] * 3, metric="accuracy", **changes), torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        before = model.log_probs(images)
        found = whole(model)
        assert np.abs(np.exp(before) - found.network(images).softmax(dim=1).numpy()).max() < 1e-6
        assert (model.log_probs(images) == before).all()
    assert (found.config is None) == bool(changes)
    assert bool(found.why_not) == bool(changes)


@pytest.mark.parametrize("metric", [Metric.balanced_accuracy, Metric.accuracy])
def test_labels_are_the_decisions_of_the_study(metric: Metric) -> None:
    """Where the metric divides the prior out, so does the file; probabilities are the same either way."""
    model, images = _model(class_prior=[0.9, 0.09, 0.01], metric=metric.value), torch.randn(64, 3, 32, 32)
    with torch.inference_mode():
        probabilities, label = Deployed(whole(model).network, model.header.class_prior, metric)(images)
        log_probs = model.log_probs(images)
    assert label.tolist() == model.decide(log_probs).tolist()
    assert np.abs(probabilities.numpy() - np.exp(log_probs)).max() < 1e-6
    assert (label.tolist() == probabilities.argmax(dim=1).tolist()) == (metric is Metric.accuracy)
