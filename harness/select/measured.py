"""What was measured of each candidate, on as many labels as it allows, as one body of evidence.

Between the pool and everything that compares. A head on a frozen backbone is judged out of fold on all of train and val. A fine-tune is judged
on val and on the images of the folds that it was cross-fitted on; how lucky it was with these is partly known from the head on the same backbone,
whose score is known on all of them, and is taken off (a control variate). Candidates of both kinds then stand on one set of images, each image
with what it adds to each score. Shapes: K candidates, S seeds of one, N val images, M images of train and then val, P of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.config import Metric, RankMetric
from harness.data.labels import strata_of
from harness.select.candidates import Candidate, Pool, is_out_of_fold
from harness.select.cross_fitted import CrossFitted
from harness.select.evidence import Evidence, num_equal, one_more, seed_variance_of
from harness.select.said import Said
from harness.select.scores import SAME, BoolArray, FloatArray, IntArray, score_and_influence
from harness.select.units import Units

WIDENED, WIDENED_LOG_LOSS = 1.2, 1.35
"""Standard errors of out-of-fold scores over those of as many independent images: folds share the images that they were trained on."""


def evidence_of(pool: Pool, candidates: Sequence[Candidate], metric: RankMetric) -> Evidence:
    """Joint evidence of K candidates of one pool. Every class needs a val image unless the metric is a mean over images."""
    if not is_out_of_fold(candidates):
        return _on_val(pool, candidates, metric)
    on_val = _on_val(pool, candidates, metric)
    images = _Images.of(pool, metric, on_val.design_effect)
    heads = {each.features_key: _Head.of(images, each.out_of_fold) for each in candidates if each.out_of_fold is not None}
    measured = [_measure(images, candidate, heads.get(candidate.features_key)) for candidate in candidates]
    seeds = [len(each.scores_S) for each in measured]
    seed_variance, freedom = seed_variance_of(
        np.concatenate([each.scores_S for each in measured]), np.concatenate([each.influence_SM for each in measured]), seeds
    )
    return Evidence(
        scores_K=np.array([each.scores_S.mean() for each in measured]),
        influence_KN=np.stack([each.influence_SM.mean(axis=0) for each in measured]),
        labels_N=images.units.strata_U,
        one_more_K=np.array([each.one_more for each in measured]),
        same_K=on_val.same_K,
        seed_variance_K=seed_variance / np.array(seeds),
        seed_freedom=freedom,
        num_equal_K=np.array([each.num_equal for each in measured]),
        design_effect=on_val.design_effect,
    )


def _on_val(pool: Pool, candidates: Sequence[Candidate], metric: RankMetric) -> Evidence:
    runs = Said.joined([candidate.val for candidate in candidates]).runs(pool.labels_N, len(pool.class_names), metric)
    return Evidence.of(runs, metric, [len(candidate.rows) for candidate in candidates], pool.groups_N)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One candidate on the images of train and val."""

    scores_S: FloatArray
    influence_SM: FloatArray
    """Of the M images or, where they belong together, of their groups."""
    one_more: float
    """What one more image could change in its score, as a standard deviation."""
    num_equal: float
    """Images of equal weight that know as much about it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """The images of a pool under one metric."""

    pool: Pool
    metric: RankMetric
    units: Units
    """What is drawn anew, among their like: a split would hold as many images of each class again, however it was filled."""

    @classmethod
    def of(cls, pool: Pool, metric: RankMetric, design_effect: float) -> "_Images":
        """How alike images of a group are is known from val, of which all candidates say something."""
        is_val_M = np.arange(len(pool.everyone_M)) >= len(pool.everyone_M) - len(pool.labels_N)
        strata_M = strata_of(pool.everyone_M)
        units = Units.of(np.asarray(strata_M + max(len(pool.class_names), int(strata_M.max()) + 1) * is_val_M), pool.everyone_groups_M)
        return cls(pool, metric, replace(units, design_effect=design_effect))

    @property
    def num_train(self) -> int:
        """They come first."""
        return len(self.pool.everyone_M) - len(self.pool.labels_N)

    @property
    def everyone(self) -> "_Places":
        """Where heads are judged: out of fold."""
        return _Places(np.arange(len(self.pool.everyone_M)), np.ones(len(self.pool.everyone_M), dtype=np.bool_))

    @property
    def val(self) -> "_Places":
        """The last N, by models that were not trained on val."""
        return _Places(np.arange(self.num_train, len(self.pool.everyone_M)), np.zeros(len(self.pool.labels_N), dtype=np.bool_))

    def on(self, said: Said, places: "_Places") -> _Measured:
        """On some of the images; errors are widened where they are out of fold."""
        places_P, widened = places.number_P, WIDENED_LOG_LOSS if self.metric is Metric.log_loss else WIDENED
        widened_P = np.where(places.is_fold_P, widened, 1.0)
        runs = said.runs(self.pool.everyone_M[places_P], len(self.pool.class_names), self.metric)
        scores_S, influence_SP = score_and_influence(runs, self.metric)
        influence_SM = np.zeros((len(scores_S), len(self.pool.everyone_M)))
        influence_SM[:, places_P] = influence_SP * widened_P
        effect = self.units.design_effect
        equal = num_equal(runs.labels_N, self.metric) / float((widened_P**2).mean()) / effect
        one = one_more(runs, self.metric, self.units.num_of(places_P), effect)
        return _Measured(scores_S, self.units.gathered(influence_SM), one, equal)


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Images that somebody is measured on, and which of them are out of fold."""

    number_P: IntArray
    is_fold_P: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """A head on a backbone, out of fold on all images: what the luck of fine-tunes of that backbone is known from."""

    said: Said
    everyone: _Measured

    @classmethod
    def of(cls, images: _Images, said: Said) -> "_Head":
        return cls(said, images.on(said, images.everyone))


