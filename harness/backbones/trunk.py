"""What the builders for the two model libraries hand to `load`."""

from dataclasses import dataclass

from torch import nn

from harness.backbones.backbone import Preprocess
from harness.backbones.blocks import Matcher


@dataclass(frozen=True, slots=True)
class Trunk:
    """A filled network without classifier and the rules that cut it into blocks."""

    network: nn.Module
    preprocess: Preprocess
    matcher: Matcher
    prefix: str = ""
    """Stands before the tensor names that `matcher` knows."""
