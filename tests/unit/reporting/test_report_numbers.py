"""Every number in report.md, found again from the files of the study: nothing on the page is made up or stale.

The oracle reads JSON and arrays itself and computes with scikit-learn; only the resamples come from the harness.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from harness.config import Metric, RankConfig
from harness.reporting.build import build_report
from harness.select.comparison import FloatArray, Runs, bootstrap, tied_set
from harness.study.row import from_json, to_json
from harness.study.store import Study
from tests.unit.reporting.fake_study import write_study

CFG = RankConfig(num_resamples=400, max_params_m=22.0)
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")

Lines = list[list[str]]


@dataclass
class Job:
    """One good job as its files have it."""

    row: dict[str, Any]
    val: FloatArray
    val_labels: Any
    test: FloatArray
    test_labels: Any
    score: float = 0.0
    draws: Any = None
    tied: bool = False
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.row['backbone']} · {self.row['freeze']}"

    @property
    def fits(self) -> bool:
        return bool(self.row["params_m"] <= 22.0)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Nine candidates, three of them outside the limit, two failures, one row of an older protocol; the report is built."""
    study = write_study(
        tmp_path_factory.mktemp("numbers") / "fake", backbones=("resnet50", "densenet121", "mobilenetv3"), num_val=300, num_test=200
    )
    first = next(row for row in study.rows() if row.status == "ok")
    old = replace(first, job_id="0" * 16, protocol="p0", started_at="2024-01-01T00:00:00+00:00")
    old_details = replace(old.details, protocol={"data_fingerprint": "f1", "epochs": 7})
    study.write_row(from_json(to_json(replace(old, details=old_details))))
    build_report(study, CFG)
    return study


@pytest.fixture(scope="module")
def jobs(study: Study) -> list[Job]:
    """Good jobs of the ranked protocol, those within the limit first, best balanced accuracy first, with draws and tied set."""
    found = []
    for path in sorted((study.root / "rows").glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["status"] == "ok" and row["protocol"] == "p1":
            with np.load(study.root / "predictions" / f"{row['job_id']}.npz") as arrays:
                found.append(Job(row, *(arrays[name] for name in ("val_log_probs", "val_labels", "test_log_probs", "test_labels"))))
    found.sort(key=lambda job: (job.row["started_at"], job.row["job_id"]))
    draws_RK = draws([job.val for job in found], found[0].val_labels)
    for k, job in enumerate(found):
        job.numbers = measured(job.val, job.val_labels)
        job.score, job.draws = job.numbers["balanced_accuracy"], draws_RK[:, k]
    inside = [job for job in found if job.fits]
    kept = tied_set(np.array([job.score for job in inside]), np.stack([job.draws for job in inside], axis=1), 0.95)
    for job, is_tied in zip(inside, kept.tolist(), strict=True):
        job.tied = is_tied
    return sorted(found, key=lambda job: (not job.fits, -job.score, job.label))


@pytest.fixture(scope="module")
def best(jobs: list[Job]) -> Job:
    """What should be recommended: the fastest of the tied, then the smallest, then the best."""
    tied = [job for job in jobs if job.tied]
    fastest = min(job.row["latency_ms_p50"] for job in tied)
    near = [job for job in tied if job.row["latency_ms_p50"] <= 1.05 * fastest]
    return min(near, key=lambda job: (job.row["params_m"], -job.score))


def draws(log_probs: list[FloatArray], labels: Any) -> FloatArray:
    """Resampled balanced accuracies, R x K."""
    predicted = np.stack([each.argmax(axis=1) for each in log_probs])
    runs = Runs(predicted, np.zeros(predicted.shape), labels, log_probs[0].shape[1])
    return bootstrap(runs, Metric.balanced_accuracy, CFG.num_resamples, [1] * len(log_probs))


def measured(log_probs: FloatArray, labels: Any) -> dict[str, float]:
    """Metrics by scikit-learn."""
    predicted, probabilities = log_probs.argmax(axis=1), np.exp(log_probs.astype(np.float64))
    confidence, right = probabilities.max(axis=1), predicted == labels
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


def ends(sample: Any, unit: str, sign: str = "") -> str:
    """Both ends of the central 95 % of a sample."""
    low, high = np.quantile(sample, [0.025, 0.975])
    return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f}{unit}"


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


def standing(job: Job, best: Job) -> str:
    """The word beside a candidate."""
    return "recommended" if job is best else "tied" if job.tied else "behind" if job.fits else "excluded"


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


