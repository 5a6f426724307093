"""Networks that a Python function of the user's returns, as trunks. Naming a function is trusting it: it runs here, with everything that it imports.

Used by `weights` and `load` only; `python_source` finds the function. Shapes: B images, C classes, D features.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from harness.backbones.backbone import BackboneSpec, Weights, WeightsSource
from harness.backbones.blocks import found_steps, matcher_of
from harness.backbones.checkpoint import read_state_dict
from harness.backbones.filled import FilledTrunk, find_source_head
from harness.backbones.fit import bare, fits, is_beside, misfit, require_fit
from harness.backbones.from_timm import preprocess_of
from harness.backbones.python_source import find_function, source_hash
from harness.backbones.quiet import quiet
from harness.backbones.tensors import tensor_digest, tensors_of
from harness.config import Features
from harness.errors import BackboneError, ConfigError, is_debugging, is_out_of_memory
from harness.online.reasons import brief

IMAGE_KEYS = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
"""What a network may state about the images that it takes, as timm calls it."""


def build_python(spec: BackboneSpec, weights: Weights, *, image_size: int | None, features: Features) -> FilledTrunk:
    """Call the function and take the classifier off what it returns; see `load_backbone`."""
    assert spec.own is not None
    if features is Features.map:
        raise BackboneError(
            f"backbone={spec.requested}: a last feature map is known of timm's and torchvision's; give train.features=pooled."
        )
    model, about = make(spec, is_pretrained=weights.source is WeightsSource.code)
    if source_hash(spec.requested, spec.own.place) != spec.own.build:
        raise BackboneError(f"backbone={spec.requested}: its source code has changed since the job was made exact; run the sweep again.")
    if weights.source is WeightsSource.code and weights.sha256 not in _hashes(model):
        raise BackboneError(f"backbone={spec.requested}: returns other weights than when the job was made exact; run the sweep again.")
    preprocess = preprocess_of(spec, PretrainedCfg(**about), image_size)
    images_BCHW, whole = torch.zeros(1, 3, preprocess.image_size, preprocess.image_size), dict(model.state_dict())
    name, head = take_off_head(model.eval(), images_BCHW)
    _require_features(spec, model, images_BCHW)
    source_head = None
    if weights.path is not None:
        source_head = find_source_head(_fill(model, whole, weights, weights.path), name)
    elif head is not None and weights.source is WeightsSource.code:
        source_head = find_source_head({f"head.{key}": tensor.detach() for key, tensor in head.state_dict().items()}, "head")
    notes = _notes(name, head, about, image_size)
    matcher = matcher_of(model, spec.family) if hasattr(model, "group_matcher") else found_steps(model)
    return FilledTrunk(model, preprocess, matcher, source_head=source_head, notes=notes)


def _notes(name: str, head: nn.Linear | None, about: Mapping[str, Any], image_size: int | None) -> tuple[str, ...]:
    replaced = f"its classifier {name} ({head.out_features} classes) is replaced" if head else "what it returns is taken as features"
    size = ["a size that it does not state (data.image_size=...)"] if image_size is None and "input_size" not in about else []
    colours = ["ImageNet's mean and deviation"] if not {"mean", "std"} <= set(about) else []
    return (replaced, f"taken for granted: {' and '.join(size + colours)}") if size or colours else (replaced,)


def make(spec: BackboneSpec, *, is_pretrained: bool) -> tuple[nn.Module, dict[str, Any]]:
    """The module that the function returns, on the processor, and what module and function state about images, in the keys of timm.

    Args:
        spec: names the function.
        is_pretrained: handed to a function that has an argument `pretrained`.

    Raises:
        BackboneError: it raises, or returns something else.
    """
    _, function = find_function(spec.requested, spec.model)
    try:
        takes = "pretrained" in inspect.signature(function).parameters
        made = function(pretrained=is_pretrained) if takes else function()
        if isinstance(made, str):
            made = timm.create_model(made, pretrained=is_pretrained)
    except Exception as error:
        if is_out_of_memory(error) or is_debugging():
            raise
        raise BackboneError(
            f"backbone={spec.requested}: it raised {type(error).__name__}: {brief(str(error))} (HARNESS_DEBUG=1 shows where)."
        ) from error
    if not isinstance(made, nn.Module):
        raise BackboneError(
            f"backbone={spec.requested}: returns a {type(made).__name__}; return an nn.Module, or the name of a timm model."
        )
    return made.cpu(), _stated(function) | _stated(made)


def function_weights(spec: BackboneSpec, *, is_random: bool) -> Weights:
    """What fills the network, found out by calling its function under two seeds: weights that depend on the seed are random.

    Raises:
        BackboneError: they are what was not asked for, or nobody can tell.
    """

    def hashes(seed: int) -> tuple[str, str]:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return _hashes(make(spec, is_pretrained=not is_random)[0])

    first, second = hashes(0), hashes(1)
    same = [one for one, other in zip(first, second, strict=True) if one == other]
    if not is_random:
        if not same:
            raise BackboneError(
                f"weights=pretrained: {spec.requested} returns other weights each time, so it loads none or not all of them; give "
                f"weights=random, or weights=PATH of a checkpoint."
            )
        return Weights(WeightsSource.code, None, "code", same[0], None, None)
    if same:
        raise BackboneError(
            f"weights=random: {spec.requested} returns the same weights whatever the seed of torch is; give weights=pretrained, or let the "
            f"function have an argument `pretrained`."
        )
    if hashes(0) != first:
        raise BackboneError(
            f"weights=random: {spec.requested} returns other weights for the same seed of torch; draw them with torch's generator alone."
        )
    return Weights(WeightsSource.random, None, "random", None, None, None)


def _hashes(model: nn.Module) -> tuple[str, str]:
    """Of all tensors, and of all but those of the last linear layer: a new classifier on loaded weights is random."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    head = f"{linear[-1]}." if linear else "no layer "
    digests = {name: tensor_digest(tensor) for name, tensor in sorted(tensors_of(model).items())}
    texts = (digests, {name: digest for name, digest in digests.items() if not name.startswith(head)})
    every, trunk = (hashlib.sha256(repr(text).encode()).hexdigest() for text in texts)
    return every, trunk


