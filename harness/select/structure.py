"""What is known of candidates before and beside their scores: what true scores have in common, and what their errors have in common.

Below the posterior, in units of its spread t. Shapes: K candidates, D of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.select.comparison import SAME, FloatArray

FAMILY_SHARE, BACKBONE_SHARE = 0.2, 0.5
"""Of the variance of e: what a family, and what a backbone at all its depths has in common. The rest is each candidate's own."""
TOP1_SPREADS = 0.7
"""Prior standard deviation, in units of t, of what one standard deviation of published accuracy is worth."""
DOUBLING_SPREADS = 0.3
"""The same for twice the multiply-adds or parameters."""
OWN_RANK_SPREADS = 1.5
"""The same for the way from the best to the worst place on other data sets."""
SLOPE_SPREADS = (TOP1_SPREADS, DOUBLING_SPREADS, OWN_RANK_SPREADS)
TOP1_MEAN, DOUBLING_MEAN, OWN_RANK_MEAN = 0.35, 0.25, -0.75
"""What these are worth on average, in units of t: better and larger models transfer better on most data sets, and those that were good stay good."""
DEPTH_SPREADS = 0.5
"""The same for what a freeze depth does to every backbone alike."""
COMMON_SHARE = 0.8
"""Of the errors' covariance that is replaced by one correlation for all pairs."""
DEPTH_REACH = 0.5
"""Difference in frozen share at which two depths have little in common."""

INTERCEPT_POINTS = 30.0
"""Of a, around the mean score: as good as flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a candidate before it has seen an image of this data set. None: not known, which counts as average."""

    backbone: str
    """Candidates of one backbone differ in depth only."""
    family: str | None = None
    top1_frac: float | None = None
    """Published ImageNet accuracy of its weights."""
    log2_cost: float | None = None
    """Of multiply-adds or of parameters, the same for all candidates."""
    own_rank: float | None = None
    """Mean normalised rank on other data sets; 0 is the best of each, 1 the worst."""
    frozen_frac: float | None = None
    """Share of the blocks that is frozen."""


def shrunk(covariance_KK: FloatArray, known: Sequence[Known]) -> FloatArray:
    """The covariance of errors, most of it replaced by its diagonal with three correlations: single ones are known from few images only.

    The three are means over the pairs of one backbone, of one family, and of none; a nearer kin never has less in common.

    Source: Ledoit and Wolf, Honey, I Shrunk the Sample Covariance Matrix, Journal of Portfolio Management 2004.
    """
    sd_K = np.sqrt(np.maximum(np.diag(covariance_KK), 0.0))
    sd_KK, is_self_KK = np.outer(sd_K, sd_K), np.eye(len(sd_K), dtype=np.bool_)
    same_family_KK, same_backbone_KK = _kin(known)
    kinship_KK = same_family_KK + same_backbone_KK
    correlation, target_KK = 0.0, np.zeros_like(sd_KK)
    for kinship in range(3):
        pair_KK = (kinship_KK == kinship) & ~is_self_KK
        counted_KK = pair_KK & (sd_KK > 0)
        if counted_KK.any():
            correlation = max(correlation, float((covariance_KK[counted_KK] / sd_KK[counted_KK]).mean()))
        target_KK[pair_KK] = correlation
    target_KK[is_self_KK] = 1.0
    return np.asarray((1 - COMMON_SHARE) * covariance_KK + COMMON_SHARE * target_KK * sd_KK)


def structure(known: Sequence[Known]) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the truths at t = 1, the intercept apart."""
    expected_D, told_DP, frozen_D = told(known)
    slopes_DP = told_DP * SLOPE_SPREADS
    depth_DD = DEPTH_SPREADS**2 * np.exp(-np.abs(frozen_D[:, None] - frozen_D) / DEPTH_REACH)
    same_family_DD, same_backbone_DD = _kin(known)
    own = 1 - FAMILY_SHARE - BACKBONE_SHARE
    shared_DD = FAMILY_SHARE * same_family_DD + BACKBONE_SHARE * same_backbone_DD
    return expected_D, np.asarray(slopes_DP @ slopes_DP.T + depth_DD + shared_DD + own * np.eye(len(known)))


def told(known: Sequence[Known]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean of the truths at t = 1; what slopes are about, shape D x 3; and frozen shares. All of it around the mean of these candidates."""
    top1_D, cost_D, rank_D, frozen_D = (
        _centred([value(each) for each in known]) for value in (_top1, lambda each: each.log2_cost, lambda each: each.own_rank, _frozen)
    )
    told_DP = np.stack([_unit(top1_D), cost_D, rank_D], axis=1)
    return told_DP @ np.array([TOP1_MEAN, DOUBLING_MEAN, OWN_RANK_MEAN]), told_DP, frozen_D


def _top1(known: Known) -> float | None:
    return known.top1_frac


def _frozen(known: Known) -> float | None:
    return known.frozen_frac


def _centred(values: Sequence[float | None]) -> FloatArray:
    """Less the mean of those that are known; 0 where unknown."""
    value_D = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    is_known_D = np.isfinite(value_D)
    return np.where(is_known_D, value_D - value_D[is_known_D].mean(), 0.0) if is_known_D.any() else np.zeros(len(value_D))


def _unit(centred_D: FloatArray) -> FloatArray:
    """In units of the standard deviation; nothing known or nothing different stays 0."""
    sd = float(centred_D[centred_D != 0].std()) if np.count_nonzero(centred_D) > 1 else 0.0
    return centred_D / sd if sd > SAME else np.zeros_like(centred_D)


def _kin(known: Sequence[Known]) -> tuple[FloatArray, FloatArray]:
    """1 where two candidates are of one family, and of one backbone; a backbone of no family is one of its own."""
    backbones = [each.backbone for each in known]
    same_backbone_DD = _equal(backbones)
    same_family_DD = _equal([f"family {each.family}" if each.family is not None else f"backbone {each.backbone}" for each in known])
    return np.maximum(same_family_DD, same_backbone_DD), same_backbone_DD


def _equal(names: Sequence[str]) -> FloatArray:
    codes = np.unique(np.array(names), return_inverse=True)[1]
    return np.asarray(codes[:, None] == codes, dtype=np.float64)
