"""Names: what a user types becomes an exact `BackboneSpec`. First step of every job, and the source of the listing.

Architectures are timm's, and torchvision's for the four families that timm lacks.
"""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from harness.backbones.backbone import BackboneSpec, Kind
from harness.backbones.quiet import quiet
from harness.backbones.spellings import is_elsewhere, own_place, timm_name, timm_tag, without_hub
from harness.errors import BackboneError

ALIASES: Mapping[str, str] = {
    "alexnet": "alexnet",
    "convnext": "convnext_tiny",
    "deit": "deit_small_patch16_224",
    "densenet": "densenet121",
    "dinov2": "vit_small_patch14_dinov2",
    "efficientnet": "efficientnet_b0",
    "efficientnet_lite": "tf_efficientnet_lite0",
    "efficientnetv2": "tf_efficientnetv2_s",
    "googlenet": "googlenet",
    "inception": "inception_v3",
    "mobilenet": "mobilenetv3_large_100",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "regnet": "regnety_016",
    "resnet": "resnet50",
    "shufflenet": "shufflenet_v2_x1_0",
    "squeezenet": "squeezenet1_1",
    "swin": "swin_tiny_patch4_window7_224",
    "vgg": "vgg16",
    "vit": "vit_small_patch16_224",
}
"""Plain family names -> the member that a first try should use."""

TORCHVISION_FAMILIES: Mapping[str, str] = {
    "alexnet": "alexnet",
    "googlenet": "googlenet",
    "shufflenet_v2_x0_5": "shufflenet",
    "shufflenet_v2_x1_0": "shufflenet",
    "shufflenet_v2_x1_5": "shufflenet",
    "shufflenet_v2_x2_0": "shufflenet",
    "squeezenet1_0": "squeezenet",
    "squeezenet1_1": "squeezenet",
}
"""Architectures taken from torchvision -> their family."""


def expand(pattern: str) -> list[str]:
    """The names that `pattern` stands for: itself when it is plain, else every architecture that the glob matches, sorted.

    A glob with a dot (`'resnet50.*'`) matches pretrained tags too. Aliases are not matched.

    Raises:
        BackboneError: a glob matches nothing.
    """
    if own_place(pattern) or not any(character in pattern for character in "*?["):
        return [pattern]
    pattern = without_hub(pattern)
    names = _tagged_names() if "." in pattern else architectures()
    matches = [name for name in names if fnmatchcase(name, pattern)]
    if not matches:
        stem = re.split(r"[*?\[]", pattern.lstrip("*"))[0]
        raise BackboneError(f"backbone={pattern}: no architecture matches{_suggestion(stem)}")
    return matches


def resolve(name: str) -> BackboneSpec:
    """Make `arch`, `arch.tag`, an alias or `alias.tag` exact, in front of it perhaps `timm/` or `hf-hub:timm/`. Without a tag its library's
    default is taken. `local-dir:PATH`, `hf-hub:ORG/NAME` and `python:module:function` name networks of the user's own.

    Raises:
        BackboneError: the architecture or the tag is unknown; the message says what is near. A network of the user's own is not there.
    """
    if found := own_place(name):
        from harness.backbones.own import resolve_own

        return resolve_own(name, *found)
    typed, _, tag = without_hub(name).partition(".")
    model = ALIASES.get(typed, typed)
    if model not in architectures():
        model, _, renamed_tag = (_renamed().get(model) or "").partition(".")
        tag = tag or renamed_tag
    if not model:
        raise BackboneError(f"backbone={name}: unknown{_other_source(typed) or _other_spelling(typed, tag) or _suggestion(typed, tag)}")
    tags = pretrained_tags(model)
    if tag and tag not in tags:
        raise BackboneError(f"backbone={name}: {model} has no weights {tag!r}{_near_tag(model, tag, tags)}")
    library = "torchvision" if model in TORCHVISION_FAMILIES else "timm"
    return BackboneSpec(requested=name, model=model, tag=tag or (tags[0] if tags else None), family=family_of(model), library=library)


def resolve_again(name: str, model: str) -> BackboneSpec:
    """The network of a row or a kept model, which may be the user's own and another one by now.

    Args:
        name: as it was asked for.
        model: what it was then, as `BackboneSpec.identity`.

    Raises:
        BackboneError: it cannot be made exact any more, or what builds it has changed.
    """
    spec = resolve(name)
    if spec.own is not None and spec.identity != model:
        raise BackboneError(
            f"backbone={name}: what builds it has changed (now {spec.own.build}, then {model.rpartition('#')[2]}); bring back the "
            f"{'source code' if spec.own.kind is Kind.python else 'config.json'} of then, or run the sweep again."
        )
    return spec


