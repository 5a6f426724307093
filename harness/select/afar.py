"""What candidates that are known by their scores alone say about what true scores have in common: the prior of those that are compared.

Beside the posterior, of many candidates. A score is what it has in common with others (intercept, slopes, depth, family, backbone: the effects), a
part of its own, and an error; which candidate an outranked one would beat is not asked, so that its part and its error are as good as independent.
All of them then tell of a few hundred effects, in time that grows by their number only. What they say is as if all were in one posterior. What all
errors have in common is not told from the intercept, by the compared ones or by the others, and is left there.
Shapes: D candidates that are compared, H known from afar, E effects, Q depths.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 2.7 (explicit basis functions) and A.3 (matrix determinant lemma).
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, cho_solve, solve_triangular
from scipy.sparse import csr_array, hstack

from harness.select.comparison import FloatArray, IntArray
from harness.select.structure import BACKBONE_SHARE, DEPTH_REACH, DEPTH_SPREADS, FAMILY_SHARE, INTERCEPT_POINTS, SLOPE_SPREADS, Known, told

_DEPTH_STEP = 0.01
"""Frozen shares are rounded to so much, so that there are not too many of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Others:
    """Candidates that are known by their scores alone."""

    known: tuple[Known, ...]
    scores_H: FloatArray
    sd_H: FloatArray
    """Of their errors."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is known of D candidates under one spread t, before their own scores; in points."""

    expected_D: FloatArray
    """Around the mean score of the others."""
    covariance_DD: FloatArray
    expected_H: FloatArray
    """Of the others after their scores."""
    log_evidence: float
    """For this t, up to what is the same for all t."""


@dataclass(frozen=True, slots=True, eq=False)
class Afar:
    """The others, as effects that the D candidates share with them."""

    centre: float
    """Mean score of the others."""
    effects_DE: FloatArray
    effects_HE: csr_array
    precision_EE: FloatArray
    """Of the effects at t = 1, but for the intercept, which comes first."""
    expected_D: FloatArray
    """By the slopes' means, at t = 1."""
    expected_H: FloatArray
    own_D: FloatArray
    """Variance of what each candidate shares with nobody, at t = 1."""
    own_H: FloatArray
    score_H: FloatArray
    """In points around the centre."""
    error_H: FloatArray
    """Variances of what each error has in common with no other, in points."""

    @classmethod
    def of(cls, known: Sequence[Known], others: Others, correlation: float, point: float) -> "Afar":
        """Of D candidates; errors of two of the others have this correlation."""
        every = [*known, *others.known]
        expected_K, slopes_KP, frozen_K = told(every)
        backbones, families = [each.backbone for each in every], [_family(each) for each in every]
        of_family, of_backbone = _shared(families), _shared(backbones)
        level_Q, depth_K = np.unique(np.round(frozen_K / _DEPTH_STEP), return_inverse=True)
        depth_QQ = DEPTH_SPREADS**2 * np.exp(-_DEPTH_STEP * np.abs(level_Q[:, None] - level_Q) / DEPTH_REACH)
        one_hot = [_one_hot(each) for each in (depth_K, of_family, of_backbone)]
        effects_KE = csr_array(hstack([csr_array(np.ones((len(every), 1))), csr_array(slopes_KP), *one_hot]))
        shares = [(FAMILY_SHARE, one_hot[1].shape[1]), (BACKBONE_SHARE, one_hot[2].shape[1])]
        slopes_PP, singles = np.diag(1 / np.square(SLOPE_SPREADS)), [np.eye(num) / share for share, num in shares]
        own_K = 1 - FAMILY_SHARE - BACKBONE_SHARE + FAMILY_SHARE * (of_family < 0) + BACKBONE_SHARE * (of_backbone < 0)
        num, centre = len(known), float(others.scores_H.mean())
        return cls(
            centre=centre,
            effects_DE=effects_KE[:num].toarray(),
            effects_HE=effects_KE[num:],
            precision_EE=block_diag(np.zeros((1, 1)), slopes_PP, np.linalg.inv(depth_QQ), *singles),
            expected_D=expected_K[:num],
            expected_H=expected_K[num:],
            own_D=own_K[:num],
            own_H=own_K[num:],
            score_H=(others.scores_H - centre) / point,
            error_H=(1 - correlation) * (others.sd_H / point) ** 2,
        )

    def at(self, t: float) -> Seen:
        """Under one spread."""
        noise_H, surprise_H = t**2 * self.own_H + self.error_H, self.score_H - t * self.expected_H
        weighted_HE = self.effects_HE * (1 / noise_H)[:, None]
        precision_EE = self.precision_EE / t**2 + (self.effects_HE.T @ weighted_HE).toarray()
        precision_EE[0, 0] += INTERCEPT_POINTS**-2
        factor_EE, told_E = np.linalg.cholesky(precision_EE), weighted_HE.T @ surprise_H
        effect_E = cho_solve((factor_EE, True), told_E)
        spread_ED = solve_triangular(factor_EE, self.effects_DE.T, lower=True)
        left_H, own_H = surprise_H - self.effects_HE @ effect_E, t**2 * self.own_H / noise_H
        num_scaled = len(effect_E) - 1
        log_size = np.log(noise_H).sum() + 2 * np.log(np.diag(factor_EE)).sum() + 2 * num_scaled * np.log(t)
        misfit = surprise_H @ (surprise_H / noise_H) - told_E @ effect_E
        return Seen(
            t * self.expected_D + self.effects_DE @ effect_E,
            spread_ED.T @ spread_ED + t**2 * np.diag(self.own_D),
            self.score_H - left_H + own_H * left_H,
            -float(log_size + misfit) / 2,
        )


def _family(known: Known) -> Hashable:
    """A backbone of no family is one of its own."""
    return (known.family,) if known.family is not None else known.backbone


def _shared(names: Sequence[Hashable]) -> IntArray:
    """Numbers of names that several have; -1 for a name of a single one, which shares it with nobody."""
    count = Counter(names)
    number = {name: place for place, name in enumerate(name for name, num in count.items() if num > 1)}
    return np.array([number.get(name, -1) for name in names], dtype=np.int64)


def _one_hot(number_K: IntArray) -> csr_array:
    """One column for each number from 0."""
    rows = np.flatnonzero(number_K >= 0)
    shape = (len(number_K), int(number_K.max(initial=-1)) + 1)
    return csr_array((np.ones(len(rows)), (rows, number_K[rows])), shape=shape)
