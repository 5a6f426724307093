"""The freeze steps of a trunk: ordered from input to output, they own every parameter and buffer exactly once.

The rules that say which tensors form a step are timm's own `group_matcher` where it has one that suits, else a pattern
here. Called when a backbone is loaded; the freeze plan counts these steps.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

from torch import nn

from harness.backbones.backbone import Block
from harness.errors import BackboneError

Matcher = re.Pattern[str] | Mapping[str, Any] | Callable[[str], Any]
"""A pattern whose match names the step a tensor belongs to, or what timm's `group_matcher` returns."""

NUMBERED = re.compile(r"\w+\.\d+(?:\.blocks)?\.\d+|\w+\.\d+|\w+")
"""For architectures that bring no rules: stages.0.blocks.1, stages.1 (its downsampling), stem, ..."""

PATTERNS: Mapping[str, re.Pattern[str]] = {
    # torchvision
    "alexnet": re.compile(r"(features|classifier)\.\d+"),
    "googlenet": re.compile(r"conv\d|inception\d[a-e]"),
    "shufflenet": re.compile(r"conv\d|stage\d\.\d+"),
    "squeezenet": re.compile(r"features\.\d+"),
    # timm lumps the head convolution, a tenth of the model, with the last block here but not in mobilenetv3.
    "efficientnet": re.compile(r"blocks\.\d+\.\d+|\w+"),
}
"""Family -> pattern; steps come in the order in which their modules were registered."""


def matcher_of(model: nn.Module, family: str) -> Matcher:
    """The rules for `model`: from the table above, else timm's, else by numbered modules."""
    if family in PATTERNS:
        return PATTERNS[family]
    if not hasattr(model, "group_matcher"):
        return NUMBERED
    group_matcher: Any = model.group_matcher
    rules: Matcher = group_matcher(coarse=False)
    return rules


def find_blocks(trunk: nn.Module, matcher: Matcher, *, prefix: str = "") -> tuple[Block, ...]:
    """Group all tensors of `trunk` into steps; `prefix` stands before the names that `matcher` knows.

    A step without any weight matrix or kernel (only norms, biases, layer scales, buffers) joins the one before it.
    """
    names = _tensor_names(trunk)
    local = {name.removeprefix(prefix): name for name in names}
    groups = [[local[name] for name in group] for group in _group(list(local), matcher)]
    kernels = {name for name, parameter in trunk.named_parameters() if parameter.ndim >= 2}
    position = {name: i for i, name in enumerate(names)}
    joined = [sorted(group, key=position.__getitem__) for group in _join(groups, kernels)]
    return tuple(Block(name=_block_name(group, names), tensors=tuple(group)) for group in joined)


def _tensor_names(trunk: nn.Module) -> list[str]:
    """Names of all parameters and buffers, non-persistent ones too, in the order of their modules."""
    position = {name: i for i, (name, _) in enumerate(trunk.named_modules())}
    names = [name for name, _ in chain(trunk.named_parameters(), trunk.named_buffers())]
    return sorted(names, key=lambda name: position[_module(name)])


def _group(names: list[str], matcher: Matcher) -> list[list[str]]:
    from timm.models._manipulate import group_with_matcher

    rules: Any = _by_appearance(names, matcher) if isinstance(matcher, re.Pattern) else matcher
    return list(group_with_matcher(((name, name) for name in names), rules).values())


def _by_appearance(names: list[str], pattern: re.Pattern[str]) -> Callable[[str], int]:
    """Number the steps as they come. Tensors of the trunk itself (tokens, position embeddings) go to the first module."""
    first = next((name for name in names if "." in name), names[0])

    def key(name: str) -> str:
        match = pattern.match(name if "." in name else first)
        if match is None:
            raise BackboneError(f"{name} belongs to no freeze step of this model; give another backbone.")
        return match.group()

    ordinals = {step: i for i, step in enumerate(dict.fromkeys(map(key, names)))}
    return lambda name: ordinals[key(name)]


def _join(groups: Iterable[list[str]], kernels: set[str]) -> list[list[str]]:
    joined: list[list[str]] = []
    for group in groups:
        if joined and (kernels.isdisjoint(group) or kernels.isdisjoint(joined[-1])):
            joined[-1] += group
        else:
            joined.append(list(group))
    return joined


def _block_name(group: list[str], names: list[str]) -> str:
    """The module that all tensors of the step share, else the outermost one that ends it; in both cases none but its own."""
    others = {ancestor for name in set(names).difference(group) for ancestor in _ancestors(name)}
    shared = set.intersection(*(set(_ancestors(name)) for name in group)) - others
    ending = [module for module in _ancestors(group[-1]) if module not in others]
    return max(shared, key=len, default="") or (ending[0] if ending else group[-1])


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _ancestors(name: str) -> list[str]:
    """The modules a tensor lies in, outermost first: a.b.weight -> a, a.b."""
    parts = name.split(".")[:-1]
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