def take_off_head(model: nn.Module, images_BCHW: Tensor) -> tuple[str, nn.Linear | None]:
    """Replace the classifier: by the model's own `reset_classifier`, else the linear layer that runs last and whose output is the model's.

    Returns:
        Its name and layer; an empty name where the model returns features as it is.
    """
    if hasattr(model, "reset_classifier") and hasattr(model, "num_classes"):
        names = {id(module): name for name, module in model.named_modules()}
        head: Any = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
        model.reset_classifier(0)  # type: ignore[operator]
        return (names[id(head)], head) if isinstance(head, nn.Linear) else ("", None)
    calls: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: calls.append((name, output))

    leaves = [(name, module) for name, module in model.named_modules() if name and not [*module.children()]]
    output = _run(model, images_BCHW, [module.register_forward_hook(note(name)) for name, module in leaves])
    name, last = calls[-1] if calls else ("", None)
    layer = model.get_submodule(name)
    if last is not output or not isinstance(layer, nn.Linear) or [called for called, _ in calls].count(name) > 1:
        return "", None
    model.set_submodule(name, nn.Identity())
    return name, layer


@torch.no_grad()
def _run(model: nn.Module, images_BCHW: Tensor, hooks: Sequence[RemovableHandle]) -> Any:
    try:
        return model(images_BCHW)
    finally:
        for hook in hooks:
            hook.remove()


def _require_features(spec: BackboneSpec, model: nn.Module, images_BCHW: Tensor) -> None:
    problems = [] if any(True for _ in model.parameters()) else ["has no parameters besides its classifier, so there is nothing to freeze"]
    found = _run(model, images_BCHW, ())
    if not isinstance(found, Tensor):
        problems.append(f"returns a {type(found).__name__}; have it return one tensor")
    elif found.ndim != 2:
        shape = "x".join(map(str, found.shape))
        problems.append(f"returns {shape} for one image; have it return one vector per image (B x D), pooled or flattened")
    if problems:
        raise ConfigError(*(f"backbone={spec.requested}: {problem}." for problem in problems))


def _fill(trunk: nn.Module, whole: Mapping[str, Tensor], weights: Weights, path: Path) -> dict[str, Tensor]:
    """Fill the trunk from a checkpoint of it or of the model; returns all that the file holds."""
    state, own = bare(read_state_dict(path, weights.sha256), whole), trunk.state_dict()
    require_fit(
        path,
        state,
        missing=[name for name in own if name not in state],
        mismatched={name: misfit(state[name], place) for name, place in own.items() if name in state and not fits(state[name], place)},
        unexpected=[name for name in state if name not in whole and not is_beside(name)],
    )
    trunk.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)
    return state


def _stated(owner: object) -> dict[str, Any]:
    """Size, mean and deviation as attributes, or those and more in a `pretrained_cfg` or `default_cfg`. Tensors are no statements but layers."""
    found: dict[str, Any] = {}
    for name in ("default_cfg", "pretrained_cfg"):
        given: Any = getattr(owner, name, None)
        config = given.to_dict() if hasattr(given, "to_dict") else given
        found |= (
            {key: value for key, value in config.items() if key in IMAGE_KEYS and value is not None} if isinstance(config, Mapping) else {}
        )
    attributes = {name: getattr(owner, name, None) for name in ("input_size", "mean", "std")}
    found |= {
        name: value
        for name, value in attributes.items()
        if isinstance(value, list | tuple) or (name == "input_size" and type(value) is int)
    }
    if "input_size" in found:
        size = found["input_size"]
        sides = (size, size) if isinstance(size, int) else tuple(size)
        found["input_size"] = (3, *sides) if len(sides) == 2 else sides
    return found
