"""The model card of an exported folder: `README.md` with the front matter that the model hub reads, and how to load each of its files.

Numbers come from the study's predictions and from what the check of the export found; what was not measured is not there. Torch-free.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import Metric
from harness.measure.quality import PerClass, per_class
from harness.models.exported import CONFIG, ONNX, TORCH
from harness.models.judged import Agreement, Judged, score
from harness.models.snippets import snippets
from harness.reporting import formats
from harness.reporting.render import literal
from harness.reporting.wording import metric_meaning, metric_name
from harness.study.model_file import ModelHeader
from harness.study.row import Row
from harness.study.row_objective import objective_of
from harness.study.store import Predictions, Study
from harness.text.counts import counted
from harness.text.untrusted import shell_word

_PRIVATE = ("results_dir", "cache_dir")
"""Keys of a sweep that say where things lie on the machine that ran it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the exported model on one split."""

    split: str
    judged: Judged
    classes: Sequence[PerClass]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a card says."""

    label: str
    """The candidate."""
    row: Row
    header: ModelHeader
    measured: Sequence[Measured]
    """On val, and on test where its predictions were opened."""
    files: Sequence[str]
    left_out: Mapping[str, str]
    """Format -> why it is not there, as a clause."""
    checked_on: str
    """Which images, as a noun phrase."""
    agreements: Mapping[str, Agreement]
    """File -> how far it is from the model itself."""
    latency_ms: Mapping[str, float]
    """Runtime -> median time of one image."""
    remarks: Sequence[str] = ()
    """Sentences about the smaller file."""


def measured(study: Study, row: Row) -> list[Measured]:
    """What the study knows of the model of one job: its val predictions, and its test predictions if they were opened before."""
    found = [_measured(row, "val", study.val_predictions(row.job_id))]
    if row.job_id in study.opened() and (test := study.open_test(row.job_id, "model card", "export")) is not None:
        found.append(_measured(row, "test", test))
    return found


def _measured(row: Row, split: str, said: Predictions) -> Measured:
    objective, metric = objective_of(row), Metric(str(row.primary_metric))
    decided_N = objective.decide(said.log_probs_NC, metric)
    judged = score(objective, metric, said.log_probs_NC, said.labels_N, said.groups_N)
    return Measured(split, judged, per_class(decided_N, said.labels_N, said.log_probs_NC.shape[1]))


def write_card(facts: Facts, path: Path) -> None:
    """Write `README.md`. Raises OSError."""
    parts = (f"---\n{_front_matter(facts)}\n---", *_body(facts))
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _front_matter(facts: Facts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    header, is_timm = facts.header, CONFIG in facts.files
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=header.dataset,
            dataset_name=header.dataset,
            dataset_split=found.split,
            metric_type=header.metric,
            metric_name=metric_name(found.judged.metric),
            metric_value=round(found.judged.score, 5),
        )
        for found in facts.measured
        if found.judged.score is not None and not _is_refitted(header)  # nobody has measured that one
    ]
    more: dict[str, Any] = {"license": header.licence} if header.licence else {}
    tags = ["image-classification", *(["timm"] if is_timm else []), *(["onnx"] if ONNX in facts.files else []), "model-selection-harness"]
    return ModelCardData(
        library_name="timm" if is_timm else "pytorch",
        pipeline_tag="image-classification",
        tags=tags,
        datasets=[header.dataset],
        metrics=[header.metric],
        model_name=f"{header.backbone} {header.strategy}",
        eval_results=results or None,
        **more,
    ).to_yaml()


def _body(facts: Facts) -> Iterator[str]:
    header = facts.header
    yield f"# {literal(f'{facts.label} on {header.dataset}')}"
    yield literal(
        f"Says which of {counted(len(header.class_names), *_nouns(header))} an image {'has' if header.thresholds else 'shows'}. {header.model} with weights {header.weights}, "
        f"fine-tuned at freeze={header.strategy} and chosen among {_others(facts.row)} by model-selection-harness {header.harness_version}."
    )
    yield "## How good it is"
    yield _scores(facts)
    yield from _classes(facts)
    yield "## Data and limits"
    yield _bullets(_limits(facts))
    yield "## Files"
    yield _bullets(_files(facts))
    yield _checks(facts)
    if facts.remarks:
        yield _bullets(facts.remarks)
    yield "## How to use it"
    for title, language, code in snippets(facts.header, facts.files):
        yield f"{title}\n\n```{language}\n{code}\n```"
    yield "## Where it comes from"
    yield _bullets(_origin(facts))
    yield f"```sh\n{sweep_command(facts.row)}\n```"


def _nouns(header: ModelHeader) -> tuple[str, str]:
    return ("label", "labels") if header.thresholds else ("class", "classes")


def _others(row: Row) -> str:
    return f"the candidates of the study {row.study}"


