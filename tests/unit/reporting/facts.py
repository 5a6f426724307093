"""What the files of a study hold, read without the harness, and how the report prints it: shared by the tests of its numbers."""

import csv
import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics as sk

from harness.config import Metric
from harness.select.comparison import FloatArray, Runs
from harness.select.evidence import Evidence
from harness.select.posterior import Known, Posterior
from harness.study.store import Study

Lines = list[list[str]]

NUM_RESAMPLES = 400


@dataclass(frozen=True)
class Fold:
    """Images that a fine-tune was not trained on, and what it says of them."""

    row: dict[str, Any]
    log_probs: FloatArray
    ids: Any


@dataclass
class Job:
    """One good job as its files have it."""

    row: dict[str, Any]
    val: FloatArray
    val_labels: Any
    val_ids: Any
    test: FloatArray
    test_labels: Any
    out_of_fold: FloatArray | None
    """Of train and val; None for a fine-tune."""
    out_of_fold_labels: Any
    out_of_fold_ids: Any
    folds: list[Fold] = field(default_factory=list)
    """Those of a fine-tune that are done."""
    score: float = 0.0
    draws: Any = None
    tied: bool = False
    numbers: dict[str, float] = field(default_factory=dict)
    """On val."""
    expected: float = 0.0
    odds: tuple[float, float] | None = None
    """Probability of being best and expected loss, by train and val; None outside the limit."""

    @property
    def label(self) -> str:
        return f"{self.row['backbone']} · {self.row['freeze']}"

    @property
    def fits(self) -> bool:
        return bool(self.row["params_m"] <= 22.0)

    @property
    def latency(self) -> float:
        return float(self.row["latency_ms_p50"])

    @property
    def prior(self) -> FloatArray:
        return np.array(self.row["details"]["class_prior"])

    @property
    def judged_on(self) -> str:
        if self.folds:
            return f"{len(self.folds)} of {self.folds[0].row['oof_folds']} folds of train and val"
        return "val, adjusted" if self.out_of_fold is None else "out of fold"


@dataclass(frozen=True)
class Picked:
    """One pick of the decision, its odds by all that was seen."""

    job: Job
    prob_best: float
    expected_loss: float
    prob_behind: float


@dataclass
class Facts:
    """Everything that the report of one study may draw on."""

    study: Study
    jobs: list[Job]
    """Good jobs of the ranked protocol: those within the limit first, best first."""
    belief: Posterior
    """Of all jobs, in their order, by train and val."""
    choice: Job
    """What train and val recommend."""
    before_test: Posterior
    """Of those within the limit, the errors of the choice as wide as val and test together show."""
    on_test: tuple[float, float]
    """Score of the choice and the variance of its error."""
    veto_prob: float
    """That another is better by more than a point after the price of latency, by the test score of the choice too."""
    picks: dict[str, Picked]
    """The recommended, budget and fastest pick in the end."""
    break_even: float
    rows: list[dict[str, Any]]
    """Every row of the study."""
    elsewhere: list[dict[str, Any]]
    """Every row of the other study."""

    @property
    def best(self) -> Job:
        """What should be recommended in the end."""
        return self.picks["recommended"].job

    @property
    def inside(self) -> list[Job]:
        """Within the limit, best first."""
        return [job for job in self.jobs if job.fits]

    @property
    def tied(self) -> list[Job]:
        return [job for job in self.jobs if job.tied]

    @property
    def pruned(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == "pruned"]

    @property
    def finalists(self) -> list[Job]:
        """The choice of train and val, and who replaced it."""
        return [self.choice, self.best] if self.is_overturned else [self.choice]

    @property
    def is_overturned(self) -> bool:
        return self.best is not self.choice


