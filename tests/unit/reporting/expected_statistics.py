"""What the report should say beyond scores and costs: places, pairs, front, finalists, changes, search, evidence, audit."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.config import Metric
from harness.select.candidates import Cost
from harness.select.comparison import FloatArray, tied_set
from harness.select.pareto import draw_latency_ms
from tests.unit.reporting import oracle
from tests.unit.reporting.facts import (
    NUM_RESAMPLES,
    Facts,
    Job,
    Lines,
    behind,
    chance,
    draws,
    ends,
    measured,
    ms,
    own_ranks,
    p_value,
    pct,
    prior,
    seconds,
)

AUDITED = {
    "random (expected)": "random",
    "linear probe, accuracy": "probe_accuracy",
    "linear probe, log loss": "probe_log_loss",
    "nearest neighbour": "knn_accuracy",
    "LogME": "logme",
    "GBC": "gbc",
    "LEEP": "leep",
    "H-score": "h_score",
    "published ImageNet accuracy": "prior",
    "number of parameters": "log_params",
    "rank on other data sets": "own_rank",
    "probe and published accuracy": "probe_and_prior",
    "val after one epoch": "one_epoch",
}


def cheapest(jobs: list[Job]) -> Job:
    """The rule of recommendation."""
    fastest = min(job.latency for job in jobs)
    return min((job for job in jobs if job.latency <= 1.05 * fastest), key=lambda job: (job.row["params_m"], -job.score))


def statistics_tables(facts: Facts) -> dict[str, Lines]:
    """Tables of step 5 and 6 for readers with statistics."""
    return {
        "Pairs on val": _pairs(facts),
        "Score against latency: who is on the front": _front(facts),
        "Finalists: balanced accuracy on val and on test": _finalists(facts),
        "Stopped early by the staged search": [
            [
                *(str(row[name]) for name in ("backbone", "freeze", "seed", "rung")),
                f"{row['epochs_trained']} of {row['epochs']}",
                pct(row["val_balanced_accuracy"]),
            ]
            for row in facts.pruned
        ],
        "Learning rates": [
            [
                job.label,
                ", ".join(job.row["lrs_tried"].split()),
                f"{job.row['lr']:.3g}",
                "yes" if f"{job.row['lr']:.3g}" in (job.row["lrs_tried"].split()[0], job.row["lrs_tried"].split()[-1]) else "no",
            ]
            for job in facts.jobs
            if job.row["lrs_tried"]
        ],
        "Evidence without fine-tuning": _evidence(facts),
        "What cheap scores would have chosen, judged by the fine-tunes of this study": _audit(facts),
    }


def places(facts: Facts) -> dict[str, str]:
    """Label -> the places left open."""
    inside = facts.inside
    found = oracle.open_places(np.array([job.score for job in inside]), np.stack([job.draws for job in inside], axis=1))
    return {job.label: place for job, place in zip(inside, found, strict=True)}


def settle(facts: Facts) -> Facts:
    """The recommendation goes over to the cheapest finalist that is tied on test, if val's choice is not."""
    finalists = facts.finalists
    on_test = tied_on_test(finalists)
    return facts if finalists[0] in on_test else replace(facts, best=cheapest(on_test))


def tied_on_test(finalists: list[Job]) -> list[Job]:
    """Finalists that cannot be told apart from the best of them on test."""
    test_RF = draws([job.test for job in finalists], finalists[0].test_labels)
    scores_F = np.array([measured(job.test, job.test_labels)["balanced_accuracy"] for job in finalists])
    kept = tied_set(scores_F, test_RF, oracle.CONFIDENCE)
    return [job for job, is_tied in zip(finalists, kept.tolist(), strict=True) if is_tied]


def overturned(facts: Facts) -> list[str]:
    """Numbers of the sentence about the lead on test of the recommended over val's choice."""
    scores = [measured(job.test, job.test_labels)["balanced_accuracy"] for job in (facts.best, facts.choice)]
    apart = drawn_on_test(facts, facts.best) - drawn_on_test(facts, facts.choice)
    return [f"{100 * (scores[0] - scores[1]):.1f}", "95", *ends(apart, "", "+").split(" to ")]


