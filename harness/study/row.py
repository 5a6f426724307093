"""The record of one job: its columns, what they mean, and what belongs beside the table.

`Row` is the only place that names columns; the CSV order is the field order. A column whose value does not exist for
a job (a failed one, an undefined metric) is None and an empty cell, never zero.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from harness.measure.epoch import Epoch
from harness.status import Status

T = TypeVar("T")

ROW_SCHEMA = 6
"""Part of every job id: rows written under another schema are other jobs."""


def _column(doc: str) -> Any:
    return field(default=None, metadata={"doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a row carries beyond the table's columns. Everything is plain JSON."""

    class_names: list[str] = field(default_factory=list)
    curve: list[Epoch] = field(default_factory=list)
    profile: dict[str, Any] = field(default_factory=dict)
    """`harness.data.profile.Profile` as a dictionary."""
    machine: dict[str, Any] = field(default_factory=dict)
    """device_name, cpu_name, num_cores, num_threads, memory_gib, accelerator_memory_gib (None without one)."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Versions of what decides the numbers, beside those in the columns."""
    protocol: dict[str, Any] = field(default_factory=dict)
    """The values that the `protocol` hash covers, so that a difference can be named."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Every field of `TrainConfig` as it was used; those that came later are missing where they are at their default."""
    transforms: dict[str, str] = field(default_factory=dict)
    """`train` and `eval`: the image transforms in words."""
    train_s_per_image: dict[str, float] = field(default_factory=dict)
    """In a probe of a staged search: freeze depths of other jobs -> seconds that an image takes in an epoch of training."""
    undefined: dict[str, str] = field(default_factory=dict)
    """Column -> why it is empty, for jobs that are `ok`."""
    command: list[str] = field(default_factory=list)
    """The overrides that `python -m harness.sweep` needs to run this one job again."""
    lr_losses: dict[str, float | None] = field(default_factory=dict)
    """Learning rates that were tried -> calibrated log loss on val at the end of a training of their own (nats); None: it diverged."""
    model_note: str = ""
    """Why the model of a good job was not kept although it was to be; empty: it was, or was not asked for."""
    class_prior: list[float] = field(default_factory=list)
    """Class shares that the loss taught, in class order: divided out of decisions where the metric asks for it."""
    thresholds: list[float] = field(default_factory=list)
    """Where an image may have several labels: the probability from which on each of them is called, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job. Fractions are in [0, 1]; units end the names."""

    job_id: str = _column("hash of everything that decides the outcome; same id = same job")
    status: str = _column("ok, failed, oom, timeout, diverged, killed or pruned")
    error: str | None = _column("one line: why the job is not ok")
    study: str = _column("name of the study folder")
    protocol: str = _column("hash of what must be equal for rows to be compared: data, split, metric, training budget")
    backbone: str = _column("what was asked for")
    model: str = _column("the architecture that was built; of a network of your own with the hash of what builds it")
    family: str | None = _column("architecture family")
    weights: str | None = _column("pretrained tag, file name, or `random`")
    weights_source: str | None = _column(
        "file, cache, bundled, hub (not on this machine when the sweep began), random, or code: what a Python function returned"
    )
    weights_sha256: str | None = _column("hash of the weights file, or of the tensors that a function returned; empty for random weights")
    licence: str | None = _column("licence of the weights, where their source states one")
    imagenet_top1_frac: float | None = _column("published ImageNet-1k accuracy of these weights (fraction)")
    freeze: str = _column("freeze depth as asked: all, none, a fraction of the blocks, or minus the blocks left free")
    release: str | None = _column("freeze depth of the second phase, if the recipe has one")
    adapter: str | None = _column("what was trained inside the frozen blocks: norm, bias or lora; empty: nothing")
    boundary: str | None = _column("module name of the last frozen block in the last phase; empty: nothing is frozen")
    num_frozen_blocks: int | None = _column("frozen blocks, counted from the input, in the last phase")
    num_blocks: int | None = _column("blocks of the backbone")
    frozen_ok: bool | None = _column("true: every frozen parameter and buffer was bit-identical after training")
    recipe: str = _column("name of the training recipe")
    recipe_hash: str = _column("hash of every setting of the recipe")
    seed: int = _column("seed of the job")
    fold: int | None = _column(
        "fold of train and val, from 0, that a cross-fitted fine-tune was not trained on; val columns are then of its images; empty: the candidate's own job"
    )
    dataset: str = _column("name of the data set")
    data_fingerprint: str | None = _column("hash of the images used, their labels and their split")
    n_train: int | None = _column("images trained on")
    n_val: int | None = _column("images that epochs and winners are chosen on")
    n_test: int | None = _column("sealed images")
    num_classes: int | None = _column("classes")
    image_size: int | None = _column("side of the square input (pixels)")
    epochs: int | None = _column("epochs asked for, both phases together")
    rung: int | None = _column(
        "last rung of the staged search that the job went through: 0 the probe of its backbone, 1 a short training, 2 the whole; empty: it was not searched in stages"
    )
    epochs_trained: int | None = _column("epochs trained; below `epochs` when the job was pruned")
    chosen_epoch: int | None = _column(
        "epoch whose weights were kept: the last, or 0, the closed-form head before any step, where that is better on val; any, where the learning rate is constant"
    )
    is_trained: bool | None = _column("true: the kept weights of the backbone are not those that were loaded")
    model_blake2b: str | None = _column("hash of every tensor of the kept model; equal for jobs that ended in the same one")
    lr: float | None = _column(
        "peak learning rate of the first phase; where several were tried, the one that was kept; empty: nothing was trained in steps"
    )
    lrs_tried: str | None = _column(
        "peak learning rates that were tried, each in a short training of its own, in ascending order, separated by spaces"
    )
    lr_on_edge: bool | None = _column("true: the kept learning rate is the lowest or the highest of several that were tried")
    weight_decay: float | None = _column("weight decay")
    batch_size: int | None = _column("images per step")
    micro_batch: int | None = _column("images computed at once in such a step; less than `batch_size` where memory ran out with more")
    augment: str | None = _column("random changes to training images")
    views: int | None = _column("augmented views of each training image that were cached and drawn from; 1: a new one in every epoch")
    batch_norm: str | None = _column("whether batch-norm layers that are not frozen train on pretrained or on batch statistics")
    precision: str | None = _column("arithmetic of passes without gradients: float32, tf32, or float16 or bfloat16 (autocast)")
    train_precision: str | None = _column(
        "arithmetic of training steps, in the last phase: float32, tf32, float16 (autocast, the loss scaled) or bfloat16 (autocast; depthwise convolutions on a processor stay in float32)"
    )
    trained_from: str | None = _column("name of the block behind which training started from cached activations; `images`: from the images")
    activations_mode: str | None = _column(
        "how cached activations were computed: arithmetic, memory format, folded batch-norm, fused activation functions, compiled"
    )
    activations_note: str | None = _column("why they were not computed in a faster mode, where one was tried, or not cached")
    num_activations_computed: int | None = _column(
        "images whose activations this job computed, through frozen layers; 0: all were cached before"
    )
    input_wait_frac: float | None = _column("share of that pass spent waiting for decoded images (fraction)")
    cached_mib: float | None = _column("what this job added to the activation cache, as predicted before its pass (MiB)")
    device: str | None = _column("cpu, cuda or mps")
    num_threads: int | None = _column("processor threads used")
    params_m: float | None = _column("parameters, head included (millions)")
    trainable_params_m: float | None = _column("parameters that training could change, in the last phase (millions)")
    latency_key: str | None = _column("hash of what latency depends on; rows with equal ones are timed once")
    gmacs: float | None = _column("multiply-adds of one image (10^9)")
    frozen_macs_frac: float | None = _column("share of the multiply-adds in the frozen blocks, up to the first that has an adapter")
    primary_metric: str | None = _column("the metric the data calls for: accuracy, or balanced_accuracy when imbalanced")
    temperature: float | None = _column("number that the kept model's logits are divided by, so that its probabilities are calibrated")
    val_accuracy: float | None = _column(
        "share of val images correctly classified; as for all val metrics, each image is predicted by the epoch and the temperature that "
        "the other val images choose, and classes are decided as the primary metric asks"
    )
    val_balanced_accuracy: float | None = _column("mean recall over classes")
    val_precision_macro: float | None = _column("mean precision over classes")
    val_recall_macro: float | None = _column("mean recall over classes")
    val_f1_macro: float | None = _column("mean F1 over classes")
    val_f1_weighted: float | None = _column("mean F1 weighted by class frequency")
    val_top5_accuracy: float | None = _column("true class among the five most likely; empty below six classes")
    val_log_loss: float | None = _column("mean negative log-probability of the true class, calibrated (nats)")
    val_ece: float | None = _column("expected calibration error of calibrated probabilities, 15 equal-width bins (fraction)")
    raw_val_log_loss: float | None = _column("log loss before calibration: at temperature 1 (nats)")
    raw_val_ece: float | None = _column("expected calibration error before calibration (fraction)")
    oof_accuracy: float | None = _column(
        "share of train and val images correctly classified by heads that never saw them; filled where only a head is fitted"
    )
    oof_balanced_accuracy: float | None = _column("mean recall over classes of the same")
    oof_f1_macro: float | None = _column("mean F1 over classes of the same")
    oof_f1_weighted: float | None = _column("mean F1 weighted by class frequency of the same")
    oof_log_loss: float | None = _column("calibrated log loss of the same (nats)")
    oof_folds: int | None = _column("folds that train and val were dealt into")
    train_accuracy: float | None = _column("share of train images correctly classified by the kept weights, without augmentation")
    train_log_loss: float | None = _column("log loss on train of the kept weights (nats)")
    last_val_accuracy: float | None = _column("val accuracy after the last epoch: what a tutorial would have reported")
    last_val_log_loss: float | None = _column("val log loss after the last epoch (nats)")
    probe_accuracy: float | None = _column("out-of-fold accuracy over train and val of a linear probe on the backbone as it was loaded")
    probe_log_loss: float | None = _column("out-of-fold calibrated log loss of the same probe (nats)")
    probe_strength: float | None = _column("inverse weight of the probe's L2 penalty, on standardised features, chosen out of fold")
    knn_accuracy: float | None = _column("leave-one-out accuracy of the nearest neighbour among the train features, by cosine")
    logme: float | None = _column("log maximum evidence of the train features, per image and class (nats)")
    gbc: float | None = _column("minus the overlap of the classes as Gaussians in the train features")
    leep: float | None = _column(
        "log expected empirical prediction from the backbone's own classes (nats); empty without such a classifier"
    )
    h_score: float | None = _column("H-score of the train features, with shrunk covariance")
    transferability_s: float | None = _column("time that these scores took, without computing the features (seconds)")
    latency_ms_p50: float | None = _column("time of one image through the model: median of blocks of calls (milliseconds)")
    latency_ms_min: float | None = _column("lowest of these blocks' medians: the quietest moment (milliseconds)")
    latency_ms_low: float | None = _column("lower end of the 95 % interval of the median, blocks resampled (milliseconds)")
    latency_ms_high: float | None = _column("upper end of the same (milliseconds)")
    latency_ms_p95: float | None = _column("95th percentile of all calls (milliseconds)")
    latency_steady: bool | None = _column(
        "false: more than half of the blocks were more than 5 % above the lowest, so the machine was busy"
    )
    throughput_ips: float | None = _column("images per second at a batch of 32, inference: the quickest batch")
    latency_ms_bfloat16: float | None = _column("median latency in bfloat16, if `measure.variants` asked for it (milliseconds)")
    latency_ms_compile: float | None = _column("median latency of the model compiled by torch, if asked for (milliseconds)")
    timed_at: str | None = _column("when the model was timed, after the jobs (UTC, ISO 8601); equal for models that took turns")
    timed_on: str | None = _column("name of the machine that timed it; one for all rows of a protocol, so that times compare")
    peak_mem_mib: float | None = _column("peak memory of the job: accelerator memory on CUDA, else of its process (MiB)")
    weights_mib: float | None = _column("size of the model on disk as float32 safetensors (MiB)")
    features_s: float | None = _column(
        "time it took to compute, from the image files, the cached activations that this job read, whenever that was (seconds)"
    )
    train_s: float | None = _column(
        "time of training, evaluation after each epoch included, by all processes that had a part in it (seconds)"
    )
    total_s: float | None = _column("time of the whole job in its process, and of a training that it went on with (seconds)")
    energy_wh: float | None = _column(
        "energy of the whole job, by counters that also count what others do on the same chips meanwhile (watt-hours); empty where none can be read"
    )
    energy_of: str | None = _column(
        "what these counters are of: accelerator, processor (its packages, without memory and disks), or accelerator+processor"
    )
    cost: float | None = _column("`total_s` at the price that `job.price_per_hour` gave, in its currency; empty without one")
    started_at: str = _column("UTC, ISO 8601")
    harness_version: str = _column("version of the harness")
    torch_version: str | None = _column("version of torch")
    timm_version: str | None = _column("version of timm")
    host: str = _column("name of the machine")
    git: str | None = _column("commit of the working directory, `+` when changed; empty outside a repository")
    val_mean_average_precision: float | None = _column(
        "of several labels an image: mean over labels of average precision; this and what follows is empty where each is of one class"
    )
    val_f1_micro: float | None = _column("F1 of all labels of all images as one pool")
    val_f1_samples: float | None = _column("mean over images of the F1 of their labels")
    val_subset_accuracy: float | None = _column("share of val images of which all labels are right")
    oof_mean_average_precision: float | None = _column("mean average precision out of fold, over train and val")
    oof_f1_micro: float | None = _column("micro F1 of the same")
    oof_f1_samples: float | None = _column("F1 over images of the same")
    oof_subset_accuracy: float | None = _column("share of these images of which all labels are right")
    details: Details = field(default_factory=Details)

    @property
    def strategy(self) -> str:
        """Freeze depth and adapter, as people name a candidate by: `0.5`, `all lora`."""
        return f"{self.freeze} {self.adapter}" if self.adapter else self.freeze


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Row) if f.name != "details")
TIMING_COLUMNS = (
    *("latency_ms_p50", "latency_ms_min", "latency_ms_low", "latency_ms_high", "latency_ms_p95", "latency_steady", "throughput_ips"),
    *("latency_ms_bfloat16", "latency_ms_compile", "timed_at", "timed_on"),
)
"""Empty in a row's own file, filled from `timings/` when it is read."""
TRANSFERABILITY_COLUMNS = ("knn_accuracy", "logme", "gbc", "leep", "h_score", "transferability_s")
"""Columns that jobs of one sweep share when they start from the same backbone, weights and images."""
COLUMN_DOCS: dict[str, str] = {f.name: f.metadata["doc"] for f in fields(Row) if f.name != "details"}


