"""What a fine-tune says of images that took no part in its training: of the folds that are done and, where they are not, of val.

Between the rows of a study and `measured`. Images of a fold are predicted by a model that was trained on the other folds; val images of folds
that are not done by the candidate's own model, which was not trained on val. Shapes: S seeds, M images of train and then val, P of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from harness.errors import TableError
from harness.select.said import Said
from harness.study.row import Row
from harness.study.store import Predictions

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Everyone:
    """The images of train and then val, as far as a study knows them."""

    ids_M: Sequence[str]
    labels_M: IntArray
    groups_M: IntArray | None = None
    """None: every image stands for itself."""

    @classmethod
    def of(cls, out_of_fold: Predictions | None, val: Predictions, folds: Iterable[Predictions]) -> "Everyone":
        """Heads that were judged out of fold know all of them; without any, folds know those that are done. Nobody where there is neither."""
        if out_of_fold is not None:
            return cls(out_of_fold.ids_N, out_of_fold.labels_N, out_of_fold.groups_N)
        known, own = {name: image for each in folds for name, image in _images(each).items()}, _images(val)
        if not known:
            return cls([], val.labels_N[:0])
        images = {name: image for name, image in sorted(known.items()) if name not in own} | own
        labels_M, groups_M = (np.array(each, dtype=np.int64) for each in zip(*images.values(), strict=True))
        return cls(list(images), labels_M, None if val.groups_N is None else groups_M)

    def places(self, row: Row, found: Predictions) -> IntArray:
        """Where the images of a row's predictions are. Raises TableError when they are others, or have other labels."""
        number = {name: place for place, name in enumerate(self.ids_M)}
        places = np.array([number.get(name, -1) for name in found.ids_N], dtype=np.int64)
        if (places < 0).any() or (self.labels_M[places] != found.labels_N).any():
            raise TableError(
                f"job {row.job_id}: its images or labels are none of those of the other jobs though its protocol is the same; "
                f"delete rows/{row.job_id}.json and run the sweep again."
            )
        return places


def _images(found: Predictions) -> dict[str, tuple[object, int]]:
    """Name -> label, or which labels it has, and group, which is 0 where there are none."""
    groups = [0] * len(found.ids_N) if found.groups_N is None else found.groups_N.tolist()
    return {name: (label, group) for name, label, group in zip(found.ids_N, found.labels_N.tolist(), groups, strict=True)}


Part = tuple[Row, Predictions]


@dataclass(frozen=True, slots=True, eq=False)
class CrossFitted:
    """One candidate, each of its seeds on images of its own."""

    said: Said
    """Of all M images; what it says of those that are not known means nothing."""
    is_known_SM: BoolArray
    is_fold_SM: BoolArray
    """Those of them that are out of fold."""
    num_done: int
    """Folds, of all seeds together."""
    num_folds: int
    """That there are, of all seeds together."""

    @classmethod
    def of(
        cls, everyone: Everyone, seeds: Sequence[tuple[Part, Sequence[Part]]], *, keeps_probabilities: bool = False
    ) -> "CrossFitted | None":
        """Of each seed the candidate's own val predictions, and the folds that are done; None where none is."""
        folds = [row for _, parts in seeds for row, _ in parts]
        if not folds:
            return None
        found = [_one_seed(everyone, own, parts, keeps_probabilities=keeps_probabilities) for own, parts in seeds]
        return cls(
            said=Said.joined([said for said, _, _ in found]),
            is_known_SM=np.stack([is_known_M for _, is_known_M, _ in found]),
            is_fold_SM=np.stack([is_fold_M for _, _, is_fold_M in found]),
            num_done=len(folds),
            num_folds=(folds[0].oof_folds or 0) * len(seeds),
        )


def _nothing(own: Part, num_images: int, *, keeps_probabilities: bool) -> Said:
    """What a seed says of images before anything is known."""
    row, found = own
    kind = Said.of([row], [found], keeps_probabilities=keeps_probabilities)
    known = [getattr(kind, field.name) for field in fields(kind)]
    return type(kind)(*(np.zeros((1, num_images, *each.shape[2:]), dtype=each.dtype) for each in known))


def _one_seed(everyone: Everyone, own: Part, folds: Sequence[Part], *, keeps_probabilities: bool) -> tuple[Said, BoolArray, BoolArray]:
    num_images = len(everyone.ids_M)
    said = _nothing(own, num_images, keeps_probabilities=keeps_probabilities)
    is_known_M, is_fold_M = np.zeros(num_images, dtype=np.bool_), np.zeros(num_images, dtype=np.bool_)
    for row, found in (own, *folds):  # what is out of fold takes the place of the own model's word
        places, part = everyone.places(row, found), Said.of([row], [found], keeps_probabilities=keeps_probabilities)
        for field in fields(part):
            getattr(said, field.name)[:, places] = getattr(part, field.name)
        is_known_M[places] = True
        is_fold_M[places] = row.fold is not None
    return said, is_known_M, is_fold_M