def expected_tables(jobs: list[Job], best: Job) -> dict[str, Lines]:
    """Every table of the report, recomputed."""
    row, places = best.row, {id(job): str(place) for place, job in enumerate((job for job in jobs if job.fits), start=1)}
    profile, recipe, machine = row["details"]["profile"], row["details"]["recipe"], row["details"]["machine"]
    names = [name.replace("\n", "\\n") for name in row["details"]["class_names"]]
    counts = profile["class_counts"]
    by_backbone = sorted({job.row["backbone"]: job.row for job in jobs}.values(), key=lambda r: str(r["backbone"]))
    by_depth = sorted(jobs, key=lambda job: (job.row["backbone"], job.row["num_frozen_blocks"]))
    gaps = sorted(jobs, key=lambda job: -(job.row["train_accuracy"] - job.row["val_accuracy"]))
    precision, recall, f1, support = sk.precision_recall_fscore_support(best.val_labels, best.val.argmax(axis=1))
    test = measured(best.test, best.test_labels)
    shares = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "macro F1": "f1_macro", "weighted F1": "f1_weighted"}
    score = {id(job): (places.get(id(job), "–"), job.label, pct(job.score), ends(job.draws, " %")) for job in jobs}
    return {
        "Leaderboard": [
            [
                score[id(j)][0],
                j.label,
                standing(j, best),
                *score[id(j)][2:],
                ms(j.row["latency_ms_p50"]),
                millions(j.row["params_m"]),
                training(j),
            ]
            for j in jobs
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
                pct(r["imagenet_top1_frac"]),
            ]
            for r in by_backbone
        ],
        "Excluded by the limits": [
            [j.label, f"parameters {j.row['params_m']} million is above rank.max_params_m=22"] for j in jobs if not j.fits
        ],
        "Splits": [list(pair) for pair in profile["split_origin"].items()],
        "Preprocessing, as each network's weights expect it": [
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
            ]
            for j in by_depth
        ],
        "Scores on val": [[*score[id(j)], behind(j, best), standing(j, best)] for j in jobs],
        "Every metric on val": [
            [j.label, *(pct(j.numbers[key]) for key in shares.values()), f"{j.numbers['log_loss']:.3f}", pct(j.numbers["ece"]), "1"]
            for j in jobs
        ],
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


def behind(job: Job, best: Job) -> str:
    """How much better the recommended is, with both ends."""
    value = 100 * (best.score - job.score)
    return "–" if job is best else f"{value:+.1f} ({ends(best.draws - job.draws, '', '+')})"


def gap(job: Job) -> list[str]:
    """A line of the over-fitting table."""
    train, val = job.row["train_accuracy"], job.numbers["accuracy"]
    return [job.label, pct(train), pct(val), f"{100 * (train - val):+.1f}", "over-fits" if train - val >= 0.1 else ""]


