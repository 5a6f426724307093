"""The freeze steps of a trunk: ordered from input to output, they own every parameter and buffer exactly once.

The rules that say which tensors form a step are timm's own `group_matcher` where it has one that suits, else a pattern
here. Called when a backbone is loaded; the freeze plan counts these steps.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import nn

from harness.backbones.backbone import Block
from harness.backbones.tensors import tensors_of
from harness.errors import BackboneError


@dataclass(frozen=True, slots=True)
class Steps:
    """Modules that are a step each, with all that lies in them, in the order in which they run."""

    modules: tuple[str, ...]


Matcher = re.Pattern[str] | Steps | Mapping[str, Any] | Callable[[str], Any]
"""A pattern whose match names the step a tensor belongs to, modules, or what timm's `group_matcher` returns."""

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


def found_steps(trunk: nn.Module) -> Steps:
    """Modules of a network that nobody has described: members of lists and sequences, and what stands beside these.

    Modules that hold such a list of composed modules are gone into; what lies in a member of a list is one step with it.
    """
    return Steps(tuple(_steps_in(trunk, "")))


def _steps_in(module: nn.Module, prefix: str, *, is_list: bool = False) -> Iterator[str]:
    owners = {name: child for name, child in module.named_children() if tensors_of(child)}
    for name, child in owners.items():
        child_is_list = isinstance(child, nn.Sequential | nn.ModuleList)
        is_wrapped = not is_list and len(owners) == 1
        inside: list[str] = []
        if _holds_layers(child) or (not is_list and (child_is_list or is_wrapped)):
            inside = list(_steps_in(child, f"{prefix}{name}.", is_list=is_list or child_is_list))
        yield from inside or [f"{prefix}{name}"]


def _holds_layers(module: nn.Module) -> bool:
    """Whether there is a list or sequence of modules in it that are made of others themselves."""
    lists = (inside for inside in module.modules() if isinstance(inside, nn.Sequential | nn.ModuleList))
    return any(sum(any(True for _ in member.children()) for member in found) > 1 for found in lists)


def given_steps(trunk: nn.Module, pattern: str) -> Steps:
    r"""The outermost modules with tensors whose names match: as a regular expression if it has any of `\^$+()|{}`, else as a pattern with `*`.

    Raises:
        BackboneError: there is none.
    """
    try:
        matcher = re.compile(pattern if set(pattern) & set("\\^$+()|{}") else fnmatch.translate(pattern))
    except re.error as error:
        raise BackboneError(f"blocks={pattern}: no regular expression ({error}); give a pattern such as 'layers.*'.") from error
    owners = [name for name, module in trunk.named_modules() if name and tensors_of(module)]
    found: list[str] = []
    for name in owners:
        if matcher.fullmatch(name) and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    if not found:
        near = ", ".join(dict.fromkeys(re.sub(r"\.\d+", ".*", name) for name in owners if name.count(".") < 2))
        raise BackboneError(f"blocks={pattern}: matches no module with parameters; there are {near[:300]}.")
    return Steps(tuple(found))


def in_run_order(trunk: nn.Module, steps: Steps, run: Callable[[], object]) -> Steps:
    """The steps in the order in which `run` first calls them, which need not be that of registration; one that is not called stays where it is."""
    called: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object) -> None:
            called.setdefault(name, len(called))

        return hook

    hooks = [trunk.get_submodule(name).register_forward_pre_hook(note(name)) for name in steps.modules]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    places: dict[str, int] = {}
    for name in steps.modules:
        places[name] = called.get(name, max(places.values(), default=-1))
    return Steps(tuple(sorted(steps.modules, key=places.__getitem__)))


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
    steps = matcher.modules if isinstance(matcher, Steps) else ()
    return tuple(Block(name=_step_of(group, steps) or _block_name(group, names), tensors=tuple(group)) for group in joined)


def _tensor_names(trunk: nn.Module) -> list[str]:
    """Names of all parameters and buffers, non-persistent ones too, in the order of their modules."""
    position = {name: i for i, (name, _) in enumerate(trunk.named_modules())}
    names = [name for name, _ in chain(trunk.named_parameters(), trunk.named_buffers())]
    return sorted(names, key=lambda name: position[_module(name)])


def _group(names: list[str], matcher: Matcher) -> list[list[str]]:
    from timm.models._manipulate import group_with_matcher

    rules: Any = matcher
    if isinstance(matcher, re.Pattern):
        rules = _by_appearance(names, matcher)
    elif isinstance(matcher, Steps):
        rules = _by_module(names, matcher.modules)
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


def _by_module(names: list[str], steps: Sequence[str]) -> Callable[[str], int]:
    """Number what lies in each step, and what lies between two of them as a step of its own.

    What a module holds itself that has steps in it (tokens, position embeddings) goes with what runs first in it.
    """
    keys: dict[str, int] = {}
    behind = 0
    for name in names:
        step = next((i for i, step in enumerate(steps) if name.startswith(f"{step}.")), None)
        behind = behind if step is None else 2 * step + 2
        keys[name] = behind if step is None else 2 * step + 1
    holders = {_module(name) for name in names} & {"", *(module for step in steps for module in _ancestors(f"{step}.")[:-1])}
    inside = {holder: [name for name in names if _is_in(name, holder) and _module(name) not in holders] for holder in holders}
    first = {holder: min(map(keys.__getitem__, found), default=0) for holder, found in inside.items()}
    return lambda name: first.get(_module(name), keys[name])


def _is_in(name: str, module: str) -> bool:
    return not module or name.startswith(f"{module}.")


def _join(groups: Iterable[list[str]], kernels: set[str]) -> list[list[str]]:
    joined: list[list[str]] = []
    for group in groups:
        if joined and (kernels.isdisjoint(group) or kernels.isdisjoint(joined[-1])):
            joined[-1] += group
        else:
            joined.append(list(group))
    return joined


def _step_of(group: list[str], steps: Sequence[str]) -> str:
    """The one that it is; empty where others have joined it."""
    found = [step for step in steps if any(_is_in(name, step) for name in group)]
    return found[0] if len(found) == 1 else ""


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