def to_json(row: Row) -> dict[str, Any]:
    """The row as plain JSON values, with the schema number first."""
    return {"schema": ROW_SCHEMA, **asdict(row)}


def from_json(record: dict[str, Any]) -> Row:
    """The inverse of `to_json`. Keys that are no columns are ignored; missing ones are None.

    Raises:
        TypeError: a value is of no type that its column can have.
        ValueError: the status is none of `Status`.
    """
    row = _checked(Row, {name: record.get(name) for name in COLUMNS} | {"details": _details(record.get("details"))})
    Status(row.status)
    return row


def _details(record: Any) -> Details:
    names = {f.name for f in fields(Details)}
    found = _checked(Details, {name: value for name, value in record.items() if name in names} if isinstance(record, dict) else record)
    return replace(found, curve=[_checked(Epoch, point) for point in found.curve])


def _checked(kind: type[T], values: Any) -> T:
    """A dataclass from plain values, none of them of a type that its field cannot have."""
    if not isinstance(values, dict):
        raise TypeError(f"{kind.__name__} is {values!r}")
    allowed = _TYPES[kind]
    for name, value in values.items():
        if type(value) not in allowed.get(name, ()):
            raise TypeError(f"{name} is {value!r}")
    return kind(**values)


def _types(kind: type) -> dict[str, frozenset[type]]:
    """The types that each field's values have; whole numbers are numbers too, what is inside of containers is not looked at."""
    found: dict[str, frozenset[type]] = {}
    for name, hint in get_type_hints(kind).items():
        kinds = {get_origin(part) or part for part in ((hint,) if get_origin(hint) in {list, dict} else get_args(hint) or (hint,))}
        found[name] = frozenset(kinds | ({int} if float in kinds else set()))
    return found


_TYPES: dict[type, dict[str, frozenset[type]]] = {kind: _types(kind) for kind in (Row, Details, Epoch)}