def read_rows(study: Study) -> list[dict[str, Any]]:
    """Rows as their files have them, oldest first."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in (study.root / "rows").glob("*.json")]
    return sorted(rows, key=lambda row: (row["started_at"], row["job_id"]))


def read_jobs(study: Study) -> list[Job]:
    """Good jobs of the ranked protocol with their predictions and folds, oldest first."""
    rows = [row for row in read_rows(study) if row["status"] == "ok" and row["protocol"] == "p1"]
    parts = ("val_log_probs", "val_labels", "val_ids", "test_log_probs", "test_labels", "oof_log_probs", "oof_labels", "oof_ids")
    found = [Job(row, *_arrays(study, row, parts)) for row in rows if row["fold"] is None]
    for row in rows:
        if row["fold"] is not None:
            own = next(job for job in found if all(job.row[name] == row[name] for name in ("backbone", "freeze", "seed")))
            own.folds.append(Fold(row, *_arrays(study, row, ("val_log_probs", "val_ids"))))
    return found


def _arrays(study: Study, row: dict[str, Any], names: Iterable[str]) -> list[Any]:
    with np.load(study.root / "predictions" / f"{row['job_id']}.npz") as arrays:
        return [arrays.get(name) for name in names]


def published(model: str) -> list[float]:
    """Top-1 of every published set of weights of an architecture, each at the smallest size it was validated at."""
    path = Path(__file__).parents[3] / "harness" / "backbones" / "imagenet_top1.csv"
    found: dict[str, tuple[int, float]] = {}
    for line in csv.DictReader(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")):
        if line["weights"].split(".")[0] == model:
            this = (int(line["image_size"]), float(line["top1_frac"]))
            found[line["weights"]] = min(found.get(line["weights"], this), this)
    return [top1 for _, top1 in found.values()]


def prior(row: dict[str, Any]) -> float | None:
    """Published accuracy of a row's weights, else of their architecture."""
    if row["imagenet_top1_frac"] is not None:
        return float(row["imagenet_top1_frac"])
    known = published(row["model"])
    return statistics.median(known) if known else None