def drawn_on_test(facts: Facts, job: Job) -> FloatArray:
    """Resampled test scores of one finalist; all finalists are resampled together, as the tails of all errors are common."""
    finalists = facts.finalists
    found: FloatArray = draws([each.test for each in finalists], finalists[0].test_labels)[:, finalists.index(job)]
    return found


def separation(facts: Facts) -> list[str]:
    """Numbers of the sentence about more images."""
    inside, other = facts.inside, next(job for job in facts.tied if job is not facts.choice)
    scores_K, draws_RK = np.array([job.score for job in inside]), np.stack([job.draws for job in inside], axis=1)
    more = oracle.more_images(scores_K, draws_RK, inside.index(facts.choice), inside.index(other), len(other.val_labels))
    unit = 10 ** max(len(str(more)) - 2, 0)
    return [f"{math.ceil(more / unit) * unit:,}"]


def separation_basis(facts: Facts) -> list[str]:
    """How much the two differ, and on how many images."""
    other = next(job for job in facts.tied if job is not facts.choice)
    apart = facts.choice.draws - other.draws
    return [f"{abs(100 * (facts.choice.score - other.score)):.1f}", "95", *ends(apart, "", "+").split(" to "), str(len(other.val_labels))]


def changes(facts: Facts) -> list[str]:
    """Numbers of the sentences on what would change the answer, those about faster candidates left out."""
    found = [number for key in ("latency_ms_p50", "params_m") for number in _tighter(facts, key)] + _looser(facts)
    inside = facts.inside
    draws_RK = np.stack([job.draws for job in inside], axis=1)

    def choose(scores_K: FloatArray, tied: Sequence[int]) -> int:
        fastest = min(inside[k].latency for k in tied)
        near = [k for k in tied if inside[k].latency <= 1.05 * fastest]
        return min(near, key=lambda k: (float(inside[k].row["params_m"]), float(-scores_K[k])))

    votes = oracle.halves(draws_RK, choose)
    same = dict(votes).get(inside.index(facts.choice), 0.0)
    others = [share for k, share in votes if inside[k] is not facts.choice][:3]
    return [*found, str(len(facts.best.val_labels) // 2), "200", chance(same), *(chance(share) for share in others)]


def other_metrics(facts: Facts) -> dict[Metric, str]:
    """Metric -> whom the rule recommends by it."""
    names = {Metric.accuracy: "accuracy", Metric.f1_macro: "f1_macro", Metric.f1_weighted: "f1_weighted", Metric.log_loss: "log_loss"}
    found = {}
    for metric, name in names.items():
        sign = -1.0 if metric is Metric.log_loss else 1.0
        scores_K = np.array([sign * job.numbers[name] for job in facts.inside])
        tied_K = tied_set(scores_K, draws([job.val for job in facts.inside], facts.best.val_labels, metric), oracle.CONFIDENCE)
        tied = [job for job, is_tied in zip(facts.inside, tied_K.tolist(), strict=True) if is_tied]
        fastest = min(job.latency for job in tied)
        near = [job for job in tied if job.latency <= 1.05 * fastest]
        found[metric] = min(near, key=lambda job: (job.row["params_m"], -sign * job.numbers[name])).label
    return found


def audit_sentences(facts: Facts) -> list[str]:
    """Numbers of the sentence before the audit and of the note below it."""
    lines = {line[0]: line for line in _audit(facts)}
    rules = ("random (expected)", "published ImageNet accuracy", "linear probe, accuracy", "val after one epoch")
    truth = _truth(facts)
    before = [*(lines[rule][7].removesuffix(" points") for rule in rules), str(len(truth))]
    rest = {row["backbone"] for row in facts.rows if row["status"] in ("ok", "pruned")} - set(truth)
    return [*before, "1", "-1", "0", seconds(sum(_grid_s(facts, name) for name in truth)), str(len(rest))]


def _pairs(facts: Facts) -> Lines:
    inside, lines = facts.inside, []
    chosen = oracle.pairs(range(len(inside)), inside.index(facts.best))
    counts = []
    for first, second in chosen:
        is_right = [job.val.argmax(axis=1) == job.val_labels for job in (inside[first], inside[second])]
        counts.append((int((is_right[0] & ~is_right[1]).sum()), int((is_right[1] & ~is_right[0]).sum())))
    values = [oracle.mcnemar(*count) for count in counts]
    for (first, second), count, value, adjusted in zip(chosen, counts, values, oracle.holm(values), strict=True):
        apart = inside[first].draws - inside[second].draws
        verdict = oracle.practical(*np.quantile(apart, [0.025, 0.975]))
        names = [inside[first].label, inside[second].label, behind(inside[second], inside[first])]
        lines.append([*names, verdict, str(count[0]), str(count[1]), p_value(value), p_value(adjusted)])
    return lines


def _front(facts: Facts) -> Lines:
    inside = facts.inside
    costs = [_cost(job) for job in inside]
    latency_RK = draw_latency_ms(costs, [job.row["backbone"] for job in inside], NUM_RESAMPLES)
    quality_RK = np.stack([job.draws for job in inside], axis=1)
    shares = oracle.on_front(quality_RK, latency_RK)
    lines = []
    for k, job in enumerate(inside):
        low, high = job.row["latency_ms_low"], job.row["latency_ms_high"]
        other = oracle.beaten_by(quality_RK, latency_RK, k)
        timed = f"{low:.2f} to {high:.2f} ms" if high < 10 else f"{low:.1f} to {high:.1f} ms"
        beaten = "nobody" if other is None else inside[other].label
        lines.append([job.label, pct(job.score), ms(job.latency), timed, chance(float(shares[k])), beaten])
    return lines


def _cost(job: Job) -> Cost:
    names = [name for name in Cost.__dataclass_fields__ if name in job.row]
    known: dict[str, Any] = dict.fromkeys(Cost.__dataclass_fields__) | {name: job.row[name] for name in names}
    return Cost(**known)


def _finalists(facts: Facts) -> Lines:
    finalists = facts.finalists
    test_RF = draws([job.test for job in finalists], finalists[0].test_labels)
    scores_F = np.array([measured(job.test, job.test_labels)["balanced_accuracy"] for job in finalists])
    on_test, lines = tied_on_test(finalists), []
    for f, job in enumerate(finalists):
        lost = job.draws - np.random.default_rng(20_240_302).permutation(test_RF[:, f])
        beyond = "yes" if float(np.quantile(lost, 0.025)) > 0 else "no"
        size = f"{100 * (job.score - scores_F[f]):+.1f} ({ends(lost, '', '+')})"
        lines.append(
            [job.label, pct(job.score), pct(scores_F[f]), ends(test_RF[:, f], " %"), size, beyond, "tied" if job in on_test else "behind"]
        )
    return lines


def _tighter(facts: Facts, column: str) -> list[str]:
    """The highest limit just below which somebody else is recommended."""
    values = sorted({job.row[column] for job in facts.inside if job.row[column] >= facts.choice.row[column]}, reverse=True)
    for value in values:
        left = [job for job in facts.inside if job.row[column] < value]
        if not left or cheapest(_tied(left)) is not facts.choice:
            return [_limit(value)]
    return []


def _looser(facts: Facts) -> list[str]:
    """The lowest limit on parameters at which somebody else is recommended."""
    for value in sorted({job.row["params_m"] for job in facts.jobs if not job.fits}):
        left = [job for job in facts.jobs if job.row["params_m"] <= value]
        if cheapest(_tied(left)) is not facts.choice:
            return [_limit(value)]
    return []


def _limit(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _tied(jobs: list[Job]) -> list[Job]:
    kept = tied_set(np.array([job.score for job in jobs]), np.stack([job.draws for job in jobs], axis=1), oracle.CONFIDENCE)
    return [job for job, is_tied in zip(jobs, kept.tolist(), strict=True) if is_tied]


def _evidence(facts: Facts) -> Lines:
    rows = {row["backbone"]: row for row in facts.rows if row["status"] in ("ok", "pruned") and row["protocol"] == "p1"}
    lines = []
    for row in sorted(rows.values(), key=lambda row: -float(row["probe_accuracy"])):
        scores = [f"{row[name]:.3f}" for name in ("logme", "gbc", "leep", "h_score")]
        shares = [pct(row["probe_accuracy"]), f"{row['probe_log_loss']:.3f}", pct(row["knn_accuracy"])]
        lines.append([row["backbone"], *shares, *scores, seconds(row["evidence_s"])])
    return lines


def _tuned(facts: Facts, name: str) -> list[Job]:
    return [job for job in facts.jobs if job.row["backbone"] == name and job.row["freeze"] != "all"]


def _truth(facts: Facts) -> dict[str, float]:
    names = {job.row["backbone"] for job in facts.jobs}
    return {name: max(job.score for job in _tuned(facts, name)) for name in sorted(names) if _tuned(facts, name)}


def _passes_s(facts: Facts, name: str) -> float:
    return max(float(job.row["features_s"]) for job in facts.jobs if job.row["backbone"] == name)


def _tune_s(facts: Facts, name: str) -> float:
    return sum(float(job.row["train_s"]) for job in _tuned(facts, name))


def _epoch_s(facts: Facts, name: str) -> float:
    return sum(float(job.row["train_s"]) / int(job.row["epochs_trained"]) for job in _tuned(facts, name))


def _grid_s(facts: Facts, name: str) -> float:
    return _passes_s(facts, name) + sum(float(job.row["train_s"]) for job in facts.jobs if job.row["backbone"] == name)


def _scores(facts: Facts, rule: str) -> dict[str, float]:
    """One score of each backbone of the truth, higher is better."""
    names = list(_truth(facts))
    row = {name: next(job.row for job in facts.jobs if job.row["backbone"] == name) for name in names}
    if rule == "prior":
        return {name: value for name in names if (value := prior(row[name])) is not None}
    if rule in ("random", "own_rank", "log_params"):
        own, params = own_ranks(facts.elsewhere), {name: math.log(row[name]["params_m"]) for name in names}
        return {name: {"random": 0.0, "own_rank": -own[name], "log_params": params[name]}[rule] for name in names}
    if rule == "probe_and_prior":
        both = [oracle.ranks(_scores(facts, each)) for each in ("probe_accuracy", "prior")]
        return {name: both[0][name] + both[1][name] for name in names}
    if rule == "one_epoch":
        return {name: max(job.row["details"]["curve"][1]["val_accuracy"] for job in _tuned(facts, name)) for name in names}
    return {name: (-1 if rule == "probe_log_loss" else 1) * row[name][rule] for name in names}


def _audit(facts: Facts) -> Lines:
    truth, lines = _truth(facts), []
    for text, rule in AUDITED.items():
        scores = _scores(facts, rule)
        cells = [text, str(len(scores)), "0.00" if rule == "random" else f"{oracle.tau(scores, truth):+.2f}"]
        for number in (1, 3):
            recall, regret, taken = oracle.advice(scores, truth, number)
            cost_s = _cost_s(facts, rule, taken)
            whole_s = sum(_grid_s(facts, name) for name in scores)
            cells += [chance(recall), f"{100 * regret:.1f} points", f"{seconds(cost_s)} ({chance(cost_s / whole_s)})"]
        lines.append(cells)
    return lines


def _cost_s(facts: Facts, rule: str, taken: dict[str, float]) -> float:
    """What a rule looks at for every backbone, and the fine-tunes of those it takes."""
    if rule in ("random", "prior", "log_params", "own_rank"):
        return sum(share * (_passes_s(facts, name) + _tune_s(facts, name)) for name, share in taken.items())
    if rule == "one_epoch":
        looks = sum(_passes_s(facts, name) + _epoch_s(facts, name) for name in taken)
        return looks + sum(share * (_tune_s(facts, name) - _epoch_s(facts, name)) for name, share in taken.items())
    evidence = {job.row["backbone"]: float(job.row["evidence_s"]) for job in facts.jobs}
    return sum(_passes_s(facts, name) + evidence[name] + share * _tune_s(facts, name) for name, share in taken.items())
