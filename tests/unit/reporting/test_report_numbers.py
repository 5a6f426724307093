"""Every number in report.md, found again from the files of the study: nothing on the page is made up or stale.

The oracle reads JSON and arrays itself and computes with scikit-learn and by the letter of the definitions; only the influence of single
images, the resamples, the test of ties and the posterior come from the harness, and the posterior is checked against an integration of its own.
"""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from harness.config import RankConfig
from harness.reporting.build import build_report
from harness.select.posterior import shrunk
from harness.study.row import from_json, to_json
from harness.study.store import Predictions, Study
from tests.unit.reporting import expected_statistics as expected
from tests.unit.reporting import oracle
from tests.unit.reporting.facts import (
    NUM_RESAMPLES,
    Facts,
    Job,
    Lines,
    alone,
    behind,
    decided,
    ends,
    evidence,
    known,
    measured,
    millions,
    ms,
    odds,
    own_ranks,
    pct,
    prior,
    published,
    read_jobs,
    read_rows,
    seconds,
    training,
)
from tests.unit.reporting.fake_study import prune, write_folds, write_study

NUM_FOLDS = 3
FOLDS = ("3 of 3 folds of train and val", "1 of 3 folds of train and val")
CROSS_FITTED = {("mobilenetv3", "none"): (0, 1, 2), ("resnet50", "0.5"): (1,)}
CFG = RankConfig(num_resamples=NUM_RESAMPLES, max_params_m=22.0)
NUMBER = re.compile(r"[-+]?\d(?:[\d,]*\d)?(?:\.\d+)?")


