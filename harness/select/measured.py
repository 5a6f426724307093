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
    images = _Images(pool, metric)
    controls = {each.trunk: each.out_of_fold for each in candidates if each.out_of_fold is not None}
    measured = [_measure(images, candidate, controls) for candidate in candidates]
    seeds = [len(each.scores_S) for each in measured]
    seed_variance, freedom = seed_variance_of(
        np.concatenate([each.scores_S for each in measured]), np.concatenate([each.influence_SM for each in measured]), seeds
    )
    return Evidence(
        scores_K=np.array([each.scores_S.mean() for each in measured]),
        influence_KN=np.stack([each.influence_SM.mean(axis=0) for each in measured]),
        labels_N=pool.everyone_M,
        one_more_K=np.array([images.one_more(candidate) for candidate in candidates]),
        same_K=np.arange(len(candidates)),  # those that are one were made one before
        seed_variance_K=seed_variance / np.array(seeds),
        seed_freedom=freedom,
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


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """The images of a pool under one metric."""

    pool: Pool
    metric: Metric

    def on_everyone(self, said: Said) -> _Measured:
        """Out of fold, errors widened."""
        scores_S, influence_SM = self._scored(said, self.pool.everyone_M)
        return _Measured(scores_S, influence_SM * (WIDENED_LOG_LOSS if self.metric is Metric.log_loss else WIDENED))

    def on_val(self, said: Said) -> _Measured:
        """On the last N of the images."""
        scores_S, influence_SN = self._scored(said, self.pool.labels_N)
        return _Measured(scores_S, np.pad(influence_SN, [(0, 0), (len(self.pool.everyone_M) - len(self.pool.labels_N), 0)]))

    def one_more(self, candidate: Candidate) -> float:
        """What one more image could change in a candidate's score, as a standard deviation."""
        said, labels = (
            (candidate.val, self.pool.labels_N) if candidate.out_of_fold is None else (candidate.out_of_fold, self.pool.everyone_M)
        )
        return float(Evidence.of(self._runs(said, labels), self.metric, [len(candidate.rows)]).one_more_K[0])

    def _scored(self, said: Said, labels_N: IntArray) -> tuple[FloatArray, FloatArray]:
        return score_and_influence(self._runs(said, labels_N), self.metric)

    def _runs(self, said: Said, labels_N: IntArray) -> Runs:
        return said.runs(labels_N, len(self.pool.class_names), self.metric)


def _measure(images: _Images, candidate: Candidate, controls: Mapping[tuple[object, ...], Said]) -> _Measured:
    if candidate.out_of_fold is not None:
        return images.on_everyone(candidate.out_of_fold)
    own, control = images.on_val(candidate.val), controls.get(candidate.trunk)
    return own if control is None else _with_control(images, own, control)


def _with_control(images: _Images, own: _Measured, control: Said) -> _Measured:
    """Less what the head's luck with the val images says about one's own.

    Source: Lavenberg and Welch, A perspective on the use of control variables, Management Science 1981 (regression-adjusted estimates).
    """
    num_val = len(images.pool.labels_N)
    everyone = images.on_everyone(control)
    here = images.on_val(replace(control, **{name: getattr(control, name)[:, -num_val:] for name in _FIELDS}))
    luck, luck_M = float(here.scores_S.mean() - everyone.scores_S.mean()), here.influence_SM.mean(axis=0)
    variance = float(luck_M @ luck_M)
    slope_S = own.influence_SM @ luck_M / variance if variance > SAME**2 else np.zeros(len(own.scores_S))
    influence_SM = own.influence_SM - np.outer(slope_S, luck_M - everyone.influence_SM.mean(axis=0))
    return _Measured(own.scores_S - slope_S * luck, influence_SM)


_FIELDS = ("predicted_SN", "balanced_SN", "true_log_prob_SN")
