"""A trunk cut at the boundaries of its blocks: each segment turns the activations at one boundary into those at a later one.

Between the backbone and the passes that cache activations. Boundary k lies behind the first k blocks: 0 is the image, the last
one is what the head sees. Running all segments in a row is running the trunk; `cut` checks that before it is relied on.

Shapes: B images of a batch.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import NoneType
from typing import Any

import torch
from torch import Tensor, fx, nn

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import tensors_of
from harness.backbones.trace import trace
from harness.features.layout import Activations

EXACT = 1e-5
"""Largest difference, relative to the largest value, between a trunk and its segments in float32."""


class CutTrunk:
    """A trunk that can be run from any clean boundary to any later one. The segments share the trunk's own modules."""

    def __init__(self, trunk: nn.Module, last: int, nodes: Sequence[fx.Node], places: Mapping[int, "_Place"]) -> None:
        self.trunk = trunk
        self.last = last
        """The boundary that the head sees."""
        self._nodes = nodes
        self._places = places

    @property
    def boundaries(self) -> list[int]:
        """Every boundary with a clean cut, in order; 0 and `last` are always among them."""
        return sorted({0, *self._places, self.last})

    def nearest(self, boundary: int) -> int:
        """The last clean boundary that is not behind `boundary`."""
        return max(k for k in self.boundaries if k <= boundary)

    def segment(self, start: int, end: int, root: nn.Module | None = None) -> nn.Module:
        """The part between two clean boundaries: takes the activations at `start` as arguments, returns the activations at `end`.

        Args:
            start: a clean boundary.
            end: one that is not before it.
            root: a module with the trunk's module names whose modules are used instead of the trunk's.
        """
        root = root or self.trunk
        if not self._places:
            return _Whole(root if start < end else None)
        return _build(root, self._nodes, self._places[start], self._places[end])


class _Whole(nn.Module):
    """A segment of a trunk that has no clean cut: all of it or nothing."""

    def __init__(self, trunk: nn.Module | None) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images_or_features: Tensor) -> Activations:
        return (self.trunk(images_or_features) if self.trunk else images_or_features,)


def cut(backbone: Backbone) -> CutTrunk:
    """Find the clean boundaries of a trunk, which is left in eval mode.

    A boundary is clean where no block before it is used behind it and every activation there has one row per image, or
    is the same for all images. Of the places between two blocks the one with the fewest values is taken, the last of equals.

    Returns:
        A trunk whose only boundaries are the image and the head, where its calls cannot be recorded or its segments in
        a row do not give what it gives.
    """
    trunk, last, size = backbone.trunk, len(backbone.blocks), backbone.preprocess.image_size
    block_of = {name: i for i, block in enumerate(backbone.blocks) for name in block.tensors}
    graph = _trace_same_in_both_modes(trunk, block_of)
    if graph is not None:
        generator, device = torch.Generator().manual_seed(0), next(trunk.parameters()).device
        one, two = (torch.rand(num, 3, size, size, generator=generator).to(device) for num in (1, 2))
        with torch.no_grad(), suppress(*_MISRECORDED):
            seen = _Observer(trunk, graph).pair(one, two)
            found = CutTrunk(trunk, last, list(graph.nodes), _places(graph, block_of, seen, last))
            if _adds_up(found, two):
                return found
    return CutTrunk(trunk, last, [], {})


_MISRECORDED = (RuntimeError, NotImplementedError, TypeError, ValueError, LookupError, AttributeError, AssertionError)
"""What a recording that is not what the trunk does raises when it runs."""


def _trace_same_in_both_modes(trunk: nn.Module, block_of: Mapping[str, int]) -> fx.Graph | None:
    """A recording fixes what `self.training` was; where that shows in it, it is right in one mode only."""

    def is_within_one_block(module: nn.Module, name: str) -> bool:
        return bool(name) and len({block_of[f"{name}.{key}"] for key in tensors_of(module)}) == 1

    training, evaluating = (trace(trunk.train(mode), is_within_one_block) for mode in (True, False))
    return evaluating if str(training) == str(evaluating) else None


@dataclass(frozen=True, slots=True)
class _Value:
    """What a node gave for a batch of one image and for one of two others."""

    one: Any
    two: Any

    @property
    def num_values(self) -> int | None:
        """Values per image, if it is a tensor with one row per image."""
        if not (isinstance(self.one, Tensor) and isinstance(self.two, Tensor)) or not self.one.ndim or not self.two.ndim:
            return None
        has_rows = len(self.one) == 1 and len(self.two) == 2 and self.one.shape[1:] == self.two.shape[1:]
        return math.prod(self.one.shape[1:]) if has_rows else None

    @property
    def counts_images(self) -> bool:
        return isinstance(self.one, int) and (self.one, self.two) == (1, 2)

    @property
    def is_same(self) -> bool:
        """Whether it does not depend on the images at all."""
        return _are_equal(self.one, self.two)


