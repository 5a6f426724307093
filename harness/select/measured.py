"""What was measured of each candidate, on as many labels as it allows, as one body of evidence.

Between the pool and everything that compares. A head on a frozen backbone is judged out of fold on all of train and val. A fine-tune is judged
on val; how lucky it was with these images is partly known from the head on the same backbone, whose score is known on all of them, and is
taken off (a control variate). Candidates of both kinds then stand on one set of images, each image with what it adds to each score.
Shapes: K candidates, S seeds of one, N val images, M images of train and then val.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.config import Metric
from harness.select.candidates import Candidate, Pool, Said
from harness.select.evidence import Evidence, seed_variance_of
from harness.select.scores import SAME, FloatArray, IntArray, Runs, score_and_influence

WIDENED, WIDENED_LOG_LOSS = 1.2, 1.35
"""Standard errors of out-of-fold scores over those of as many independent images: folds share the images that they were trained on."""


def evidence_of(pool: Pool, candidates: Sequence[Candidate], metric: Metric) -> Evidence:
    """Joint evidence of K candidates of one pool. Every class needs a val image unless the metric is a mean over images."""
    if not any(candidate.out_of_fold for candidate in candidates):
        return _on_val(pool, candidates, metric)
    images, on_val = _Images(pool, metric), _on_val(pool, candidates, metric)
    controls = {each.trunk: each.out_of_fold for each in candidates if each.out_of_fold is not None}
    measured = [_measure(images, candidate, controls) for candidate in candidates]
    seeds = [len(each.scores_S) for each in measured]
    seed_variance, freedom = seed_variance_of(
        np.concatenate([each.scores_S for each in measured]), np.concatenate([each.influence_SM for each in measured]), seeds
    )
    return Evidence(
        scores_K=np.array([each.scores_S.mean() for each in measured]),
        influence_KN=np.stack([each.influence_SM.mean(axis=0) for each in measured]),
        labels_N=images.strata_M,
        one_more_K=np.array([each.one_more for each in measured]),
        same_K=on_val.same_K,
        seed_variance_K=seed_variance / np.array(seeds),
        seed_freedom=freedom,
        num_equal_K=np.array([each.num_equal for each in measured]),
    )


def _on_val(pool: Pool, candidates: Sequence[Candidate], metric: Metric) -> Evidence:
    runs = Runs(
        predicted_JN=np.concatenate([candidate.val.decided_SN(metric) for candidate in candidates]),
        true_log_prob_JN=np.concatenate([candidate.val.true_log_prob_SN for candidate in candidates]),
        labels_N=pool.labels_N,
        num_classes=len(pool.class_names),
    )
    return Evidence.of(runs, metric, [len(candidate.rows) for candidate in candidates])


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One candidate on the images of train and val."""

    scores_S: FloatArray
    influence_SM: FloatArray
    one_more: float
    """What one more image could change in its score, as a standard deviation."""
    num_equal: float
    """Images of equal weight that know as much about it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """The images of a pool under one metric."""

    pool: Pool
    metric: Metric

    @property
    def num_train(self) -> int:
        """They come first."""
        return len(self.pool.everyone_M) - len(self.pool.labels_N)

    @property
    def strata_M(self) -> IntArray:
        """Images that are drawn anew among themselves: a split would hold as many of each class again, however it was filled."""
        is_val_M = np.arange(len(self.pool.everyone_M)) >= self.num_train
        return np.asarray(self.pool.everyone_M + len(self.pool.class_names) * is_val_M)

    def on_everyone(self, said: Said) -> _Measured:
        """Out of fold, errors widened."""
        widened = WIDENED_LOG_LOSS if self.metric is Metric.log_loss else WIDENED
        found = self._measured(said, self.pool.everyone_M)
        return replace(found, influence_SM=found.influence_SM * widened, num_equal=found.num_equal / widened**2)

    def on_val(self, said: Said) -> _Measured:
        """On the last N of the images."""
        found = self._measured(said, self.pool.labels_N)
        return replace(found, influence_SM=np.pad(found.influence_SM, [(0, 0), (self.num_train, 0)]))

    def _measured(self, said: Said, labels_N: IntArray) -> _Measured:
        runs = said.runs(labels_N, len(self.pool.class_names), self.metric)
        together = Evidence.of(runs, self.metric, [len(said.predicted_SN)])
        return _Measured(*score_and_influence(runs, self.metric), float(together.one_more_K[0]), float(together.num_equal_K[0]))


def _measure(images: _Images, candidate: Candidate, controls: Mapping[tuple[object, ...], Said]) -> _Measured:
    if candidate.out_of_fold is not None:
        return images.on_everyone(candidate.out_of_fold)
    own, control = images.on_val(candidate.val), controls.get(candidate.trunk)
    return own if control is None else _with_control(images, own, control)


def _with_control(images: _Images, own: _Measured, control: Said) -> _Measured:
    """Less what the head's luck with the val images says about one's own.

    Source: Lavenberg and Welch, A perspective on the use of control variables, Management Science 1981 (regression-adjusted estimates).
    """
    everyone = images.on_everyone(control)
    here = images.on_val(replace(control, **{name: getattr(control, name)[:, images.num_train :] for name in _FIELDS}))
    luck, luck_M = float(here.scores_S.mean() - everyone.scores_S.mean()), here.influence_SM.mean(axis=0)
    variance = float(luck_M @ luck_M)
    slope_S = own.influence_SM @ luck_M / variance if variance > SAME**2 else np.zeros(len(own.scores_S))
    influence_SM = own.influence_SM - np.outer(slope_S, luck_M - everyone.influence_SM.mean(axis=0))
    return replace(own, scores_S=own.scores_S - slope_S * luck, influence_SM=influence_SM)


_FIELDS = ("predicted_SN", "balanced_SN", "true_log_prob_SN")