def _measure(images: _Images, candidate: Candidate, control: _Head | None) -> _Measured:
    if control is not None and control.said is candidate.out_of_fold:
        return control.everyone
    if candidate.out_of_fold is not None:
        return images.on(candidate.out_of_fold, images.everyone)
    if candidate.cross_fitted is not None:
        return _in_folds(images, candidate.cross_fitted, control)
    return _controlled(images, candidate.val, images.val, control)


def _in_folds(images: _Images, found: CrossFitted, control: _Head | None) -> _Measured:
    """A fine-tune with folds: each seed on the images that are known of it."""
    seeds = []
    for s, (is_known_M, is_fold_M) in enumerate(zip(found.is_known_SM, found.is_fold_SM, strict=True)):
        places = _Places(np.flatnonzero(is_known_M), is_fold_M[is_known_M])
        seeds.append(_controlled(images, found.said.seed(s).take(places.number_P), places, control))
    return _Measured(
        scores_S=np.concatenate([each.scores_S for each in seeds]),
        influence_SM=np.concatenate([each.influence_SM for each in seeds]),
        one_more=float(np.mean([each.one_more for each in seeds])),
        num_equal=float(np.mean([each.num_equal for each in seeds])),
    )


def _controlled(images: _Images, said: Said, places: _Places, control: _Head | None) -> _Measured:
    """Less what the head's luck with the images that one was measured on says about one's own. On all of them there is no luck to take off.

    Source: Lavenberg and Welch, A perspective on the use of control variables, Management Science 1981 (regression-adjusted estimates).
    """
    own = images.on(said, places)
    if control is None:
        return own
    everyone, here = control.everyone, images.on(control.said.take(places.number_P), places)
    luck, luck_M = float(here.scores_S.mean() - everyone.scores_S.mean()), here.influence_SM.mean(axis=0)
    variance = float(luck_M @ luck_M)
    slope_S = own.influence_SM @ luck_M / variance if variance > SAME**2 else np.zeros(len(own.scores_S))
    influence_SM = own.influence_SM - np.outer(slope_S, luck_M - everyone.influence_SM.mean(axis=0))
    return replace(own, scores_S=own.scores_S - slope_S * luck, influence_SM=influence_SM)
