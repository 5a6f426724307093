"""A listing of images whose classes are known by name: classes are what train holds, in the order of their names, whatever held them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.data.listing import POOL, Candidate, Listing, Part
from harness.data.shown import names, quoted, row_name, text
from harness.errors import DataError
from harness.text.counts import counted


@dataclass(frozen=True, slots=True)
class Sample:
    """One image."""

    candidate: Candidate
    label: str
    """Name of its class; empty: it has none."""
    split: str
    """`train`, `val`, `test`, or `pool` where there are no splits."""
    group: str | None = None
    """What it belongs to; None where no groups were asked for."""


@dataclass(frozen=True, slots=True)
class Samples:
    """All images of a source."""

    what: str
    """Name of the source, for messages."""
    all: Sequence[Sample]
    root: Path
    remarks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    group: str | None = None
    """What groups are called; None: there are none."""

    def listing(self, revision: str | None = None, licence: str | None = None) -> Listing:
        """What they are to be trained on and judged by.

        Raises:
            DataError: no images, none in train, some without a label or a group, or a class of val or test that train does not have. A val or
                test split whose images all have no label is left out, and that is said.
        """
        used, unlabelled = self._labelled()
        class_names = sorted({each.label for each in used if each.split in {"train", POOL}})
        if not class_names:
            raise DataError(f"{self.what}: holds no labelled image to train on{self._said(unlabelled)}; give one for each class.")
        number = {name: place for place, name in enumerate(class_names)}
        for each in used:
            if each.label not in number:
                raise DataError(
                    f"{self.what}: class {quoted(each.label)} has images in {each.split} and none in train; add some there, or leave it out."
                )
        members: dict[str, list[Sample]] = defaultdict(list)
        for each in used:
            members[each.split].append(each)
        parts = {
            split: Part([each.candidate for each in own], np.array([number[each.label] for each in own], dtype=np.int64), self._groups(own))
            for split, own in sorted(members.items())
        }
        left_out = [*unlabelled, *self.left_out]
        return Listing(tuple(map(row_name, class_names)), parts, self.root, list(self.remarks), left_out, revision, licence, self.group)

    def _labelled(self) -> tuple[list[Sample], list[str]]:
        """Without splits that have no labels, and what to say of these."""
        counts = Counter(each.split for each in self.all)
        without = Counter(each.split for each in self.all if not each.label)
        empty = [split for split in ("val", "test") if without[split] and without[split] == counts[split]]
        used = [each for each in self.all if each.split not in empty]
        if wrong := [each.candidate.id for each in used if not each.label]:
            first = "; ".join(map(text, wrong[:5]))
            raise DataError(
                f"{self.what}: images without a label ({len(wrong):,}): {first}{'; ...' if wrong[5:] else ''}. Label or remove them."
            )
        said = "{split} has no labels: its {count} not used; {split} is made as where none is given."
        return used, [said.format(split=split, count=counted(counts[split], "image")) for split in empty]

    def _groups(self, samples: Sequence[Sample]) -> list[str] | None:
        if self.group is None:
            return None
        if wrong := [each.candidate.id for each in samples if not each.group]:
            raise DataError(f"{self.what}: images without {quoted(self.group)} ({len(wrong):,}): {names(wrong)}. Say what each belongs to.")
        return [str(each.group) for each in samples]

    def _said(self, unlabelled: Sequence[str]) -> str:
        return f" ({'; '.join([*unlabelled, *self.left_out])})" if unlabelled or self.left_out else ""