def prose(markdown: str) -> str:
    """Everything outside tables, code, pictures' paths and headings' numbers."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    text = re.sub(r"^\|.*$|^## \d\.|^\*\*[^*]+\*\*$|\(plots/.*\)$", "", text, flags=re.MULTILINE)
    return unescaped(text)


def expected_prose(study: Study, jobs: list[Job], best: Job) -> Counter[str]:
    """Every number outside the tables, recomputed, as often as it is printed."""
    inside, tied = [job for job in jobs if job.fits], [job for job in jobs if job.tied]
    row, profile = best.row, best.row["details"]["profile"]
    num_val, num_test, labels = len(best.val_labels), len(best.test_labels), best.val_labels
    images = str(num_val)
    other = next(job for job in inside if job is not best)
    apart, both = best.score - other.score, ends(best.draws - other.draws, "", "+").split(" to ")
    test_score = measured(best.test, best.test_labels)["balanced_accuracy"]
    test_ends = ends(draws([best.test], best.test_labels)[:, 0], "").split(" to ")
    all_rows = [json.loads(path.read_text(encoding="utf-8")) for path in (study.root / "rows").glob("*.json")]
    took = [r["total_s"] for r in all_rows if r["protocol"] == "p1"]
    rates = [job.row["throughput_ips"] for job in jobs]
    sized = f"{row['weights_mib']:.1f}" if row["weights_mib"] < 100 else f"{row['weights_mib']:,.0f}"
    share = pct(best.score)
    cheaper = [job for job in jobs if on_front(job, inside) and not job.tied and job.row["latency_ms_p50"] < row["latency_ms_p50"]]
    excluded_better = [job for job in jobs if not job.fits and job.score > inside[0].score]
    sentences = [
        *(
            [str(row["num_frozen_blocks"]), str(row["num_blocks"])] * 2 if row["num_frozen_blocks"] not in (0, row["num_blocks"]) else []
        ),  # headline
        *([str(len(tied))] if len(tied) > 1 else []),  # verdict
        *([*([str(len(tied))] if len(tied) > 1 else []), share, images] * 2),  # why
        *([str(len(tied)), images] * 2 if len(tied) > 1 else [images, str(len(inside) - 1), "95"] * 2),  # how sure
        *([f"{abs(100 * apart):.1f}", "95", *both, *([f"{-float(both[0]):.1f}"] if float(both[0]) < 0 else [])] * 2),  # what it may give up
        *[ms(row["latency_ms_p50"]), millions(row["params_m"]), sized, training(best)],  # cost
        *([pct(test_score), str(num_test), *test_ends, "95"] * 2),  # on new images
        *[f"{profile['num_used']:,}", f"{profile['num_found']:,}", str(len(row["details"]["class_names"]))],  # data
        *([f"{profile['imbalance_ratio']:.1f}"] * 2),  # data, metric
        *[pct(np.bincount(labels).max() / num_val), pct(1 / len(row["details"]["class_names"]))],  # baseline
        *[note for text in [*profile["notes"], *profile["unreadable"]] for note in NUMBER.findall(text)],
        *["22", str(len(inside)), str(len(jobs))],  # limits
        *[str(len(took)), "2", seconds(sum(took)), seconds(max(took))],  # time
        *[f"{min(rates):,.1f}", f"{max(rates):,.1f}"],
        *[images, "400", "95"],  # how compared
        "10.0",  # over-fitting
        *[text for job in cheaper[:3] for text in faster(job, best)],
        *[text for job in excluded_better[:3] for text in (pct(job.score), str(job.row["params_m"]), "22")],
        f"{abs(100 * (best.score - test_score)):.1f}",  # drop
        str(len((study.root / "opened.jsonl").read_text(encoding="utf-8").splitlines())),
        *["7", "3"],  # the other protocol's epochs
    ]
    return Counter(number for sentence in sentences for number in NUMBER.findall(sentence))


def on_front(job: Job, inside: list[Job]) -> bool:
    """Whether no candidate within the limits beats it on score and latency."""
    mine = job.row["latency_ms_p50"]
    return job in inside and not any(
        other.score >= job.score and other.row["latency_ms_p50"] <= mine and (other.score > job.score or other.row["latency_ms_p50"] < mine)
        for other in inside
    )


def faster(job: Job, best: Job) -> list[str]:
    """Numbers of the sentence about a faster candidate."""
    low, high = ends(best.draws - job.draws, "", "+").split(" to ")
    return [ms(best.row["latency_ms_p50"]), ms(job.row["latency_ms_p50"]), f"{100 * (best.score - job.score):.1f}", "95", low, high]


def numbers_of(text: str, jobs: list[Job]) -> Counter[str]:
    """Numbers as tokens of their own; names of things are taken out first."""
    names = [job.label for job in jobs] + [job.row["backbone"] for job in jobs] + [job.row["weights"] for job in jobs]
    names += [*jobs[0].row["details"]["class_names"], "0" * 16, "freeze=all", "freeze=0.5", "freeze=none", "F1", "step 5", "top-1"]
    for name in sorted(set(names), key=len, reverse=True):
        text = text.replace(name, "")
    return Counter(NUMBER.findall(text))


def unexplained(markdown: str, wanted: dict[str, Lines], due: Counter[str], jobs: list[Job]) -> list[str]:
    """Tables and numbers of a report that are not the wanted ones."""
    found, seen = tables(markdown), numbers_of(prose(markdown), jobs)
    wrong = [title for title in {**found, **wanted} if found.get(title) != wanted.get(title)]
    return wrong + [f"printed {number}" for number in (seen - due).elements()] + [f"missing {number}" for number in (due - seen).elements()]


def test_every_number_is_found_again(study: Study, jobs: list[Job], best: Job) -> None:
    """All tables cell by cell, and all numbers in sentences as often as they are printed."""
    assert unexplained(read(study), expected_tables(jobs, best), expected_prose(study, jobs, best), jobs) == []


def test_any_altered_number_is_noticed(study: Study, jobs: list[Job], best: Job) -> None:
    """The check above has teeth: change a digit of any number outside names, code and headings, and it fails."""
    markdown, wanted, due = read(study), expected_tables(jobs, best), expected_prose(study, jobs, best)
    units = r"(?= ?(?:%|points|ms|M|min|s|MiB|images|val images|test images)\b|\s\|| %)"
    places = [match.end() - 1 for match in re.finditer(rf"(?<![\w.=/-]){NUMBER.pattern}{units}", markdown)]
    for place in places:
        digit = str((int(markdown[place]) + 1) % 10)
        altered = markdown[:place] + digit + markdown[place + 1 :]
        assert unexplained(altered, wanted, due, jobs), markdown[place - 40 : place + 20]
    assert len(places) > 300
