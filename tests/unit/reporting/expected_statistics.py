"""What the report should say beyond scores and costs: rank intervals, pairs, picks, front, test, changes, search, transferability, audit."""

import math
from collections import Counter
from typing import Any

import numpy as np

from harness.config import Metric
from harness.select.candidates import Cost
from harness.select.comparison import tied_set
from harness.select.pareto import draw_latency_ms
from harness.select.posterior import posterior
from harness.study.store import Study
from tests.unit.reporting import oracle
from tests.unit.reporting.facts import (
    NUM_RESAMPLES,
    Facts,
    Job,
    Lines,
    Picked,
    alone,
    behind,
    chance,
    decided,
    ends,
    evidence,
    known,
    measured,
    ms,
    odds,
    own_ranks,
    p_value,
    pct,
    points,
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


def statistics_tables(facts: Facts) -> dict[str, Lines]:
    """Tables of step 5 and 6 for readers with statistics."""
    return {
        "Pairs": _pairs(facts),
        "Picks": _picks(facts),
        "Score against latency: who is on the front": _front(facts),
        "Opened on test: balanced accuracy before and on test": _finalists(facts),
        "Calibration on val": [
            [
                job.label,
                f"{job.row['temperature']:.2f}",
                *(f"{loss:.3f}" for loss in (heated(job)["log_loss"], job.numbers["log_loss"])),
                *(pct(error) for error in (heated(job)["ece"], job.numbers["ece"])),
            ]
            for job in facts.jobs
        ],
        "Every metric out of fold": [
            metrics_line(job.label, measured(job.out_of_fold, job.out_of_fold_labels, job.prior))
            for job in facts.jobs
            if job.out_of_fold is not None
        ],
        "Not trained to the end by the staged search": [
            [
                *(str(row[name]) for name in ("backbone", "freeze", "seed")),
                f"{row['epochs_trained']} of {row['epochs']}",
                pct(row["val_balanced_accuracy"]),
                row["error"],
            ]
            for row in facts.pruned
        ],
        "Learning rates": [
            [
                job.label,
                ", ".join(job.row["lrs_tried"].split()),
                ", ".join("diverged" if value is None else f"{value:.3f}" for value in job.row["details"]["lr_losses"].values()),
                f"{job.row['lr']:.3g}",
                "yes" if f"{job.row['lr']:.3g}" in (job.row["lrs_tried"].split()[0], job.row["lrs_tried"].split()[-1]) else "no",
            ]
            for job in facts.jobs
            if job.row["lrs_tried"]
        ],
        "Transferability scores": _transferability(facts),
        "What cheap scores would have chosen, judged by the fine-tunes of this study": _audit(facts),
    }


def heated(job: Job) -> dict[str, float]:
    """Metrics on val at temperature 1."""
    logits = job.val.astype(np.float64) * job.row["temperature"]
    return measured((logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32), job.val_labels, job.prior)


def metrics_line(label: str, numbers: dict[str, float]) -> list[str]:
    """Of a table of every metric."""
    names = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted")
    return [label, *(pct(numbers[name]) for name in names), f"{numbers['log_loss']:.3f}", "1"]


def places(facts: Facts) -> dict[str, str]:
    """Label -> rank interval."""
    inside = facts.inside
    found = oracle.rank_intervals(np.array([job.score for job in inside]), np.stack([job.draws for job in inside], axis=1))
    return {job.label: place for job, place in zip(inside, found, strict=True)}


def settled(study: Study, jobs: list[Job], rows: list[dict[str, Any]], elsewhere: list[dict[str, Any]]) -> Facts:
    """Scores, draws, beliefs and the decision; the recommendation goes over to the next if test makes nearly sure that the first is behind."""
    found = evidence(jobs)
    draws_RK, own = found.draws(NUM_RESAMPLES), own_ranks(elsewhere)
    belief = posterior(found.scores_K, found.covariance_KK, known(jobs, own))
    inside = [k for k, job in enumerate(jobs) if job.fits]
    within = belief.take(inside)
    for k, job in enumerate(jobs):
        job.numbers = measured(job.val, job.val_labels, job.prior)
        job.score, job.draws, job.expected = float(found.scores_K[k]), draws_RK[:, k], float(belief.mean_K[k])
    for place, k in enumerate(inside):
        best_R = within.draws_RK.max(axis=1)
        share = float((within.draws_RK[:, place] >= best_R).mean())
        jobs[k].odds = (share, float(best_R.mean() - within.mean_K[place]))
    kept = tied_set(found.scores_K[inside], draws_RK[:, inside], oracle.CONFIDENCE)
    for k, is_tied in zip(inside, kept.tolist(), strict=True):
        jobs[k].tied = is_tied
    latencies = [jobs[k].latency for k in inside]
    first = oracle.decide(within, latencies)
    choice = jobs[inside[first]]
    test, val = alone(choice.test, choice.test_labels, choice.prior), alone(choice.val, choice.val_labels, choice.prior)
    sizes = np.array([len(choice.val_labels), len(choice.test_labels)])
    of_one = sizes * [float(each.covariance_KK[0, 0]) for each in (val, test)]
    growth = (sizes @ of_one / sizes.sum()) / of_one
    scale_K = np.array([growth[0] ** 0.5 if job is choice else 1.0 for job in jobs])
    before = posterior(found.scores_K, found.covariance_KK * np.outer(scale_K, scale_K), known(jobs, own)).take(inside)
    on_test = (float(test.scores_K[0]), float(test.covariance_KK[0, 0] * growth[1]))
    after = before.observe(first, *on_test)
    veto_prob = oracle.prob_surpassed(after, latencies, first)
    final = oracle.decide(after, latencies, [k for k in range(len(inside)) if k != first]) if veto_prob > 0.95 else first
    last = after if veto_prob > 0.95 else within  # what stands is said by train and val
    budget, price = oracle.budget(last, latencies, final)
    lowest = [k for k, taken in enumerate(oracle.doublings(latencies)) if taken == 0]
    fastest = max(lowest, key=lambda k: float(last.mean_K[k]))

    def picked(k: int) -> Picked:
        best_R = last.draws_RK.max(axis=1)
        share = float((last.draws_RK[:, k] >= best_R).mean())
        return Picked(jobs[inside[k]], share, float(best_R.mean() - last.mean_K[k]), oracle.prob_behind(last, k))

    picks = {"recommended": picked(final), "budget": picked(budget), "fastest": picked(fastest)}
    ordered = sorted(jobs, key=lambda job: (not job.fits, -job.score, job.label))
    known_of_all = belief.take([jobs.index(job) for job in ordered])
    before = before.take([inside.index(jobs.index(job)) for job in ordered if job.fits])
    return Facts(study, ordered, known_of_all, choice, before, on_test, veto_prob, picks, price, rows, elsewhere)


def separation(facts: Facts) -> list[str]:
    """Numbers of the sentence about more images."""
    inside, other = facts.inside, next(job for job in facts.tied if job is not facts.choice)
    scores_K, draws_RK = np.array([job.score for job in inside]), np.stack([job.draws for job in inside], axis=1)
    more = oracle.more_images(scores_K, draws_RK, inside.index(facts.choice), inside.index(other), num_images(facts))
    if more is None:
        return ["100"]
    unit = 10 ** max(len(str(more)) - 2, 0)
    return [f"{math.ceil(more / unit) * unit:,}"]


def num_images(facts: Facts) -> int:
    """Of train and val."""
    return next(len(job.out_of_fold_labels) for job in facts.jobs if job.out_of_fold is not None)


def separation_basis(facts: Facts) -> list[str]:
    """How much the two differ, and on how many images."""
    other = next(job for job in facts.tied if job is not facts.choice)
    apart = facts.choice.draws - other.draws
    return [f"{abs(100 * (facts.choice.score - other.score)):.1f}", "95", *ends(apart, "", "+").split(" to "), f"{num_images(facts):,}"]


def at_stake(facts: Facts) -> list[str]:
    """Numbers of the recommendation."""
    found = facts.picks["recommended"]
    return [
        odds(found.prob_best),
        str(len(facts.inside)),
        *([f"{100 * found.expected_loss:.1f}"] if 100 * found.expected_loss >= 0.05 else []),
    ]


def picks(facts: Facts) -> list[str]:
    """Numbers of the sentences about the budget pick and the fastest pick."""
    first, budget, fastest = (facts.picks[name] for name in ("recommended", "budget", "fastest"))

    def traded(found: Picked) -> list[str]:
        lost = 100 * (found.expected_loss - first.expected_loss)
        return [ms(found.job.latency), ms(first.job.latency), *([f"{abs(lost):.1f}"] if abs(lost) >= 0.05 else [])]

    numbers = [] if budget.job is first.job else traded(budget)
    if budget.job is not first.job and facts.break_even > 0.5:
        numbers += [f"{facts.break_even:.2g}", "0.5"]
    return numbers + ([] if fastest.job in (budget.job, first.job) else traded(fastest))


def fine_tuning(facts: Facts) -> list[str]:
    """Numbers of the sentence about where fine-tuning did not help."""
    lost = {}
    for name in {job.row["backbone"] for job in facts.jobs}:
        head = [job.expected for job in facts.jobs if job.row["backbone"] == name and job.out_of_fold is not None]
        tuned = [job.expected for job in facts.jobs if job.row["backbone"] == name and job.out_of_fold is None]
        if head and tuned:
            lost[name] = head[0] - max(tuned)
    idle = [name for name in lost if lost[name] >= 0]
    if not idle:
        return []
    whom = [] if len(lost) == 1 else [str(len(lost))] if len(idle) == len(lost) else [str(len(idle)), str(len(lost))]
    return [*whom, *(f"{100 * lost[name]:.1f}" for name in idle)]


def changes(facts: Facts) -> list[str]:
    """Numbers of the sentences on what would change the answer."""
    found = [number for key in ("latency_ms_p50", "params_m") for number in _tighter(facts, key)] + _looser(facts)
    jobs, inside = _in_order(facts), facts.inside
    whole, places = evidence(jobs), [_in_order(facts).index(job) for job in inside]
    votes: Counter[int] = Counter()
    for scores_K in whole.draws(NUM_RESAMPLES)[:100]:
        belief = posterior(scores_K, 2 * whole.covariance_KK, known(jobs, own_ranks(facts.elsewhere))).take(places)
        votes[oracle.decide(belief, [job.latency for job in inside])] += 1
    same = votes.pop(inside.index(facts.choice), 0) / 100
    others = [share / 100 for _, share in votes.most_common(3)]
    return [*found, f"{num_images(facts) // 2:,}", "100", chance(same), *(chance(share) for share in others)]


def _in_order(facts: Facts) -> list[Job]:
    """Oldest first, as the rows were read: resamples are drawn in that order."""
    return sorted(facts.jobs, key=lambda job: (job.row["started_at"], job.row["job_id"]))


def other_metrics(facts: Facts) -> dict[Metric, str]:
    """Metric -> whom the rule recommends by it."""
    found = {}
    for metric in (Metric.accuracy, Metric.f1_macro, Metric.f1_weighted, Metric.log_loss):
        by_metric = evidence(facts.jobs, metric)
        belief = posterior(by_metric.scores_K, by_metric.covariance_KK, known(facts.jobs, own_ranks(facts.elsewhere)))
        within = belief.take([facts.jobs.index(job) for job in facts.inside])
        found[metric] = facts.inside[oracle.decide(within, [job.latency for job in facts.inside])].label
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
        is_right = [decided(job.val, job.prior) == job.val_labels for job in (inside[first], inside[second])]
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
        lines.append([job.label, pct(job.score), ms(job.latency), timed, odds(float(shares[k])), beaten])
    return lines


def _cost(job: Job) -> Cost:
    names = [name for name in Cost.__dataclass_fields__ if name in job.row]
    known: dict[str, Any] = dict.fromkeys(Cost.__dataclass_fields__) | {name: job.row[name] for name in names}
    return Cost(**known)


def _finalists(facts: Facts) -> Lines:
    lines = []
    for job in facts.finalists:
        test = alone(job.test, job.test_labels, job.prior)
        test_R = test.draws(NUM_RESAMPLES)[:, 0]
        lost = job.draws - np.random.default_rng(20_240_302).permutation(test_R)
        beyond = "yes" if float(np.quantile(lost, 0.025)) > 0 else "no"
        on_test = float(test.scores_K[0])
        size = f"{points(job.score - on_test, '+')} ({ends(lost, '', '+')})"
        behind = odds(facts.veto_prob) if job is facts.choice else "–"
        lines.append([job.label, pct(job.score), pct(on_test), ends(test_R, " %"), size, beyond, behind])
    return lines


def _picks(facts: Facts) -> Lines:
    return [
        [name, found.job.label, ms(found.job.latency), odds(found.prob_best), f"{100 * found.expected_loss:.1f}", odds(found.prob_behind)]
        for name, found in facts.picks.items()
    ]


def _tighter(facts: Facts, column: str) -> list[str]:
    """The highest limit just below which somebody else is recommended."""
    values = sorted({job.row[column] for job in facts.inside if job.row[column] >= facts.choice.row[column]}, reverse=True)
    for value in values:
        left = [job for job in facts.inside if job.row[column] < value]
        if not left or _recommended(facts, left, is_latency_free=column == "latency_ms_p50") is not facts.choice:
            return [_limit(value)]
    return []


def _looser(facts: Facts) -> list[str]:
    """The lowest limit on parameters at which somebody else is recommended."""
    for value in sorted({job.row["params_m"] for job in facts.jobs if not job.fits}):
        left = [job for job in facts.jobs if job.row["params_m"] <= value]
        if _recommended(facts, left) is not facts.choice:
            return [_limit(value)]
    return []


def _limit(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _recommended(facts: Facts, jobs: list[Job], *, is_latency_free: bool = False) -> Job:
    """Of some, by what is believed of all; within a limit on it, latency is free."""
    belief = facts.belief.take([facts.jobs.index(job) for job in jobs])
    return jobs[oracle.decide(belief, [job.latency for job in jobs], price=0.0 if is_latency_free else oracle.PRICE)]


def _transferability(facts: Facts) -> Lines:
    rows = {row["backbone"]: row for row in facts.rows if row["status"] in ("ok", "pruned") and row["protocol"] == "p1"}
    lines = []
    for row in sorted(rows.values(), key=lambda row: -float(row["probe_accuracy"])):
        scores = [f"{row[name]:.3f}" for name in ("logme", "gbc", "leep", "h_score")]
        shares = [pct(row["probe_accuracy"]), f"{row['probe_log_loss']:.3f}", pct(row["knn_accuracy"])]
        lines.append([row["backbone"], *shares, *scores, seconds(row["transferability_s"])])
    return lines


def _tuned(facts: Facts, name: str) -> list[Job]:
    return [job for job in facts.jobs if job.row["backbone"] == name and job.row["freeze"] != "all"]


def _truth(facts: Facts) -> dict[str, float]:
    names = {job.row["backbone"] for job in facts.jobs}
    return {name: max(job.numbers["balanced_accuracy"] for job in _tuned(facts, name)) for name in sorted(names) if _tuned(facts, name)}


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
    scores_s = {job.row["backbone"]: float(job.row["transferability_s"]) for job in facts.jobs}
    return sum(_passes_s(facts, name) + scores_s[name] + share * _tune_s(facts, name) for name, share in taken.items())
