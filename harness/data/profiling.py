"""Compute the data profile of step 1 of the report: counts, sizes, and in sentences what was left out and why."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.config import DataConfig
from harness.data.facts import MAX_AUDITED
from harness.data.listing import POOL, Listing, Placed
from harness.data.profile import Profile
from harness.data.splits import SPLITS, count_conflicts
from harness.data.weighting import mean_weight
from harness.data.white import in_words
from harness.text.counts import counted
from harness.text.untrusted import encodable, one_line

_MAX_UNREADABLE_NAMED = 20
_MAX_REASONS = 3
_NOTABLE_IMBALANCE = 1.5


def describe(
    cfg: DataConfig, listing: Listing, placed: Sequence[Placed], unreadable: Sequence[str], whites: Mapping[str, float]
) -> Profile:
    """The profile of a data set.

    Args:
        cfg: the options it was loaded with.
        listing: what the source offered.
        placed: every readable image of the draw, those that were left out as duplicates included.
        unreadable: `id: reason` of the others, in order.
        whites: kind of pictures of more than 8 bits -> the value that is white.
    """
    used = [image for image in placed if image.split is not None]
    held = {image.facts.content_hash for image in used}
    copies, leaked = (
        [image for image in placed if image.split is None and (image.facts.content_hash in held) == is_copy] for is_copy in (True, False)
    )
    profile = Profile(
        source=cfg.source,
        root=None if listing.root is None else encodable(str(listing.root)),
        revision=listing.revision,
        licence=listing.licence,
        num_found=listing.num_dropped + sum(len(part.candidates) for part in listing.parts.values()),
        num_dropped=listing.num_dropped,
        num_used=len(used),
        class_counts=_class_counts(used, listing.class_names),
        imbalance_ratio=_imbalance_ratio(used),
        split_origin=_split_origin(cfg, listing),
        widths=_spread(image.facts.width for image in used),
        heights=_spread(image.facts.height for image in used),
        modes=dict(Counter(image.facts.mode for image in used).most_common()),
        max_values=dict(whites),
        num_holding_more=sum(image.facts.holds_more for image in used),
        num_unreadable=len(unreadable),
        unreadable=list(unreadable[:_MAX_UNREADABLE_NAMED]),
        num_duplicates_within=len(used) - len({(image.split, image.facts.content_hash) for image in used}),
        num_duplicates_across=len(copies),
        group=listing.group,
        num_groups={} if listing.group is None else {name: len({image.group for image in used if image.split == name}) for name in SPLITS},
        num_leaked=len(leaked),
        num_label_conflicts=count_conflicts([image.facts.content_hash for image in placed], [image.listed.classes for image in placed]),
    )
    depths = [image.facts.depth for image in used if image.facts.depth]
    profile.remarks.extend([*listing.remarks, *in_words(depths, whites), *_groups(profile, placed), *_weights(listing.weight, used)])
    profile.remarks.extend([*(_several(used) if listing.is_several else []), *_not_audited(placed)])
    lost = [*_lost(profile, unreadable), *_leaked(profile, leaked)]
    num_drawn = len(placed) + len(unreadable)
    profile.left_out.extend([*_not_drawn(cfg, profile, num_drawn), *lost, *listing.left_out])
    drawn = _draw_notes(cfg, profile, num_drawn)
    profile.notes.extend([*drawn, *profile.remarks, *lost, *listing.left_out, *_name_notes(listing.class_names), *_content_notes(profile)])
    return profile


def _class_counts(used: Sequence[Placed], class_names: Sequence[str]) -> dict[str, dict[str, int]]:
    counts = Counter((image.split, label) for image in used for label in image.listed.classes)
    return {split: {name: counts[split, label] for label, name in enumerate(class_names)} for split in SPLITS}


def _imbalance_ratio(used: Sequence[Placed]) -> float:
    counts = Counter(label for image in used if image.split == "train" for label in image.listed.classes).values()
    return max(counts) / min(counts)


def _split_origin(cfg: DataConfig, listing: Listing) -> dict[str, str]:
    whole = "all images" if POOL in listing.parts else "train"
    origin = {"train": "the rest of all images, which come without splits" if POOL in listing.parts else "official"}
    for name, frac in (("val", cfg.val_frac), ("test", cfg.test_frac)):
        if name in listing.parts:
            origin[name] = "official"
        elif frac > 0:
            origin[name] = f"carved from {whole}, {100 * frac:g} %, stratified"
        else:
            origin[name] = f"none (data.{name}_frac=0)"
    return origin


def _spread(sizes: Iterable[int]) -> dict[str, int]:
    ordered = sorted(sizes)
    return {"min": ordered[0], "median": int(np.median(ordered)), "max": ordered[-1]}


def _draw_notes(cfg: DataConfig, profile: Profile, num_drawn: int) -> list[str]:
    if num_drawn == profile.num_found - profile.num_dropped:
        return [f"{profile.num_found:,} images found; {profile.num_used:,} used."]
    drawn = f"{num_drawn:,} drawn (data.max_images={cfg.max_images}), in proportion to classes and splits"
    return [f"{profile.num_found:,} images found; {drawn}; {profile.num_used:,} used."]


def _not_drawn(cfg: DataConfig, profile: Profile, num_drawn: int) -> list[str]:
    count = profile.num_found - profile.num_dropped - num_drawn
    return [f"{count:,} of {profile.num_found:,} images, by data.max_images={cfg.max_images} (null takes all)."] if count else []


def _lost(profile: Profile, unreadable: Sequence[str]) -> list[str]:
    sentences = [f"Images that cannot be read: {len(unreadable):,} ({_by_reason(unreadable)})."] if unreadable else []
    if count := profile.num_duplicates_across:
        sentences.append(f"Images left out because an equal one is in an official val or test split: {count:,}.")
    return sentences


def _groups(profile: Profile, placed: Sequence[Placed]) -> list[str]:
    if profile.group is None:
        return []
    counts = ", ".join(f"{count:,} in {split}" for split, count in profile.num_groups.items() if count)
    sentences = [f"Images with one value of {profile.group!r} belong together and are in one split: {counts}; intervals draw these groups."]
    if count := len({image.listed.group for image in placed}) - len({image.group for image in placed}):
        sentences.append(
            f"Groups that share an equal image with another one count as one with it: {count:,} fewer than {profile.group!r} has."
        )
    return sentences


def _weights(name: str | None, used: Sequence[Placed]) -> list[str]:
    if name is None:
        return []
    weights_N = np.array([image.listed.weight for image in used if image.split == "train"], dtype=np.float64)
    counted_N = weights_N[weights_N > 0] / mean_weight(weights_N)
    sentences = [
        f"Train images count by {name!r}, from {counted_N.min():.3g} to {counted_N.max():.3g} times the mean; scores count each val and test image once."
    ]
    if count := len(weights_N) - len(counted_N):
        sentences.append(f"Train images of weight 0, which are not learned from: {count:,}.")
    return sentences


def _not_audited(placed: Sequence[Placed]) -> list[str]:
    return [f"Near copies and odd images were not looked for: of more than {MAX_AUDITED:,} images."] if len(placed) > MAX_AUDITED else []


def _several(used: Sequence[Placed]) -> list[str]:
    """How many labels images have."""
    numbers = [len(image.listed.classes) for image in used]
    return [f"An image may have several labels: {np.mean(numbers):.2f} on average, {max(numbers)} at most; {numbers.count(0):,} have none."]


def _leaked(profile: Profile, leaked: Sequence[Placed]) -> list[str]:
    """What no score would be true with."""
    if not leaked:
        return []
    groups = len({image.group for image in leaked})
    where = f"{counted(groups, 'group')} of {profile.group!r} in several of the given splits"
    return [f"Images left out because others of their group are in an official val or test split: {len(leaked):,}; {where}."]


def _by_reason(unreadable: Sequence[str]) -> str:
    """How many for each of the commonest reasons, with the first of them."""
    firsts: dict[str, str] = {}
    counts = Counter(each.partition(": ")[2] for each in unreadable)
    for each in unreadable:
        firsts.setdefault(each.partition(": ")[2], each)
    told = [f"{count:,} as {one_line(firsts[why])}" for why, count in counts.most_common(_MAX_REASONS)]
    return "; ".join([*told, *(["others for other reasons"] if len(counts) > _MAX_REASONS else [])])


def _content_notes(profile: Profile) -> list[str]:
    train = profile.class_counts["train"]
    largest, smallest = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
    counts = {
        "Images with several frames or pages, of which the first is used": profile.num_holding_more,
        "Images kept that repeat another one in their split": profile.num_duplicates_within,
        "Groups of equal images with different labels, kept, of which no model can get all right": profile.num_label_conflicts,
    }
    notes = [f"{what}: {count:,}." for what, count in counts.items() if count]
    if profile.imbalance_ratio >= _NOTABLE_IMBALANCE:
        sizes = f"{train[largest]:,} images of {largest!r}, {train[smallest]:,} of {smallest!r}"
        notes.append(f"Train is imbalanced: {sizes}, a ratio of {profile.imbalance_ratio:.1f}.")
    return notes


def _name_notes(class_names: Sequence[str]) -> list[str]:
    """Names that a reader may take for one; as escapes where they would look the same."""
    alike = defaultdict(list)
    for name in class_names:
        alike[unicodedata.normalize("NFKC", name).casefold()].append(ascii(name))
    groups = [", ".join(names) for names in alike.values() if len(names) > 1]
    return [f"Classes that differ only in case or in how letters are encoded, kept apart: {'; '.join(groups)}."] if groups else []