def _are_equal(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(two, Tensor):
        return isinstance(one, Tensor) and isinstance(two, Tensor) and torch.equal(one, two)
    if isinstance(one, (tuple, list)):
        return type(one) is type(two) and len(one) == len(two) and all(map(_are_equal, one, two))
    return type(one) is type(two) and isinstance(one, (int, float, str, NoneType, torch.dtype, torch.device)) and one == two


class _Observer(fx.Interpreter):
    """Runs a graph and remembers what every node gave."""

    def __init__(self, trunk: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(trunk, graph))
        self._graph = graph
        self._seen: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Names as in fx, which calls this."""
        self._seen[n.name] = result = super().run_node(n)
        return result

    def pair(self, one: Tensor, two: Tensor) -> dict[fx.Node, _Value]:
        """What every node gives for two batches."""
        self.run(one)
        first, self._seen = self._seen, {}
        self.run(two)
        return {node: _Value(first[node.name], self._seen[node.name]) for node in self._graph.nodes if node.name in first}


@dataclass(frozen=True, slots=True)
class _Place:
    """A position in the order of nodes, and the activations there."""

    position: int
    """Number of nodes before it."""
    rows: tuple[fx.Node, ...]
    counts: tuple[fx.Node, ...]
    """Values that are the number of images."""
    constants: Mapping[fx.Node, Any]
    num_values: int
    """Of the activations of one image."""


def _places(graph: fx.Graph, block_of: Mapping[str, int], seen: Mapping[fx.Node, _Value], num_blocks: int) -> dict[int, _Place]:
    nodes = list(graph.nodes)
    uses = {i: blocks for i, node in enumerate(nodes) if (blocks := _blocks_used(node, block_of))}
    output = next(i for i, node in enumerate(nodes) if node.op == "output")
    places: dict[int, _Place] = {}
    for boundary in range(num_blocks + 1):
        before = max((i for i, blocks in uses.items() if min(blocks) < boundary), default=0)
        behind = min((i for i, blocks in uses.items() if max(blocks) >= boundary), default=output)
        positions = range(1, 2) if boundary == 0 else range(output, output + 1) if boundary == num_blocks else range(before + 1, behind + 1)
        found = [place for i in positions if (place := _place(nodes, i, seen))]
        if found:
            places[boundary] = min(reversed(found), key=lambda place: place.num_values)
    return places


def _blocks_used(node: fx.Node, block_of: Mapping[str, int]) -> set[int]:
    if node.op not in {"call_module", "get_attr"}:
        return set()
    target = str(node.target)
    return {block for name, block in block_of.items() if name == target or name.startswith(f"{target}.")}


def _place(nodes: Sequence[fx.Node], position: int, seen: Mapping[fx.Node, _Value]) -> _Place | None:
    """Return the activations between two nodes; None when some neither belong to one image nor are the same for all."""
    behind = set(nodes[position:])
    activations = [node for node in nodes[:position] if not behind.isdisjoint(node.users)]
    rows, counts, constants, num_values = [], [], {}, 0
    for node in activations:
        value = seen[node]
        if value.num_values is not None:
            rows.append(node)
            num_values += value.num_values
        elif value.counts_images:
            counts.append(node)
        elif value.is_same:
            constants[node] = value.two
        else:
            return None
    return _Place(position, tuple(rows), tuple(counts), constants, num_values) if rows else None


def _build(root: nn.Module, nodes: Sequence[fx.Node], start: _Place, end: _Place) -> fx.GraphModule:
    graph, tensors = fx.Graph(), {}
    env: dict[fx.Node, Any] = {node: graph.placeholder(node.name) for node in start.rows}
    for node in start.counts:
        env[node] = graph.call_function(operator.getitem, (graph.call_function(getattr, (env[start.rows[0]], "shape")), 0))
    for node, value in start.constants.items():
        env[node] = value
        if isinstance(value, Tensor):
            tensors[f"constant_{node.name}"] = value
            env[node] = graph.get_attr(f"constant_{node.name}")
    for node in nodes[start.position : end.position]:
        env[node] = graph.node_copy(node, env.__getitem__)
    graph.output(tuple(env[node] for node in end.rows))
    targets = {str(node.target) for node in graph.nodes if node.op in {"call_module", "get_attr"}}
    device = next(root.parameters()).device
    used = {target: tensors[target].to(device) if target in tensors else operator.attrgetter(target)(root) for target in targets}
    module = fx.GraphModule(used, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _adds_up(cut_trunk: CutTrunk, images_BCHW: Tensor) -> bool:
    """Whether all segments in a row give what the trunk gives."""
    wanted, activations = cut_trunk.trunk(images_BCHW), (images_BCHW,)
    for start, end in pairwise(cut_trunk.boundaries):
        activations = cut_trunk.segment(start, end)(*activations)
    return len(activations) == 1 and difference(activations[0], wanted) <= EXACT


def difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference, relative to the largest absolute value that was wanted."""
    largest = wanted.float().abs().max().item()
    return (found.float() - wanted.float()).abs().max().item() / max(largest, 1e-12)
