"""The common output of the timm and torchvision builders, which `load` takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from harness.backbones.backbone import SourceHead
from harness.backbones.blocks import Matcher
from harness.data.preprocess import Preprocess


@dataclass(frozen=True, slots=True)
class FilledTrunk:
    """A model without its classifier, filled with weights, and the rules that cut it into blocks."""

    trunk: nn.Module
    preprocess: Preprocess
    matcher: Matcher
    prefix: str = ""
    """Stands before the tensor names that `matcher` knows."""
    source_head: SourceHead | None = None
    notes: tuple[str, ...] = ()
    """What was found or taken for granted where nobody has said it, a clause each."""


def find_source_head(state: Mapping[str, Tensor], name: object) -> SourceHead | None:
    """The linear classifier of this name in a checkpoint; None when there is none, or it is more than one linear layer."""
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or bias is None or weight.ndim < 2 or bias.shape != weight.shape[:1]:
        return None
    if weight.shape[0] < 2 or weight[0].numel() != weight.shape[1]:
        return None
    return SourceHead(weight.flatten(1).float().numpy(), bias.float().numpy())
