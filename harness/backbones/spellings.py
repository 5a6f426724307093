"""Other spellings of what timm publishes: names of its repositories on the hub, and torchvision's names of the same architectures.

Used by `catalog`. The first are the same weights and are taken; the second come with other weights, so that the user is told timm's name.
"""

import re
from collections.abc import Callable, Mapping

from harness.backbones.backbone import Kind

_HUB = re.compile(r"(?:hf[-_]hub:)?timm/|timm:", re.IGNORECASE)
_ELSEWHERE = re.compile(r"[^/]+/")
_OWN = re.compile(r"(local-dir|hf[-_]hub|python):(?!timm/)", re.IGNORECASE)

_SIZES = {"t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}

_NAMES: Mapping[str, str] = {
    "maxvit_t": "maxvit_tiny_tf_224",
    "mnasnet0_5": "mnasnet_050",
    "mnasnet0_75": "mnasnet_075",
    "mnasnet1_0": "mnasnet_100",
    "mnasnet1_3": "mnasnet_140",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
}
_TAGS = {"IMAGENET1K_V1": "tv_in1k", "IMAGENET1K_V2": "tv2_in1k", "DEFAULT": ""}


def without_hub(name: str) -> str:
    """`timm/resnet50.a1_in1k` and `hf-hub:timm/resnet50.a1_in1k` as timm itself says it: `resnet50.a1_in1k`."""
    return _HUB.sub("", name, count=1) if _HUB.match(name) else name


def own_place(name: str) -> tuple[Kind, str] | None:
    """What a network of the user's own is made from, and where that is: `local-dir:PATH`, `hf-hub:ORG/NAME`, `python:module:function`."""
    found = _OWN.match(name)
    return None if found is None else (Kind(found[1].lower().replace("_", "-")), name[found.end() :])


def is_elsewhere(name: str) -> bool:
    """Whether it looks like a repository or a folder without saying which."""
    return _ELSEWHERE.match(name) is not None


def timm_name(typed: str) -> str | None:
    """What timm calls torchvision's architecture, or the nearest to it that timm has; None for a name that is not torchvision's."""
    name = typed.removesuffix("_Weights").lower()
    made = (make(found) for pattern, make in _PATTERNS.items() if (found := pattern.fullmatch(name)))
    return _NAMES.get(name) or next(made, name if name != typed else None)


def _regnet(found: re.Match[str]) -> str:
    """In timm's names the GFLOPs are in tenths: 400mf -> 004, 1_6gf -> 016, 16gf -> 160."""
    number = int(found[3]) // 100 if found[4] == "m" else int(found[2]) * 10 + int(found[3]) if found[2] else int(found[3]) * 10
    return f"regnet{found[1]}_{number:03d}"


_PATTERNS: Mapping[re.Pattern[str], Callable[[re.Match[str]], str]] = {
    re.compile(r"vit_([blh])_(\d+)"): lambda found: f"vit_{_SIZES[found[1]]}_patch{found[2]}_224",
    re.compile(r"swin_([tsb])"): lambda found: f"swin_{_SIZES[found[1]]}_patch4_window7_224",
    re.compile(r"swin_v2_([tsb])"): lambda found: f"swinv2_{_SIZES[found[1]]}_window8_256",
    re.compile(r"efficientnet_v2_([sml])"): lambda found: f"tf_efficientnetv2_{found[1]}",
    re.compile(r"regnet_([xy])_(?:(\d+)_)?(\d+)([mg])f"): _regnet,
}


def timm_tag(tag: str) -> str:
    """Under which tag timm publishes torchvision's weights; any other tag as it is."""
    return _TAGS.get(tag.upper(), tag)
