"""`harness.list_backbones(...)`: what can be asked for as a backbone."""

from typing import TYPE_CHECKING

from harness.backbones.quiet import quiet

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = ("params_m", "gmacs", "imagenet_top1_frac")


def list_backbones(*patterns: str) -> "pd.DataFrame":
    """Names, sizes, licences and published accuracies of backbones, and which weights are locally cached: `python -m harness.backbones`.

    Args:
        patterns: names, aliases or patterns; none: the aliases and what they mean.

    Returns:
        Columns `name`, `family`, `params_m` (millions), `gmacs` (10^9 multiply-adds), `image_size`, `imagenet_top1_frac`, `licence`,
        `local_weights` and `tags`; what is not known is empty.

    Raises:
        BackboneError: a name is unknown, or nothing matches a pattern.

    Example:
        >>> import harness
        >>> harness.list_backbones("mobilenetv3_small_0*")[["name", "params_m"]]
                              name  params_m
        0  mobilenetv3_small_050      1.59
        1  mobilenetv3_small_075      2.04
    """
    import pandas as pd

    with quiet():  # libraries warn in notebooks that have no widgets
        from harness.backbones.listing import alias_listing, listing

    columns, cells = listing(patterns) if patterns else alias_listing()
    frame = pd.DataFrame(cells, columns=list(columns)).replace("", None)
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in _NUMBERS if name in frame})