def _scores(facts: Facts) -> str:
    metric = Metric(facts.header.metric)
    rows = [
        [
            found.split,
            f"{found.judged.num_images:,}",
            formats.score(metric, found.judged.score),
            formats.score_range(metric, found.judged.interval) if found.judged.interval else str(found.judged.reason),
        ]
        for found in facts.measured
    ]
    table = _table(["split", "images", metric_name(metric), "95 % interval"], rows)
    meaning = literal(f"{metric_name(metric).capitalize()} is {metric_meaning(metric)}.")
    if _is_refitted(facts.header):
        refitted = "These are scores of the model before it was trained again on more images; how good this one is has not been measured."
        return f"{refitted}\n\n{table}\n\n{meaning}"
    bias = "The model was chosen by its val score, which is therefore optimistically biased."
    unopened = "" if len(facts.measured) > 1 else " No test score has been measured, so none is given."
    return f"{table}\n\n{meaning} {bias}{unopened}"


def _classes(facts: Facts) -> Iterator[str]:
    last = facts.measured[-1]
    counts = facts.row.details.profile.get("class_counts", {}).get("train", {})
    rows = [
        [literal(name), f"{counts.get(name, 0):,}", f"{found.support:,}", *map(formats.percent, (found.precision, found.recall, found.f1))]
        for name, found in zip(facts.header.class_names, last.classes, strict=True)
    ]
    yield _table([_nouns(facts.header)[0], "images in train", f"images in {last.split}", "precision", "recall", "F1"], rows)


def _limits(facts: Facts) -> Iterator[str]:
    row, header = facts.row, facts.header
    profile = row.details.profile
    on = {"train_val": " (its train and val images)", "all": " (all that it has, test included)"}.get(header.trained_on, "")
    yield f"Trained on {counted(header.num_trained_on, 'image')} of {header.dataset}{on}, chosen on {row.n_val or 0:,}."
    if header.thresholds:
        called = ", ".join(f"{name} {threshold:.3g}" for name, threshold in zip(header.class_names, header.thresholds, strict=True))
        yield f"An image may have any number of labels, also none. A label is called from this probability on, which suits its F1: {called}."
    else:
        yield "Every image is called one of the classes, whatever it shows; images unlike those above may be called anything, with confidence."
    yield "Probabilities are calibrated on val: where classes are more or less frequent than there, they are off."
    if Metric(header.metric) is Metric.balanced_accuracy:
        shares = ", ".join(f"{name} {share:.3g}" for name, share in zip(header.class_names, header.class_prior, strict=True))
        yield (
            "Classes are imbalanced, so an image is called the class whose probability is highest for its share in train "
            f"({shares}): argmax of log(probability) - log(share). The class of highest probability is right more often and finds rare classes less often."
        )
    if header.max_values:
        white = ", ".join(f"{value:g} ({kind})" for kind, value in header.max_values.items())
        yield f"In pictures of more than 8 bits white is {white}; other programs have to divide by it."
    yield from (f"Not used: {sentence}" for sentence in profile.get("left_out", []))


def _files(facts: Facts) -> Iterator[str]:
    said = {
        "model.safetensors": "all tensors, float32; the temperature that calibrates probabilities is within the last layer",
        CONFIG: "architecture, preprocessing and class names, as timm reads them",
        ONNX: "opset 18, any number of images; takes images, gives probabilities and label, by these names; class names and preprocessing in its metadata",
        "model.int8.onnx": "the same in 8-bit numbers",
        TORCH: "the same as a program of torch.export",
        "preprocessing.json": "how an image becomes the input and how a decision follows, for any program",
    }
    for name in facts.files:
        if name in said:
            yield f"{name}: {said[name]}"
    for name, reason in facts.left_out.items():
        yield f"no {name}: {reason}"


def _checks(facts: Facts) -> str:
    rows = [
        [literal(name), f"{found.largest:.1e}", f"{found.num_changed:,} of {found.num_images:,}"]
        for name, found in facts.agreements.items()
    ]
    table = _table(["file", "largest difference of a probability", "decisions changed"], rows)
    times = ", ".join(f"{name} {formats.ms(value)}" for name, value in facts.latency_ms.items())
    latency = f" One image takes, by the median of calls in turn: {times}." if facts.latency_ms else ""
    return f"Checked against the model of the study on {literal(facts.checked_on)}.{latency}\n\n{table}"


def _origin(facts: Facts) -> Iterator[str]:
    row, header = facts.row, facts.header
    sha256 = f", SHA-256 {header.weights_sha256}" if header.weights_sha256 else ""
    yield f"base weights: {header.model} {header.weights} ({header.weights_source}){sha256}"
    yield f"licence of the base weights: {header.licence or 'their source states none'}; that of your images may restrict the model as well"
    yield f"job {header.job_id} of study {row.study}, {row.started_at}; model {header.model_blake2b}"
    yield f"timm {header.timm_version}, torch {header.torch_version}, model-selection-harness {header.harness_version}"


def _is_refitted(header: ModelHeader) -> bool:
    return header.trained_on != "train"


def sweep_command(row: Row) -> str:
    """The command that trains the model again, without where things lay on the machine."""
    kept = [each for each in row.details.command if each.partition("=")[0] not in _PRIVATE]
    shown = [f"data.root={Path(each.partition('=')[2]).name}" if each.startswith("data.root=") else each for each in kept]
    return " ".join(["python -m harness.sweep", *map(shell_word, shown)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)).replace("\N{NO-BREAK SPACE}", " ")


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {literal(item)}" for item in items)
