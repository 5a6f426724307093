"""A kept model as other programs take it: the temperature within the head, and one module from normalised images to answers.

Shapes: B images, C classes.
"""

from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.backbones.catalog import resolve_again
from harness.backbones.to_timm import Config, NotInTimmError, as_timm, timm_config_of
from harness.config import Metric
from harness.models.model import Model
from harness.study.model_file import ModelHeader


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """A network whose softmax is the calibrated probability: `network(images_BCHW) -> logits_BC`."""

    network: nn.Module
    """timm's own model where it can hold this one, else a chain of `trunk` and `head`."""
    config: Config | None
    """By which timm builds it; None: it cannot."""
    why_not: str = ""
    """Why timm cannot hold it, as a clause."""


def whole(model: Model) -> Whole:
    """A copy of a model's network with the temperature in the last layer of its head."""
    header = model.header
    trunk, head = deepcopy(model.network.trunk), deepcopy(model.network.head)
    for part in (trunk, head):
        part.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    _divide(head, header.temperature)
    spec = resolve_again(header.backbone, header.model)
    chain = nn.Sequential(OrderedDict(trunk=trunk, head=head)).eval()
    if header.features == "map":
        return Whole(chain, None, "its head sees the whole last feature map, which timm's classifiers do not")
    try:
        config = timm_config_of(spec, model.preprocess, header.class_names, header.licence)
        return Whole(as_timm(trunk, head, config), config)
    except NotInTimmError as error:
        return Whole(chain, None, str(error))


@torch.no_grad()
def _divide(head: nn.Module, temperature: float) -> None:
    last = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
    for tensor in (last.weight, last.bias):
        tensor.copy_((tensor.double() / temperature).to(tensor.dtype))


class Deployed(nn.Module):
    """`deployed(images_BCHW) -> (probabilities_BC, label_B)`: calibrated probabilities, and the number of the class that an image is called."""

    log_prior_C: Tensor

    def __init__(self, network: nn.Module, class_prior: list[float], metric: Metric) -> None:
        super().__init__()
        self.network = network
        prior_C = torch.tensor(class_prior if metric is Metric.balanced_accuracy else [1.0] * len(class_prior), dtype=torch.float64)
        self.register_buffer("log_prior_C", prior_C.log().float())

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        log_probs_BC = torch.log_softmax(self.network(images_BCHW), dim=1)
        return log_probs_BC.exp(), (log_probs_BC - self.log_prior_C).argmax(dim=1)


class DeployedLabels(nn.Module):
    """`deployed(images_BCHW) -> (probabilities_BC, label_BC)`: calibrated probabilities of labels, and 1 for each that an image is said to have."""

    threshold_C: Tensor

    def __init__(self, network: nn.Module, thresholds: list[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("threshold_C", torch.tensor(thresholds, dtype=torch.float32))

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        probabilities_BC = torch.sigmoid(self.network(images_BCHW))
        return probabilities_BC, (probabilities_BC >= self.threshold_C).to(torch.int64)


def deployed_of(network: nn.Module, header: ModelHeader) -> nn.Module:
    """The module that decides as the model of a header does."""
    if header.thresholds:
        return DeployedLabels(network, header.thresholds)
    return Deployed(network, header.class_prior, Metric(header.metric))
