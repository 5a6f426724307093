"""What can be typed as `backbone=`, as lines of a table: what a network takes, and whether its weights are locally cached."""

from collections.abc import Sequence

from harness.backbones.backbone import BackboneSpec
from harness.backbones.catalog import ALIASES, expand, pretrained_tags, resolve
from harness.backbones.complexity import complexity
from harness.backbones.weights import imagenet_top1_frac, licence, local_weights
from harness.process.progress import track

COLUMNS = ("name", "family", "params_m", "gmacs", "image_size", "imagenet_top1_frac", "licence", "local_weights", "tags")
ALIAS_COLUMNS = ("alias", "means", "family", "tag", "local_weights")

Cells = Sequence[str]


def alias_listing() -> tuple[Cells, list[Cells]]:
    """Return columns and a line for each plain family name."""
    specs = {alias: resolve(alias) for alias in ALIASES}
    return ALIAS_COLUMNS, [(alias, spec.model, spec.family, spec.tag or "", local_weights(spec) or "") for alias, spec in specs.items()]


def listing(patterns: Sequence[str]) -> tuple[Cells, list[Cells]]:
    """Return columns and a line for each match of the patterns. Raises BackboneError: a name is unknown, or nothing matches."""
    names = dict.fromkeys(name for pattern in patterns for name in expand(pattern))
    specs = [resolve(name) for name in names]  # every name is checked before the slow part starts
    return COLUMNS, [_cells(spec) for spec in track(specs, "counting")]


def _cells(spec: BackboneSpec) -> Cells:
    size = complexity(spec)
    top1_frac = imagenet_top1_frac(spec)
    name = f"{spec.model}.{spec.tag}" if "." in spec.requested else spec.model
    return (
        name if spec.own is None else spec.requested,
        spec.family,
        f"{size.params_m:.2f}",
        "" if size.gmacs is None else f"{size.gmacs:.2f}",
        size.image_size,
        "" if top1_frac is None else f"{top1_frac:.4f}",
        licence(spec) or "",
        local_weights(spec) or "",
        " ".join(pretrained_tags(spec.model)) if spec.own is None else "",
    )
