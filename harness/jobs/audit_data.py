"""The audit of a data set, once in a study: by a job that has the features of all of its images at hand. It changes nothing of the job.

Test images are looked at only for near copies, and nothing is said of what a model makes of them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.dataset import Dataset, ImageRef
from harness.data.facts import SMALL, small_grey
from harness.data.labels import named
from harness.data.splits import SPLITS
from harness.files import is_there
from harness.jobs.spec import JobSpec
from harness.measure.near_copies import NearCopies, near_copies
from harness.measure.odd_images import odd_images
from harness.study.findings import NEAR_COPY, Finding, Findings
from harness.study.store import Study

FloatArray = npt.NDArray[np.floating]

MIN_SIDE = SMALL // 2
"""Smaller pictures say too little of their detail to be compared (pixels)."""
MAX_FINDINGS = 20_000
"""That are kept; the counts are of all."""


@dataclass(frozen=True, slots=True)
class _Image:
    ref: ImageRef
    split: str
    label: str

    @property
    def rank(self) -> tuple[int, str]:
        """Of copies the one in test stays, then in val: what scores are measured on is not what is left out."""
        return -SPLITS.index(self.split), self.ref.id


def audit_data(job: JobSpec, features: Callable[[], FloatArray]) -> None:
    """Write the findings of a job's data set, unless the study has them. `features`: of train, val and test, in this order, N x D."""
    study, dataset = Study(job.config.study_dir), job.dataset
    if not dataset.facts or is_there(study.findings_path(dataset.fingerprint)):
        return
    images = [
        _Image(ref, split, label)
        for split in SPLITS
        for ref, label in zip(getattr(dataset, split).images, named(getattr(dataset, split).labels, dataset.class_names), strict=True)
    ]
    facts = [dataset.facts[image.ref.id] for image in images]
    copies = near_copies(
        [each.measures.dhash if min(each.width, each.height) >= MIN_SIDE else None for each in facts],
        features(),
        lambda place: small_grey(images[place].ref.open(keep_grey=True)),
    )
    pairs = [(images[i], images[j]) for i, j in copies.pairs_P2.tolist()]
    found = [*_near(pairs, copies), *_odd(dataset, images)]
    study.write_findings(
        dataset.fingerprint,
        Findings(
            num_images={split: len(getattr(dataset, split)) for split in SPLITS},
            copied=_copied(pairs),
            backbone=job.config.backbone,
            is_complete=copies.is_complete and len(found) <= MAX_FINDINGS,
            findings=tuple(found[:MAX_FINDINGS]),
        ),
    )


def _copied(pairs: Iterable[tuple[_Image, _Image]]) -> dict[str, dict[str, int]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for a, b in pairs:
        later, earlier = sorted((a, b), key=lambda image: -SPLITS.index(image.split))
        found[later.split, earlier.split].add(later.ref.id)
    return {split: {other: len(found[split, other]) for other in SPLITS[: SPLITS.index(split)] if found[split, other]} for split in SPLITS}


def _near(pairs: Sequence[tuple[_Image, _Image]], copies: NearCopies) -> list[Finding]:
    """Images to leave out so that no two near copies are left, each with one that stays; those that cross splits first."""
    others: dict[_Image, dict[_Image, float]] = defaultdict(dict)
    for (a, b), cosine in zip(pairs, copies.cosines_P.tolist(), strict=True):
        others[a][b] = others[b][a] = round(cosine, 4)
    stays: set[_Image] = set()
    found: list[Finding] = []
    for image in sorted(others, key=lambda image: image.rank):
        near = {other: cosine for other, cosine in others[image].items() if other in stays}
        if not near:
            stays.add(image)
            continue
        other = min(near, key=lambda each: (each.split == image.split, -near[each], each.rank))
        found.append(
            Finding(
                path=image.ref.id,
                split=image.split,
                problem=NEAR_COPY,
                label=image.label,
                score=near[other],
                other_path=other.ref.id,
                other_split=other.split,
            )
        )
    return sorted(found, key=lambda each: (each.split == each.other_split, -each.score, each.path))


def _odd(dataset: Dataset, images: Sequence[_Image]) -> list[Finding]:
    known = [image for image in images if image.split != "test"]
    facts = [dataset.facts[image.ref.id] for image in known]
    measures = [each.measures for each in facts]
    odd = odd_images(
        [each.width for each in facts],
        [each.height for each in facts],
        [each.highlight for each in measures],
        [each.contrast for each in measures],
        [each.sharpness for each in measures],
    )
    return [
        Finding(path=image.ref.id, split=image.split, problem=each.problem, label=image.label, score=round(each.score, 4))
        for each in odd
        for image in [known[each.place]]
    ]