@pytest.fixture(scope="module", params=["overturned", "confirmed", "folds"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Every kind of number in one study, its report built.

    Ten candidates within the limit and three outside, two jobs stopped early, one learning rate on the edge, two failures, one
    row of an older protocol, one model known by its architecture only, and a study of other data beside it. In one, two fine-tunes
    are cross-fitted, in all folds and in one of three.
    """
    folder, (num_val, num_test) = tmp_path_factory.mktemp("numbers"), (300, 200) if request.param == "overturned" else (400, 300)
    study = write_study(folder / "fake", num_val=num_val, num_test=num_test)
    if request.param == "overturned":
        spoil_test(study, "vit_small_patch16_224.augreg_in21k_ft_in1k")
    other = write_study(folder / "other", num_val=80, failed=False)
    for row in other.rows():
        other.write_row(replace(row, dataset="other", data_fingerprint="f2"))
    for row in study.rows():
        if row.backbone == "squeezenet" and row.freeze != "all":
            prune(study, row, rung=1, epochs_trained=1)
        if row.backbone == "resnet50" and row.freeze == "none":
            study.write_row(replace(row, lr=9e-4, lr_on_edge=True))
        if row.backbone == "densenet121":
            study.write_row(replace(row, imagenet_top1_frac=None))
        if request.param == "folds" and (row.backbone, row.freeze) in CROSS_FITTED:
            write_folds(study, row, CROSS_FITTED[row.backbone, row.freeze], NUM_FOLDS)
    first = next(row for row in study.rows() if row.status == "ok" and row.fold is None)
    old = replace(first, job_id="0" * 16, protocol="p0", started_at="2024-01-01T00:00:00+00:00")
    old_details = replace(old.details, protocol={"data_fingerprint": "f1", "epochs": 7})
    study.write_predictions(old.job_id, study.val_predictions(first.job_id), None)
    study.write_row(from_json(to_json(replace(old, details=old_details))))
    build_report(study, CFG)
    return study


def spoil_test(study: Study, backbone: str) -> None:
    """Let a backbone name wrong classes for two test images in three."""
    for row in study.rows():
        if row.backbone == backbone:
            parts = (study.val_predictions(row.job_id), study.out_of_fold(row.job_id))
            with np.load(study.predictions_path(row.job_id)) as arrays:
                log_probs, labels, ids = (arrays[f"test_{name}"] for name in ("log_probs", "labels", "ids"))
            log_probs = np.where((np.arange(len(labels)) % 3 > 0)[:, None], np.roll(log_probs, 1, axis=1), log_probs)
            study.write_predictions(row.job_id, parts[0], Predictions(log_probs, labels, [str(each) for each in ids]), parts[1])
            study.write_row(row)


@pytest.fixture(scope="module")
def facts(study: Study) -> Facts:
    """The files of the study, with scores, draws, the tied set, beliefs and what should be recommended."""
    return expected.settled(study, read_jobs(study), read_rows(study), read_rows(Study(study.root.parent / "other")))


def outcome(job: Job, facts: Facts) -> str:
    """The word beside a candidate."""
    first, budget, fastest = (facts.picks[name].job for name in ("recommended", "budget", "fastest"))
    picked = {id(fastest): "fastest pick", id(budget): "budget pick", id(first): "recommended"}
    return picked.get(id(job)) or ("tied" if job.tied else "behind" if job.fits else "excluded")


def read(study: Study) -> str:
    """The report as written."""
    return (study.report_dir / "report.md").read_text(encoding="utf-8")


def unescaped(text: str) -> str:
    """What a reader of the rendered Markdown sees."""
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text.replace("**", ""))
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def tables(markdown: str) -> dict[str, Lines]:
    """Title -> cells of the body."""
    found: dict[str, Lines] = {}
    for title, body in re.findall(r"^\*\*(.+)\*\*\n\n\| .*\|\n\| [-: |]+\|\n((?:\|.*\|\n)*)", markdown, flags=re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in body.splitlines()]
        found[unescaped(title)] = [[unescaped(cell.strip()) for cell in line] for line in lines]
    return found


def leading(jobs: list[Job], best: Job) -> list[Job]:
    """The first ten, the recommended before all others."""
    return [best, *(job for job in jobs if job is not best)][:10]


def published_text(row: dict[str, Any]) -> str:
    """The prior of a model, and whether it is only its architecture's."""
    found = prior(row)
    return "–" if found is None else pct(found) + ("" if row["imagenet_top1_frac"] is not None else " (architecture)")


def doubted(facts: Facts) -> list[tuple[float, str, str, int, int]]:
    """Margin, image, split, label and what is more probable, by the letter of confident learning on the mean of the three best backbones' heads."""
    heads = [job for job in facts.jobs if job.out_of_fold is not None][:3]
    first, num_val = heads[0], len(heads[0].val_labels)
    probs = np.mean([np.exp(np.asarray(job.out_of_fold, dtype=np.float64)) for job in heads], axis=0)
    labels = [int(label) for label in first.out_of_fold_labels]
    thresholds = [np.mean([p[c] for p, label in zip(probs, labels, strict=True) if label == c]) for c in range(probs.shape[1])]
    found = []
    for place, (p, label) in enumerate(zip(probs, labels, strict=True)):
        other = int(np.argmax(p))
        if other != label and p[other] >= thresholds[other]:
            split = "train" if place < len(labels) - num_val else "val"
            found.append((float(p[other] - p[label]), str(first.out_of_fold_ids[place]), split, label, other))
    return sorted(found, key=lambda each: -each[0])


def doubted_tables(facts: Facts, names: list[str]) -> dict[str, Lines]:
    """The first eight of them."""
    found = doubted(facts)
    lines = [[image, split, names[label], names[other], f"{margin:.3f}"] for margin, image, split, label, other in found[:8]]
    more = [[f"{len(found) - 8} more", *[""] * 4]] if len(found) > 8 else []
    return {f"Labels in doubt: {len(found)} images, the most doubtful first": [*lines, *more]}


def expected_tables(facts: Facts) -> dict[str, Lines]:
    """Every table of the report, recomputed."""
    jobs, best, places, own = facts.jobs, facts.best, expected.places(facts), own_ranks(facts.elsewhere)
    row = best.row
    profile, recipe, machine = row["details"]["profile"], row["details"]["recipe"], row["details"]["machine"]
    names = [name.replace("\n", "\\n") for name in row["details"]["class_names"]]
    counts = profile["class_counts"]
    by_backbone = sorted({job.row["backbone"]: job.row for job in jobs}.values(), key=lambda r: str(r["backbone"]))
    by_depth = sorted(jobs, key=lambda job: (job.row["backbone"], job.row["num_frozen_blocks"]))
    gaps = sorted(jobs, key=lambda job: -(job.row["train_accuracy"] - job.row["val_accuracy"]))
    precision, recall, f1, support = sk.precision_recall_fscore_support(best.val_labels, decided(best.val, best.prior))
    test = measured(best.test, best.test_labels, best.prior)
    shares = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "macro F1": "f1_macro", "weighted F1": "f1_weighted"}
    score = {id(job): (places.get(job.label, "–"), job.label, pct(job.score), ends(job.draws, " %")) for job in jobs}
    return expected.statistics_tables(facts) | {
        "Leaderboard": [
            [
                score[id(j)][0],
                j.label,
                outcome(j, facts),
                *score[id(j)][2:],
                pct(j.expected),
                "–" if j.odds is None else odds(j.odds[0]),
                ms(j.row["latency_ms_p50"]),
                millions(j.row["params_m"]),
                training(j),
                size(j.row),
                f"{j.row['gmacs']:.2f}",
                j.row["family"],
                j.row["licence"] or "–",
            ]
            for j in leading(jobs, best)
        ],
        "Images per class and split": [
            *([name, *(f"{counts[s][raw]:,}" for s in counts)] for name, raw in zip(names, row["details"]["class_names"], strict=True)),
            ["all", *(f"{sum(counts[split].values()):,}" for split in counts)],
        ],
        "Image quality": [
            *([f"{side} (pixels)", ", ".join(f"{k} {v:,}" for k, v in profile[side].items())] for side in ("widths", "heights")),
            ["modes as stored", ", ".join(f"{k} {v:,}" for k, v in profile["modes"].items())],
            ["unreadable files", str(profile["num_unreadable"])],
            ["equal images within a split, kept", str(profile["num_duplicates_within"])],
            ["equal images across splits, left out", str(profile["num_duplicates_across"])],
            ["equal images with different labels", str(profile["num_label_conflicts"])],
        ],
        **doubted_tables(facts, names),
        "Where it was measured": [
            [
                "bench",
                "cpu",
                "–",
                machine["cpu_name"],
                str(machine["num_cores"]),
                str(row["num_threads"]),
                f"{machine['memory_gib']:.1f} GiB",
                "–",
                "float32",
            ]
        ],
        "Backbones and their weights": [
            [
                r["backbone"],
                r["family"],
                millions(r["params_m"]),
                f"{r['gmacs']:.2f}",
                str(r["image_size"]),
                r["weights"],
                r["weights_source"],
                r["licence"],
                published_text(r),
                f"{own[r['backbone']]:.2f} (1)",
            ]
            for r in by_backbone
        ],
        "Excluded by the limits": [
            [j.label, f"parameters {j.row['params_m']} million is above rank.max_params_m=22"] for j in jobs if not j.fits
        ],
        "Splits": [list(pair) for pair in profile["split_origin"].items()],
        "Preprocessing, as each model's weights expect it": [
            [r["backbone"], r["details"]["transforms"]["train"], r["details"]["transforms"]["eval"]] for r in by_backbone
        ],
        "Training recipe": [[name, str(value)] for name, value in recipe.items() if name != "name"],
        "Freeze depths": [
            [
                j.label,
                j.row["boundary"] or "none",
                f"{j.row['num_frozen_blocks']} of {j.row['num_blocks']}",
                millions(j.row["trainable_params_m"]),
                pct(j.row["frozen_macs_frac"]),
                "yes, bit for bit",
                "trained" if j.row["is_trained"] else "as loaded",
            ]
            for j in by_depth
        ],
        "Scores": [
            [
                *score[id(j)][:2],
                j.judged_on,
                *score[id(j)][2:],
                pct(j.expected),
                *(["–", "–"] if j.odds is None else [odds(j.odds[0]), f"{100 * j.odds[1]:.1f}"]),
                "–" if j is best else behind(j, best),
                outcome(j, facts),
                "yes" if j.tied else "no",
            ]
            for j in jobs
        ],
        "Every metric on val": [expected.metrics_line(j.label, j.numbers) for j in jobs],
        f"Per class, {best.label}, hardest first": [
            [names[c], str(support[c]), pct(precision[c]), pct(recall[c]), pct(f1[c])] for c in np.argsort(f1, kind="stable")
        ],
        "Over-fitting: accuracy on train against val": [gap(job) for job in gaps],
        "Failed jobs": [
            ["failvgg16", "vgg16", "none", "0", "oom", "out of memory at batch 32; give train.batch_size=16"],
            ["failalexnet", "alexnet", "none", "0", "failed", "weights cannot be had: <b>no route</b> to the hub | give weights=FILE"],
        ],
        f"{best.label} on val and test": [
            *([name, pct(best.numbers[key]), pct(test[key])] for name, key in shares.items()),
            ["log loss (nats)", f"{best.numbers['log_loss']:.3f}", f"{test['log_loss']:.3f}"],
        ],
    }


def gap(job: Job) -> list[str]:
    """A line of the over-fitting table."""
    train, val = job.row["train_accuracy"], job.numbers["accuracy"]
    return [job.label, pct(train), pct(val), f"{100 * (train - val):+.1f}", "over-fits" if train - val >= 0.1 else ""]


def prose(markdown: str) -> str:
    """Everything outside tables, code, pictures' paths and headings' numbers."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    text = re.sub(r"^\|.*$|^## \d\.|^\*\*[^*]+\*\*$|\(plots/.*\)$", "", text, flags=re.MULTILINE)
    return unescaped(text)


def size(row: dict[str, Any]) -> str:
    """On disk."""
    return f"{row['weights_mib']:.1f} MiB" if row["weights_mib"] < 100 else f"{row['weights_mib']:,.0f} MiB"


def expected_first_screen(facts: Facts) -> list[str]:
    """Numbers of the headline, of the reason, of the three cards and of what is left out."""
    best, row, profile = facts.best, facts.best.row, facts.best.row["details"]["profile"]
    test, pick, num_test = alone(best.test, best.test_labels, best.prior), facts.picks["recommended"], len(best.test_labels)
    score, (low, high) = float(test.scores_K[0]), ends(test.draws(NUM_RESAMPLES)[:, 0], "").split(" to ")
    whole = [f"{100 * score:.0f}", *(f"{value:.0f}" for value in 100 * np.quantile(test.draws(NUM_RESAMPLES)[:, 0], [0.025, 0.975]))]
    recalls = sk.recall_score(best.test_labels, decided(best.test, best.prior), average=None)
    blocks = [str(row["num_frozen_blocks"]), str(row["num_blocks"])] if row["num_frozen_blocks"] not in (0, row["num_blocks"]) else []
    loss = f"{100 * pick.expected_loss:.1f}"
    return [
        *[*blocks, *whole],  # headline
        *([] if facts.is_overturned else ["0.5", str(len(facts.inside))]),  # reason
        *[pct(score), str(num_test), "95", low, high, pct(recalls.min()), pct(1 / len(recalls))],  # quality
        *[ms(row["latency_ms_p50"]), millions(row["params_m"]), size(row), training(best), row["details"]["machine"]["cpu_name"]],  # cost
        *[odds(pick.prob_best), str(len(facts.inside)), loss, str(len(facts.tied))],  # confidence
        *[f"{profile['num_found'] - profile['num_used']:,}", f"{profile['num_found']:,}", "2", str(len(facts.pruned)), "1"],  # left out
    ]


def expected_prose(facts: Facts) -> Counter[str]:
    """Every number outside the tables, recomputed, as often as it is printed."""
    jobs, best, inside, tied = facts.jobs, facts.best, facts.inside, facts.tied
    row, profile = best.row, best.row["details"]["profile"]
    num_val, num_test, labels = len(best.val_labels), len(best.test_labels), best.val_labels
    other = next(job for job in inside if job is not best)
    apart, both = best.score - other.score, ends(best.draws - other.draws, "", "+").split(" to ")
    test = alone(best.test, best.test_labels, best.prior)
    own = [r for r in facts.rows if r["protocol"] == "p1" and r["fold"] is None]
    took, folds = [r["total_s"] for r in own], [fold.row for job in facts.jobs for fold in job.folds]
    rates = [job.row["throughput_ips"] for job in jobs]
    blocks = [str(row["num_frozen_blocks"]), str(row["num_blocks"])] if row["num_frozen_blocks"] not in (0, row["num_blocks"]) else []
    overturned = [odds(facts.veto_prob)] if facts.is_overturned else []
    after = [] if facts.is_overturned else [odds(facts.veto_prob)]
    more, num_pruned, rests_on = expected.separation(facts), str(len(facts.pruned)), [f"{expected.num_images(facts):,}", str(num_val)]
    rests_on += [str(sum(bool(job.folds) for job in jobs))] if folds else []
    among = [str(len(tied)), "95", *([str(len(tied) - 6)] if len(tied) > 6 else [])]
    sentences = [
        *expected_first_screen(facts),
        *[*blocks, *expected.at_stake(facts)],  # in full
        *[*overturned, "0.5", pct(best.score), pct(best.expected)],  # why
        *[odds(facts.picks["recommended"].prob_behind), *after, *among, *more, *fallen(facts), num_pruned],  # how sure
        *(expected.picks(facts) * 2),
        *expected.fine_tuning(facts),
        *(rests_on * 2),
        *[pct(float(test.scores_K[0])), str(num_test), *ends(test.draws(NUM_RESAMPLES)[:, 0], "").split(" to "), "95"],  # on new images
        *["2", str(len(own)), str(sum(r["status"] == "ok" for r in own)), "7", "3", "1"],  # protocols
        *["1", *re.findall(r"-?\d+", str(facts.study.root.parent)), "0"],  # p1, the command that shows p0
        *[f"{profile['num_used']:,}", f"{profile['num_found']:,}", "2", "1", "4"],  # images left out
        str(len(jobs) - 10),  # more candidates
        *[f"{profile['num_used']:,}", f"{profile['num_found']:,}", str(len(row["details"]["class_names"]))],  # data
        *([f"{profile['imbalance_ratio']:.1f}"] * 2),  # data, metric
        *[pct(np.bincount(labels).max() / num_val), pct(1 / len(row["details"]["class_names"]))],  # baseline
        *[note for text in [*profile["notes"], *profile["unreadable"]] for note in NUMBER.findall(text)],
        str(len(doubted(facts))),  # labels in doubt
        *["22", str(len(inside)), str(len(jobs))],  # limits
        *[str(len(took)), "2", num_pruned, seconds(sum(took)), seconds(max(took))],  # time
        *([seconds(sum(r["total_s"] for r in folds)), str(len(folds))] if folds else []),
        *[f"{min(rates):,.1f}", f"{max(rates):,.1f}"],
        *["0", "1"],  # rank on other data sets
        *[pct(inside[0].score), *([str(len(tied) - 1)] if len(tied) > 2 else []), *more],  # outcome
        *["400", "95"],  # how compared
        *[*more, *expected.separation_basis(facts)],
        *["1.0", "95", str(len(inside) * (len(inside) - 1) // 2)],  # pairs
        "95",  # front
        "10.0",  # over-fitting
        *expected.audit_sentences(facts),
        *["7", "3"],  # the other protocol's epochs
        *[f"{abs(100 * apart):.1f}", "95", *both],  # the best of the others
        *(overturned or ["95"]),  # verdict of test
        str(len((facts.study.root / "opened.jsonl").read_text(encoding="utf-8").splitlines())),
        *expected.changes(facts),
    ]
    return Counter(number for sentence in sentences for number in NUMBER.findall(sentence))


def fallen(facts: Facts) -> list[str]:
    """What the recommended loses on test, where that is more than chance explains and test did not choose."""
    line = expected.statistics_tables(facts)["Opened on test: balanced accuracy before and on test"][-1]
    return [line[4].partition(" ")[0].strip("+-")] if line[5] == "yes" and not facts.is_overturned else []


def numbers_of(text: str, jobs: list[Job]) -> Counter[str]:
    """Numbers as tokens of their own; names of things are taken out first."""
    names = {name for job in jobs for name in (job.label, job.row["backbone"], job.row["weights"])}
    names |= {*jobs[0].row["details"]["class_names"], "0" * 16, "freeze=all", "freeze=0.5", "freeze=none", "F1", "step 5", "top-1"}
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return Counter(NUMBER.findall(re.sub(longest_first, "", text)))


def unexplained(markdown: str, wanted: dict[str, Lines], due: Counter[str], jobs: list[Job]) -> list[str]:
    """Tables and numbers of a report that are not the wanted ones."""
    found, seen = tables(markdown), numbers_of(prose(markdown), jobs)
    wrong = [title for title in {**found, **wanted} if found.get(title) != wanted.get(title)]
    return wrong + [f"printed {number}" for number in (seen - due).elements()] + [f"missing {number}" for number in (due - seen).elements()]


def test_every_number_is_found_again(study: Study, facts: Facts) -> None:
    """All tables cell by cell, and all numbers in sentences as often as they are printed."""
    assert unexplained(read(study), expected_tables(facts), expected_prose(facts), facts.jobs) == []


def test_what_the_studies_cover(request: pytest.FixtureRequest, facts: Facts) -> None:
    """Between them the studies print every kind of number: several that may be best, three picks, both outcomes, folds, jobs stopped early."""
    assert len(facts.tied) > 2
    assert len({found.job.label for found in facts.picks.values()}) == 3
    assert {job.judged_on for job in facts.jobs} == {"out of fold", "val, adjusted", *(FOLDS if "folds" in request.node.name else ())}
    assert facts.is_overturned == ("overturned" in request.node.name)
    assert facts.pruned
    assert published("densenet121")


def test_other_metrics_are_named_rightly(study: Study, facts: Facts) -> None:
    """Metrics that lead elsewhere are named with whom they lead to, the others together."""
    names = {"accuracy": "accuracy", "f1_macro": "macro F1", "f1_weighted": "weighted F1", "log_loss": "log loss"}
    text, found = prose(read(study)), expected.other_metrics(facts)
    same = [names[metric.value] for metric, label in found.items() if label == facts.choice.label]
    for metric, label in found.items():
        assert (f"Ranked by {names[metric.value]}: {label}." in text) == (label != facts.choice.label)
    assert all(name in text.partition("It stays the same ranked by ")[2].partition(".")[0] for name in same)


def test_the_posterior_is_found_again_in_another_way(facts: Facts) -> None:
    """Expected scores, probabilities of being best and expected losses agree with another integration of the model, as far as draws can."""
    found, prior = evidence(facts.jobs), known(facts.jobs, own_ranks(facts.elsewhere))
    draws_RK = oracle.believe(found.scores_K, shrunk(found.covariance_KK, prior), prior)
    assert draws_RK.mean(axis=0) == pytest.approx([job.expected for job in facts.jobs], abs=0.001)
    inside = [k for k, job in enumerate(facts.jobs) if job.fits]
    best_R = draws_RK[:, inside].max(axis=1)
    for k in inside:
        prob_best, loss = facts.jobs[k].odds or (np.nan, np.nan)
        assert float((draws_RK[:, k] >= best_R).mean()) == pytest.approx(prob_best, abs=0.03)
        assert float((best_R - draws_RK[:, k]).mean()) == pytest.approx(loss, abs=0.0015)


def test_the_test_score_enters_by_bayes(facts: Facts) -> None:
    """The probability of being behind after test is that of the draws before, each weighed by how well it foretells the test score."""
    draws_RK, k = facts.before_test.draws_RK, facts.inside.index(facts.choice)
    log_weight_R = -((draws_RK[:, k] - facts.on_test[0]) ** 2) / (2 * facts.on_test[1])
    weight_R = np.exp(log_weight_R - log_weight_R.max())
    few = weight_R.sum() ** 2 / (weight_R**2).sum() < 100  # hardly any draw foretells a spoilt score
    worth_RK = draws_RK - oracle.PRICE * np.array(oracle.doublings([job.latency for job in facts.inside]))
    behind_R = worth_RK.max(axis=1) - worth_RK[:, k] > 0.01
    assert float((weight_R * behind_R).sum() / weight_R.sum()) == pytest.approx(facts.veto_prob, abs=0.2 if few else 0.06)


def test_any_altered_number_is_noticed(study: Study, facts: Facts) -> None:
    """The check above has teeth: change a digit of any number outside names, code and headings, and it fails."""
    markdown, wanted, due = read(study), expected_tables(facts), expected_prose(facts)
    units = r"(?= ?(?:%|points|ms|M|min|s|MiB|images|val images|test images)\b|\s\|| %)"
    places = [match.end() - 1 for match in re.finditer(rf"(?<![\w.=/-]){NUMBER.pattern}{units}", markdown)]
    for place in places:
        digit = str((int(markdown[place]) + 1) % 10)
        altered = markdown[:place] + digit + markdown[place + 1 :]
        assert unexplained(altered, wanted, due, facts.jobs), markdown[place - 40 : place + 20]
    assert len(places) > 600