def pretrained_tags(model: str) -> list[str]:
    """The tags an architecture was published with, the default first."""
    if model in TORCHVISION_FAMILIES:
        from torchvision.models import get_model_weights

        enum = get_model_weights(model)
        default: str = enum.DEFAULT.name
        others = [member.name for member in enum]
    else:
        import timm

        prefix = f"{model}."
        default = str(getattr(timm.get_pretrained_cfg(model), "tag", None))
        others = [name.removeprefix(prefix) for name in _tagged_timm_names() if name.startswith(prefix)]
    return [tag for tag in dict.fromkeys([default, *others]) if tag in others]


def timm_config(spec: BackboneSpec) -> Any:
    """The `PretrainedCfg` of timm: preprocessing, licence and where the weights are published."""
    import timm

    if spec.own is not None:
        from timm.models import PretrainedCfg

        return PretrainedCfg(**json.loads(spec.own.config)["pretrained_cfg"])
    return timm.get_pretrained_cfg(f"{spec.model}.{spec.tag}" if spec.tag else spec.model)


def model_args(spec: BackboneSpec) -> dict[str, Any]:
    """Arguments by which timm builds it, besides its name: none of what timm has by name."""
    found: dict[str, Any] = json.loads(spec.own.config)["model_args"] if spec.own is not None else {}
    return found


def torchvision_weights(spec: BackboneSpec) -> Any:
    """The `WeightsEnum` member of torchvision: preprocessing, accuracy and where the weights are published."""
    from torchvision.models import get_model_weights

    return get_model_weights(spec.model)[spec.tag]


@cache
def architectures() -> tuple[str, ...]:
    """All names that need no tag."""
    import timm

    return tuple(sorted({*timm.list_models(), *TORCHVISION_FAMILIES}))


@cache
def _tagged_timm_names() -> tuple[str, ...]:
    import timm

    return tuple(timm.list_models(pretrained=True))


def _tagged_names() -> list[str]:
    published = (f"{model}.{tag}" for model in TORCHVISION_FAMILIES for tag in pretrained_tags(model))
    return sorted({*_tagged_timm_names(), *published})


@cache
def _renamed() -> dict[str, str | None]:
    """Names of earlier timm versions -> `arch.tag`, or None for architectures that are gone."""
    from timm.models import get_deprecated_models

    with quiet():
        renamed: dict[str, str | None] = get_deprecated_models()
    return renamed


def family_of(model: str) -> str:
    """The module of timm, or the family of torchvision, that an architecture belongs to."""
    if model in TORCHVISION_FAMILIES:
        return TORCHVISION_FAMILIES[model]
    from timm.models import model_entrypoint

    return str(model_entrypoint(model).__module__.rpartition(".")[2])


def _other_source(typed: str) -> str | None:
    """What to say of a repository or folder without a word in front that says so."""
    if not is_elsewhere(typed):
        return None
    base = typed.rpartition("/")[2].replace("-", "_")
    return f"; a repository or folder in timm's format is hf-hub:{typed} or local-dir:{typed}{_suggestion(base)}"


def _other_spelling(typed: str, tag: str) -> str | None:
    """What to say of a name that torchvision uses."""
    named = timm_name(typed)
    if named is None or named not in architectures():
        return None
    return f": that is torchvision's name; timm's for it or the nearest that it has is {named}; give backbone={_tagged(named, tag)}."


def _near_tag(model: str, tag: str, tags: list[str]) -> str:
    if not tags:
        return "; it was never published with weights: give it without a tag and weights=random or a file, or another backbone."
    near = [timm_tag(tag)] if timm_tag(tag) in tags else get_close_matches(tag, tags, n=1)
    asked = f"; did you mean {model}.{near[0]}? Its" if near else "; its"
    return f"{asked} tags: {', '.join(tags)}."


def _suggestion(typed: str, tag: str = "") -> str:
    near = get_close_matches(typed.lower(), [*ALIASES, *architectures()], n=3, cutoff=0.5)
    asked = f"; did you mean {' or '.join(_tagged(name, tag) for name in near)}?" if near else "."
    stem = re.match(r"[a-z]*", near[0] if near else "")
    return f"{asked} See: python -m harness.backbones '{stem.group() if stem else ''}*'"


def _tagged(model: str, tag: str) -> str:
    """A suggested name with the tag that was typed, where that was published for it, too."""
    known = pretrained_tags(ALIASES.get(model, model)) if tag else []
    return next((f"{model}.{each}" for each in (tag, timm_tag(tag)) if each in known), model)