def own_ranks(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Normalised rank of each backbone by its best balanced accuracy, for one other data set without equal scores."""
    best: dict[str, float] = {}
    for row in rows:
        best[row["backbone"]] = max(best.get(row["backbone"], 0.0), row["val_balanced_accuracy"])
    ordered = sorted(best, key=lambda name: -best[name])
    return {name: place / (len(ordered) - 1) for place, name in enumerate(ordered)}


def decided(log_probs: FloatArray, prior_C: FloatArray, metric: Metric = Metric.balanced_accuracy) -> Any:
    """What each image is called: for balanced accuracy the class that is likeliest for its share."""
    return (log_probs - np.log(prior_C) if metric is Metric.balanced_accuracy else log_probs).argmax(axis=1)


def alone(log_probs: FloatArray, labels: Any, prior_C: FloatArray, metric: Metric = Metric.balanced_accuracy) -> Evidence:
    """One job on one set of images."""
    true = log_probs[np.arange(len(labels)), labels][None]
    return Evidence.of(Runs(decided(log_probs, prior_C, metric)[None], true, labels, log_probs.shape[1]), metric, [1])


def seen(job: Job, head: Job) -> tuple[Any, Any, Any]:
    """Places of the images that a job is judged on, whether each is out of fold, and the log-probabilities: of folds, and of val by its own model."""
    place = {name: number for number, name in enumerate(head.out_of_fold_ids)}
    if job is head:
        return np.arange(len(place)), np.ones(len(place), dtype=bool), head.out_of_fold
    said = {place[name]: (False, log_probs) for name, log_probs in zip(job.val_ids, job.val, strict=True)}
    for fold in job.folds:
        said |= {place[name]: (True, log_probs) for name, log_probs in zip(fold.ids, fold.log_probs, strict=True)}
    places = sorted(said)
    return np.array(places), np.array([said[number][0] for number in places]), np.stack([said[number][1] for number in places])


def evidence(jobs: list[Job], metric: Metric = Metric.balanced_accuracy) -> Evidence:
    """Heads out of fold with widened errors; fine-tunes on folds and val, less what the luck of the head with these images explains."""
    heads = {job.row["backbone"]: job for job in jobs if job.out_of_fold is not None}
    labels = next(iter(heads.values())).out_of_fold_labels
    wider = 1.35 if metric is Metric.log_loss else 1.2
    scores, influences, one_more, num_equal = [], [], [], []
    for job in jobs:
        head = heads[job.row["backbone"]]
        assert head.out_of_fold is not None
        places, is_fold, log_probs = seen(job, head)
        width = np.where(is_fold, wider, 1.0)

        def on_all(found: Evidence, places: Any = places, width: Any = width) -> FloatArray:
            padded = np.zeros(len(labels))
            padded[places] = width * found.influence_KN[0]
            return padded

        own = alone(log_probs, labels[places], job.prior, metric)
        whole, here = (alone(head.out_of_fold[some], labels[some], head.prior, metric) for some in (np.arange(len(labels)), places))
        score, influence, luck = float(own.scores_K[0]), on_all(own), on_all(here)
        if job is not head:
            slope = float((influence * luck).sum() / (luck * luck).sum())
            score -= slope * float(here.scores_K[0] - whole.scores_K[0])
            influence = influence - slope * (luck - wider * whole.influence_KN[0])
        scores.append(score)
        influences.append(influence)
        one_more.append(own.one_more_K[0])
        num_equal.append(own.num_equal_K[0] / (width**2).mean())
    is_val = np.arange(len(labels)) >= len(labels) - len(jobs[0].val_labels)
    return Evidence(
        scores_K=np.array(scores),
        influence_KN=np.stack(influences),
        labels_N=labels + len(jobs[0].prior) * is_val,
        one_more_K=np.array(one_more),
        same_K=np.arange(len(jobs)),
        num_equal_K=np.array(num_equal),
        seed_variance_K=np.zeros(len(jobs)),
        seed_freedom=np.inf,
    )


def known(jobs: list[Job], own: dict[str, float]) -> list[Known]:
    """What is known of jobs beforehand."""
    return [
        Known(
            backbone=job.row["backbone"],
            family=job.row["family"],
            top1_frac=prior(job.row),
            log2_cost=math.log2(job.row["gmacs"]),
            own_rank=own[job.row["backbone"]],
            frozen_frac=job.row["num_frozen_blocks"] / job.row["num_blocks"],
        )
        for job in jobs
    ]


def measured(log_probs: FloatArray, labels: Any, prior_C: FloatArray) -> dict[str, float]:
    """Metrics by scikit-learn."""
    predicted, probabilities = decided(log_probs, prior_C), np.exp(log_probs.astype(np.float64))
    confidence, right = probabilities.max(axis=1), log_probs.argmax(axis=1) == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    return {
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(labels, predicted)),
        "f1_macro": float(sk.f1_score(labels, predicted, average="macro")),
        "f1_weighted": float(sk.f1_score(labels, predicted, average="weighted")),
        "log_loss": float(sk.log_loss(labels, probabilities / probabilities.sum(axis=1, keepdims=True))),
        "ece": float(sum(abs(np.sum(confidence[bins == b] - right[bins == b])) for b in range(15)) / len(labels)),
    }


def pct(value: float) -> str:
    """Percent with one decimal."""
    return f"{100 * value:.1f} %"


def points(value: float, sign: str = "") -> str:
    """Points; what rounds to zero has no sign."""
    return f"{round(100 * value, 1):{sign}.1f}" if round(100 * value, 1) else "0.0"


def ends(sample: Any, unit: str, sign: str = "") -> str:
    """Both ends of the central 95 % of a sample."""
    low, high = np.quantile(sample, [0.025, 0.975])
    return f"{points(low, sign)} to {points(high, sign)}{unit}"


def ms(value: float) -> str:
    """Milliseconds."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def millions(value: float) -> str:
    """Parameters."""
    return f"{value:.2f} M" if value >= 0.1 else f"{1000 * value:.1f} k"


def seconds(value: float) -> str:
    """A duration."""
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def training(job: Job) -> str:
    """How long training took."""
    return seconds(job.row["train_s"] + job.row["features_s"])


def odds(value: float) -> str:
    """A probability that is known from draws."""
    return chance(min(max(value, 1e-9), 1 - 1e-9))


def chance(value: float) -> str:
    """A probability."""
    shown = f"{100 * value:.0f}"
    if 0 < value < 1 and shown in ("0", "100"):
        return "below 1 %" if shown == "0" else "above 99 %"
    return f"{shown} %"


def p_value(value: float) -> str:
    """Of a test."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def behind(job: Job, other: Job) -> str:
    """How much better the second is, with both ends."""
    return f"{points(other.score - job.score, '+')} ({ends(other.draws - job.draws, '', '+')})"
