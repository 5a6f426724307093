"""Names, types and defaults of everything a user can set. YAML in `conf/` selects and overrides; nothing else owns a default.

Torch is not imported here: the report side reads these classes too.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from harness.errors import ConfigError
from harness.files import local_folder
from harness.files.place import require_store
from harness.text.metric_spec import MetricSpec, parse

AUTO = "auto"
"""What a key takes whose value is to be found."""


class Device(Enum):
    """Where a job computes."""

    auto = "auto"  # CUDA, then MPS, then CPU: the first that is there
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


_DEVICE = re.compile(r"auto|cpu|mps|cuda(?::([0-9]{1,4}))?")


def is_device(name: str) -> bool:
    """Whether a device is called so: the names of `Device`, and `cuda:INDEX`."""
    return _DEVICE.fullmatch(name) is not None


def device_of(name: str) -> tuple[Device, int | None]:
    """The device of a name (`is_device`), and its index; None: any will do."""
    kind, _, index = name.partition(":")
    return Device(kind), int(index) if index else None


class Precision(Enum):
    """Arithmetic of forward and backward passes; parameters are float32 in every case."""

    auto = "auto"  # float32; features that only heads read: in the fastest form that agrees with it
    float32 = "float32"  # the models as they were built, nothing rewritten for speed, no TF32 on an accelerator
    tf32 = "tf32"  # products of 10 bits, sums in float32, as recent NVIDIA accelerators have them; float32 in all else
    bfloat16 = "bfloat16"
    float16 = "float16"  # on cuda; gradients are scaled, and a step in which they overflow is left out
    mixed = "mixed"  # bfloat16, or float16 on an accelerator that computes that alone


class Augment(Enum):
    """Random changes to training images; val and test images never get any."""

    none = "none"
    flip = "flip"  # horizontal flip
    light = "light"  # flip, and a random crop of 80-100 % of the area
    strong = "strong"  # timm's training recipe: random resized crop, flip, colour jitter, RandAugment
    pad_crop = "pad_crop"  # flip, and a random crop after padding by 1/8 of the side (4 pixels at 32)


class Optimizer(Enum):
    """What updates the trainable parameters."""

    adamw = "adamw"
    adam = "adam"
    sgd = "sgd"  # momentum 0.9


class Schedule(Enum):
    """Learning rate after warm-up."""

    held = "held"  # constant for the first third of the epochs, then falls to zero at the last step
    cosine = "cosine"  # falls to zero at the last step
    constant = "constant"
    one_cycle = "one_cycle"  # rises along half a cosine during warm-up, then falls to zero along another


class Adapter(Enum):
    """What is trained inside the frozen blocks, whose own weights stay as they are."""

    none = "none"  # nothing
    norm = "norm"  # scale and shift of normalisation layers; running statistics stay
    bias = "bias"  # every bias
    lora = "lora"  # updates of low rank to linear layers and 1x1 convolutions; merged into them when training is over


class Head(Enum):
    """The new classifier on top of the backbone."""

    linear = "linear"
    mlp = "mlp"  # one hidden ReLU layer of `train.head_hidden` units


class HeadInit(Enum):
    """Where the head's weights start."""

    closed_form = "closed_form"  # multinomial logistic regression on the frozen backbone's features
    random = "random"


class Retry(Enum):
    """Which jobs of an earlier sweep run again although they have a row."""

    none = "none"
    failed = "failed"  # those that did not end well


class Search(Enum):
    """Which of the jobs that the command line spans are run to the end."""

    grid = "grid"  # all
    staged = "staged"  # every backbone is probed; the most promising are trained, in rungs, within a budget


class On(Enum):
    """Where the workers run that a sweep's jobs are done by."""

    here = "here"  # this machine
    slurm = "slurm"  # a Slurm cluster, as an array of jobs
    ray = "ray"  # a Ray cluster


class Features(Enum):
    """What the backbone hands to the head."""

    pooled = "pooled"  # the vector its own classifier saw
    map = "map"  # the last feature map, flattened ("without its top")


class BatchNorm(Enum):
    """What batch-norm layers that are not frozen normalise with while training."""

    auto = "auto"  # fixed for pretrained weights, batch for random ones
    fixed = "fixed"  # the running statistics they came with; their scale and shift are trained
    batch = "batch"  # each batch's own statistics, which also move the running ones


class Metric(StrEnum):
    """What a ranking may optimise and rows have columns for; names as in scikit-learn. Others are a `MetricSpec`."""

    auto = "auto"  # accuracy, or balanced accuracy when classes are imbalanced
    accuracy = "accuracy"
    balanced_accuracy = "balanced_accuracy"
    f1_macro = "f1_macro"
    f1_weighted = "f1_weighted"
    log_loss = "log_loss"  # lower is better; the only one here
    mean_average_precision = "mean_average_precision"  # this and what follows: of several labels an image
    f1_micro = "f1_micro"
    f1_samples = "f1_samples"
    subset_accuracy = "subset_accuracy"


OF_ONE_LABEL = (Metric.accuracy, Metric.balanced_accuracy, Metric.f1_macro, Metric.f1_weighted, Metric.log_loss)
"""Metrics where every image is of exactly one class."""
OF_SEVERAL_LABELS = (
    *(Metric.mean_average_precision, Metric.f1_macro, Metric.f1_micro, Metric.f1_samples, Metric.subset_accuracy),
    Metric.log_loss,
)
"""Metrics where images may have several labels."""


RankMetric = Metric | MetricSpec
"""What a ranking may optimise."""


def rank_metric(text: str, key: str = "rank.metric") -> RankMetric:
    """The metric of a name. Raises ConfigError when there is none, or what has to follow its name is missing or not allowed."""
    names = [metric.value for metric in Metric]
    return Metric(text) if text in names else parse(text, names, key)


class ElpvTask(Enum):
    """What the elpv labels mean."""

    binary = "binary"  # defective when the defect probability is at least 0.5
    levels = "levels"  # the four defect probabilities 0, 1/3, 2/3, 1
    cell_type = "cell_type"  # mono- or polycrystalline


class Layout(Enum):
    """How the folders in `data.root` are read."""

    auto = "auto"  # by their names and what is inside; refused where two readings are possible
    classes = "classes"  # each is a class, whatever it is called and whatever lies in it
    splits = "splits"  # those named train, val and test hold the classes; others are left out


class ElpvCells(Enum):
    """Which elpv cells are used."""

    all = "all"
    mono = "mono"
    poly = "poly"


def _require(is_valid: bool, key: str, value: object, allowed: str) -> None:
    is_endless = isinstance(value, float) and not math.isfinite(value)  # no clock, no table and no optimiser takes it
    if is_endless or not is_valid:
        raise ConfigError(f"{key}={value}: not allowed; give {allowed}.")


def _require_workers(workers: str) -> None:
    is_number = workers.isascii() and workers.isdecimal() and len(workers) < 7 and int(workers) > 0
    _require(is_number or workers == AUTO, "workers", workers, "a number from 1, or auto")


@dataclass
class DataConfig:
    """What every data source understands. Sources with options of their own extend it."""

    name: str = MISSING
    """Label of the data set in rows and default name of the study."""
    source: str = MISSING
    """Which function in `harness/data/sources.py` lists the images."""
    root: str | None = None
    """Folder of the images, or the file of `data=table`; `~` is expanded. None: `<cache_dir>/datasets`."""
    max_images: int | None = 5000
    """At most this many images in all, drawn stratified over classes and splits; None: all."""
    image_size: int | None = None
    """Side in pixels that replaces each backbone's own input size."""
    max_value: float | None = None
    """The value of white in pictures of more than 8 bits; None: 255, 1023, 4095, 16383 or 65535 (floats also 1), the first that holds all."""
    val_frac: float = 0.2
    """Share of the training images that becomes val when the data set has none."""
    test_frac: float = 0.2
    """Share of all images that becomes test when the data set has none; 0: no test split."""
    split_seed: int = 0
    """Decides splits and subsamples; independent of `seed`, so that seeds share one split."""
    drop: str | None = None
    """Table whose column `path` names images to leave out, such as a report's `audit.csv`; None: nothing is left out."""

    def __post_init__(self) -> None:
        _require(self.max_images is None or self.max_images >= 6, "data.max_images", self.max_images, "6 or more, or null for all")
        _require(self.image_size is None or self.image_size >= 16, "data.image_size", self.image_size, "16 or more pixels, or null")
        _require(self.max_value is None or self.max_value > 0, "data.max_value", self.max_value, "a positive number, or null")
        _require(0 < self.val_frac < 1, "data.val_frac", self.val_frac, "a fraction between 0 and 1")
        _require(0 <= self.test_frac < 1, "data.test_frac", self.test_frac, "a fraction from 0 to below 1")
        _require(self.val_frac + self.test_frac < 1, "data.val_frac + data.test_frac", self.val_frac + self.test_frac, "a sum below 1")


@dataclass
class FolderConfig(DataConfig):
    """Options of the user's own folders."""

    layout: Layout = Layout.auto
    """How the folders in `root` are read: as classes, as splits that hold classes, or as their names tell."""


SEPARATOR = "|"
"""What stands between the labels of an image in what is written."""
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")
"""Names of tables end so; a file with another ending that is said to be a table is read as a CSV."""


class Labels(Enum):
    """How many labels an image may have."""

    auto = "auto"  # one; several where a separator is given or cells are lists
    single = "single"
    several = "several"  # an image may also stand on several lines, or have no label


@dataclass
class TableConfig(DataConfig):
    """Options of a table that names the user's images."""

    path_column: str | None = None
    """Column of the files; None: the one called path, image, file, filename or the like."""
    label_column: str | None = None
    """Column of the classes; None: the one called label, class, target or category."""
    split_column: str | None = None
    """Column of the splits; None: the one called split, set, subset or partition, if there is one."""
    group: str | None = None
    """Column that says which images belong together, such as those of a patient: no group is in two splits. None: each image stands for itself."""
    weight: str | None = None
    """Column of numbers, 0 or more, that say how much each image counts in training; scores count each once. None: all count alike."""
    image_root: str | None = None
    """Folder that relative paths are meant from; None: the table's own."""
    labels: Labels = Labels.auto
    """How many labels an image has."""
    label_separator: str | None = None
    """What stands between the labels of an image, such as '|'; None: nothing, a label is the whole cell."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        _require(self.label_separator != "", "data.label_separator", "", "what stands between two labels, such as '|'; or null")
        one = self.labels is Labels.single and self.label_separator is not None
        _require(not one, "data.label_separator", self.label_separator, "no data.labels=single beside it, as it makes labels several")


@dataclass
class HubDataConfig(DataConfig):
    """Options of a data set of the hub, or of a folder that the `datasets` package reads."""

    id: str | None = None
    """ORGANISATION/NAME on the hub, or a folder in one of its layouts."""
    config: str | None = None
    """Which of its configurations; None: its only or default one."""
    revision: str | None = None
    """Branch, tag or commit; None: main. The row says which commit it was."""
    image_column: str | None = None
    """Column of the images; None: the only one that holds images."""
    label_column: str | None = None
    """Column of the classes; None: the only one that names its classes, or the one called label, class, target or category."""
    group: str | None = None
    """Column that says which images belong together, such as those of a patient: no group is in two splits. None: each image stands for itself."""


@dataclass
class ShardsConfig(DataConfig):
    """Options of images in tar files, `KEY.jpg` beside `KEY.cls`."""

    image_column: str | None = None
    """Ending of the images, such as jpg; None: of each sample the only one that is an image's."""
    label_column: str | None = None
    """Ending of the members that hold the class, or a key of `KEY.json`; None: cls, else a key called label, class, target or category, else txt."""
    group: str | None = None
    """Key of `KEY.json` that says which images belong together, such as those of a patient. None: each image stands for itself."""


@dataclass
class ElpvConfig(DataConfig):
    """Options of the solar-cell photographs in the `elpv-dataset` package."""

    task: ElpvTask = ElpvTask.binary
    """What the labels mean."""
    cells: ElpvCells = ElpvCells.all
    """Which cells are used."""


@dataclass
class TorchvisionConfig(DataConfig):
    """Options of torchvision's classification sets."""

    download: bool = True
    """Fetch the data set when it is not on disk; False: say what is missing instead."""


MIN_EPOCHS, MAX_EPOCHS = 3, 20
"""Of a recipe that does not say how many."""

_ADDED = "added"


def _added(default: Any) -> Any:
    """A setting that came after the first rows: at its default it is left out of recipes, so that older jobs keep their ids."""
    return field(default=default, metadata={_ADDED: True})


@dataclass
class TrainConfig:
    """One training recipe. Two jobs with equal recipes, candidates and seeds are the same job."""

    name: str = "short"
    """Name of the recipe in rows; a file in `conf/train/`."""
    epochs: int | None = None
    """None: as many as `min_steps` takes, from 3 to 20. A closed-form head on a wholly frozen backbone needs none."""
    min_steps: int = 200
    """Steps of the first phase that `epochs=null` sees to: on few images an epoch is a few steps only."""
    batch_size: int = 32
    """Images per step."""
    optimizer: Optimizer = Optimizer.adamw
    """What updates the trainable parameters."""
    lr: float = 3e-4
    """Peak learning rate, which `lr_search` multiplies."""
    lr_search: list[float] = field(default_factory=lambda: [0.3, 1.0, 3.0])
    """Every candidate tries `lr` times each of these in a short training of its own, and then trains at the best on val; one value: no search."""
    layer_decay: float = 1.0
    """Block b, counted from the output, learns at `lr` times this to the power of b; the head (0) at `lr`. 1: all alike."""
    weight_decay: float = 0.01
    """Weight decay of the optimizer."""
    schedule: Schedule = Schedule.held
    """Learning rate after warm-up."""
    warmup_frac: float = 0.1
    """Share of all steps over which the learning rate rises from zero."""
    head: Head = Head.linear
    """The new classifier on top of the backbone."""
    head_hidden: int = 256
    """Hidden units of `head=mlp`."""
    head_init: HeadInit = HeadInit.closed_form
    """Where the head starts."""
    features: Features = Features.pooled
    """What the backbone hands to the head."""
    augment: Augment = Augment.none
    """Random changes to training images."""
    views: int = 1
    """Augmented views of each training image that are cached and drawn from; 1: every epoch makes new ones and nothing is cached."""
    batch_norm: BatchNorm = BatchNorm.auto
    """What batch-norm layers that are not frozen normalise with while training."""
    class_weights: bool = False
    """Weigh each class by the inverse of its frequency in train, in the loss and in the closed-form head."""
    label_smoothing: float = 0.0
    """Share of every target that goes to all classes alike; a closed-form head is solved without."""
    release: str | None = None
    """Freeze depth of a second phase, as `freeze`; None: one phase."""
    release_epochs: int = 0
    """Epochs of the second phase."""
    release_lr: float = 1e-5
    """Peak learning rate of the second phase."""
    lora_rank: int = _added(8)
    """Rank of the updates of `adapter=lora`."""
    mixup: float = _added(0.0)
    """Each image of a batch is blended with another by a share from Beta(a, a), and so are their classes; this is a. 0: not at all."""
    cutmix: float = _added(0.0)
    """A rectangle of each image is replaced by that of another, its area by a share from Beta(a, a); this is a. 0: not at all."""
    clip_grad: float | None = _added(None)
    """Largest norm of the gradients of a step; larger ones are scaled down to it. None: any."""
    ema: float = _added(0.0)
    """Decay of a moving average over the weights of all steps, which is what is evaluated and kept. 0: the weights themselves."""

    @property
    def recorded(self) -> dict[str, Any]:
        """Every setting, but for those that were added later and are at their default."""
        found = {each: getattr(self, each.name) for each in fields(self)}
        return {each.name: value for each, value in found.items() if _ADDED not in each.metadata or value != each.default}

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def shows_new_images(self) -> bool:
        """Whether every epoch trains on images that none before it had, so that cached activations are of no use to it."""
        return self.mixes or (self.augment is not Augment.none and self.views == 1)

    @property
    def num_epochs(self) -> int:
        """Of the first phase, once it is known how many images there are (`with_epochs`)."""
        assert self.epochs is not None
        return self.epochs

    def with_epochs(self, num_train: int) -> "TrainConfig":
        """The same recipe with its number of epochs for so many train images."""
        if self.epochs is not None:
            return self
        steps = max(1, num_train // self.batch_size)
        return replace(self, epochs=min(max(-(-self.min_steps // steps), MIN_EPOCHS), MAX_EPOCHS))

    def __post_init__(self) -> None:
        _require(
            self.epochs is None or self.epochs >= 0, "train.epochs", self.epochs, "0 or more, or null for as many as train.min_steps takes"
        )
        _require(self.min_steps >= 0, "train.min_steps", self.min_steps, "0 or more")
        _require(
            self.epochs != 0 or self.head_init is HeadInit.closed_form,
            "train.epochs",
            self.epochs,
            "1 or more, or train.head_init=closed_form",
        )
        _require(self.batch_size >= 2, "train.batch_size", self.batch_size, "2 or more")
        _require(self.lr > 0, "train.lr", self.lr, "a positive number")
        _require(
            len(set(self.lr_search)) == len(self.lr_search) > 0 and all(0 < rate < math.inf for rate in self.lr_search),
            "train.lr_search",
            self.lr_search,
            "one or more different positive factors, such as [0.3,1,3]",
        )
        _require(self.release_lr > 0, "train.release_lr", self.release_lr, "a positive number")
        _require(0 < self.layer_decay <= 1, "train.layer_decay", self.layer_decay, "a fraction above 0, at most 1")
        _require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "0 or more")
        _require(0 <= self.warmup_frac < 1, "train.warmup_frac", self.warmup_frac, "a fraction from 0 to below 1")
        _require(0 <= self.label_smoothing < 1, "train.label_smoothing", self.label_smoothing, "a fraction from 0 to below 1")
        _require(self.head_hidden >= 1, "train.head_hidden", self.head_hidden, "1 or more")
        _require(self.views >= 1, "train.views", self.views, "1 or more")
        _require(
            self.views == 1 or self.augment is not Augment.none,
            "train.views",
            self.views,
            "1, or train.augment=flip, light, strong or pad_crop",
        )
        _require(self.lora_rank >= 1, "train.lora_rank", self.lora_rank, "1 or more")
        _require(self.mixup >= 0, "train.mixup", self.mixup, "0 or more")
        _require(self.cutmix >= 0, "train.cutmix", self.cutmix, "0 or more")
        _require(self.views == 1 or not self.mixes, "train.views", self.views, "train.views=1 with train.mixup or train.cutmix")
        _require(self.clip_grad is None or self.clip_grad > 0, "train.clip_grad", self.clip_grad, "a positive number, or null")
        _require(0 <= self.ema < 1, "train.ema", self.ema, "a fraction from 0 to below 1")
        _require(
            (self.release is None) == (self.release_epochs == 0),
            "train.release_epochs",
            self.release_epochs,
            "train.release and a positive train.release_epochs together, or neither",
        )
        _require(
            self.head is Head.linear or self.head_init is HeadInit.random,
            "train.head_init",
            self.head_init.value,
            "train.head_init=random with train.head=mlp (only a linear head has a closed form)",
        )


@dataclass(frozen=True, slots=True)
class ScoreLimit:
    """How good a candidate's score has to be by some metric."""

    metric: RankMetric
    """By which candidates are scored."""
    limit: float
    """The lowest score that is accepted, or the highest where lower is better."""

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.metric.value}{'>=' if is_higher_better(self.metric) else '<='}{self.limit:g}"


def score_limit(text: str) -> ScoreLimit:
    """The limit that a text states. Raises ConfigError."""
    found = re.fullmatch(r"(.+?)\s*(>=|<=)\s*([-+.\de]+)", text.strip(), re.DOTALL)
    number = _number(found[3]) if found else None
    if found is None or number is None:
        raise ConfigError(f"rank.limits={text}: not allowed; rank.limits takes METRIC>=NUMBER, such as recall:malignant>=0.9.")
    metric = rank_metric(found[1], "rank.limits")
    wanted = ">=" if is_higher_better(metric) else "<="
    if metric is Metric.auto or found[2] != wanted:
        why = "name the metric" if metric is Metric.auto else f"{'higher' if wanted == '>=' else 'lower'} is better there"
        raise ConfigError(
            f"rank.limits={text}: not allowed; {why}, as in '{Metric.accuracy if metric is Metric.auto else metric.value}{wanted}{found[3]}'."
        )
    return ScoreLimit(metric, number)


def is_higher_better(metric: RankMetric) -> bool:
    """All but log loss and costs are."""
    return metric is not Metric.log_loss if isinstance(metric, Metric) else metric.is_higher_better


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass
class RankConfig:
    """What the report optimises and what it must respect. None: no limit."""

    metric: str = Metric.auto.value
    """What the ranking optimises."""
    costs: str | None = None
    """CSV of what a decision costs, by true class (rows) and by the class that an image is called (columns): for `metric=expected_cost`."""
    limits: list[str] = field(default_factory=list)
    """Lowest scores that are accepted, such as recall:malignant>=0.9; highest costs or log losses with <=."""
    max_latency_ms: float | None = None
    """Upper limit of the median latency at batch 1."""
    max_params_m: float | None = None
    """Upper limit of the parameters, in millions."""
    max_gmacs: float | None = None
    """Upper limit of the multiply-adds of one image, in 10^9."""
    max_peak_mem_mib: float | None = None
    """Upper limit of the memory that a job took, in MiB."""
    max_weights_mib: float | None = None
    """Upper limit of the size on disk, in MiB."""
    max_train_min: float | None = None
    """Upper limit of the minutes that training a candidate took."""
    confidence: float = 0.95
    """Confidence of intervals and of the tied set."""
    num_resamples: int = 2000
    """Bootstrap resamples."""
    equivalence_frac: float = 0.01
    """Scores that differ by less than this are as good as equal to the user."""
    points_per_doubling: float | None = None
    """Points (hundredths) of the score that half the latency is worth; 0: the score alone counts. None: 0.5, or 0 where `max_latency_ms` is
    given, as latency within a limit is free unless it is priced as well."""

    def __post_init__(self) -> None:
        _require(
            bool(self.metric),
            "rank.metric",
            self.metric,
            "auto, accuracy, balanced_accuracy, f1_macro, f1_weighted, log_loss, roc_auc, average_precision, top3_accuracy, matthews_corrcoef, "
            "cohen_kappa, fbeta@beta=2, recall:CLASS, precision:CLASS, f1:CLASS, sensitivity@specificity=0.95:CLASS or expected_cost",
        )
        self.metric = rank_metric(self.metric).value
        self.costs = None if self.costs is None else str(Path(self.costs).expanduser().resolve())
        self.limits = [score_limit(text).text for text in self.limits]
        needs_costs = "expected_cost" in (self.metric, *(score_limit(text).metric.value for text in self.limits))
        _require(
            self.costs is not None or not needs_costs,
            "rank.metric",
            "expected_cost",
            "rank.costs=FILE with it, a CSV of what a decision costs: true classes in rows, classes that an image is called in columns",
        )
        _require(
            self.max_latency_ms is None or self.max_latency_ms > 0,
            "rank.max_latency_ms",
            self.max_latency_ms,
            "a positive number, or null for no limit",
        )
        _require(
            self.max_params_m is None or self.max_params_m > 0,
            "rank.max_params_m",
            self.max_params_m,
            "a positive number, or null for no limit",
        )
        _require(self.max_gmacs is None or self.max_gmacs > 0, "rank.max_gmacs", self.max_gmacs, "a positive number, or null for no limit")
        _require(
            self.max_peak_mem_mib is None or self.max_peak_mem_mib > 0,
            "rank.max_peak_mem_mib",
            self.max_peak_mem_mib,
            "a positive number, or null for no limit",
        )
        _require(
            self.max_weights_mib is None or self.max_weights_mib > 0,
            "rank.max_weights_mib",
            self.max_weights_mib,
            "a positive number, or null for no limit",
        )
        _require(
            self.max_train_min is None or self.max_train_min > 0,
            "rank.max_train_min",
            self.max_train_min,
            "a positive number, or null for no limit",
        )
        _require(0.5 <= self.confidence < 1, "rank.confidence", self.confidence, "a fraction from 0.5 to below 1")
        _require(self.num_resamples >= 200, "rank.num_resamples", self.num_resamples, "200 or more")
        _require(0 < self.equivalence_frac < 1, "rank.equivalence_frac", self.equivalence_frac, "a fraction between 0 and 1")
        _require(
            self.points_per_doubling is None or self.points_per_doubling >= 0,
            "rank.points_per_doubling",
            self.points_per_doubling,
            "0 or more points, or null for the default",
        )


class Variant(Enum):
    """Other ways of computing inference, timed beside plain float32 when asked for."""

    bfloat16 = "bfloat16"  # autocast
    compile = "compile"  # torch.compile

    @property
    def column(self) -> str:
        """Where a row has its latency."""
        return f"latency_ms_{self.value}"


@dataclass
class MeasureConfig:
    """How long the models of a study are timed, in turn, when its jobs are done."""

    warm_up_s: float = 0.5
    """Each model is called at most so long until its times agree, before timing begins."""
    timing_s: float = 1.0
    """Of each model: time of single images, and half as long of batches."""
    variants: list[Variant] = field(default_factory=list)
    """Ways of computing whose latency is measured as well: bfloat16, compile."""

    def __post_init__(self) -> None:
        _require(self.warm_up_s >= 0, "measure.warm_up_s", self.warm_up_s, "0 or more seconds")
        _require(self.timing_s >= 0, "measure.timing_s", self.timing_s, "0 or more seconds")


@dataclass
class StoreConfig:
    """Cached activations of frozen layers, in `<cache_dir>/features`, for other jobs and later sweeps."""

    max_gib: float = 20.0
    """Least recently used entries make room for new ones; 0: no cache."""
    shared: str | None = None
    """Where other machines find them too, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER; None: they stay on this machine."""

    def __post_init__(self) -> None:
        _require(self.max_gib >= 0, "store.max_gib", self.max_gib, "0 or more GiB")
        if self.shared is not None:
            require_store("store.shared", self.shared)


@dataclass
class JobConfig:
    """What one job may take; over a limit it is ended and becomes a row that says so."""

    timeout_minutes: float | None = None
    """None: as long as it takes."""
    stall_minutes: float | None = 15.0
    """Without a sign of life, such as one more batch; None: for ever."""
    memory_gib: float | None = None
    """Of its process and its helpers; None: nearly all that the machine has."""
    snapshot_minutes: float | None = 5.0
    """How far a training came is kept after an epoch when this long has passed, so that whoever takes the job up goes on from there; None: never."""
    price_per_hour: float | None = None
    """What an hour of this machine costs, in any currency, for the column `cost`; None: not known."""

    def __post_init__(self) -> None:
        _require(
            self.timeout_minutes is None or self.timeout_minutes > 0,
            "job.timeout_minutes",
            self.timeout_minutes,
            "a positive number, or null",
        )
        _require(
            self.stall_minutes is None or self.stall_minutes > 0, "job.stall_minutes", self.stall_minutes, "a positive number, or null"
        )
        _require(self.memory_gib is None or self.memory_gib > 0, "job.memory_gib", self.memory_gib, "a positive number, or null")
        _require(
            self.snapshot_minutes is None or self.snapshot_minutes >= 0, "job.snapshot_minutes", self.snapshot_minutes, "0 or more, or null"
        )
        _require(self.price_per_hour is None or self.price_per_hour >= 0, "job.price_per_hour", self.price_per_hour, "0 or more, or null")


@dataclass
class BudgetConfig:
    """How much time a staged search may take, probes included."""

    minutes: float | None = None
    """From the start of the command to the report; None: `share` alone decides."""
    share: float | None = None
    """Of the predicted time of the whole grid; None, without minutes: a third, and small or quick grids are trained whole."""

    def __post_init__(self) -> None:
        _require(self.minutes is None or self.minutes > 0, "budget.minutes", self.minutes, "a positive number, or null")
        _require(self.share is None or 0 < self.share <= 1, "budget.share", self.share, "a fraction above 0, at most 1, or null")


@dataclass
class EvidenceConfig:
    """How long fine-tunes that may be the best are cross-fitted, fold by fold, once the jobs of a sweep are done."""

    minutes: float | None = None
    """Of each study. None: a third of the work that the jobs did; 0: not at all."""

    def __post_init__(self) -> None:
        _require(
            self.minutes is None or self.minutes >= 0,
            "evidence.minutes",
            self.minutes,
            "0 or more, or null for a third of the work of the jobs",
        )


class Keep(Enum):
    """Whose models stay in the study: everything that training changed, so that they can be used."""

    tied = "tied"  # those that may be recommended, and every head: they are small
    all = "all"  # every good job's
    none = "none"  # nobody's


class RefitOn(Enum):
    """What a recommended candidate is trained on again."""

    train_val = "train_val"  # train and val; test stays what its score is of
    all = "all"  # every labelled image: nothing is left to score it on


@dataclass
class ModelConfig:
    """Models that can be used after the sweep: `harness predict` and `harness export` take them."""

    keep: Keep = Keep.tied
    """Whose models stay in `models/` of the study."""


WARNED_MINUTES = 2.0
"""Before the end of its time a worker on Slurm is told to stop."""


@dataclass
class SlurmConfig:
    """What each worker of `on=slurm` is given."""

    gpus_per_task: int = 0
    """Accelerators of each worker; with 0, `device=auto` means the processor."""
    cpus_per_task: int = 1
    """Cores of each worker."""
    memory_gib: float | None = None
    """Memory of each worker; None: the cluster's default."""
    time_minutes: int | None = None
    """After so long a worker stops and is put back into the queue; a job may take two minutes less. None: the partition's limit."""
    partition: str | None = None
    """Where Slurm runs them; None: its default partition."""
    account: str | None = None
    """Whom Slurm charges; None: the user's default account."""
    qos: str | None = None
    """Quality of service; None: the default one."""
    setup: list[str] = field(default_factory=list)
    """Shell commands before a worker starts, such as module load cuda."""
    options: list[str] = field(default_factory=list)
    """Further options of sbatch, such as --constraint=a100."""

    def __post_init__(self) -> None:
        _require(self.gpus_per_task >= 0, "slurm.gpus_per_task", self.gpus_per_task, "0 or more")
        _require(self.cpus_per_task >= 1, "slurm.cpus_per_task", self.cpus_per_task, "1 or more")
        _require(self.memory_gib is None or self.memory_gib > 0, "slurm.memory_gib", self.memory_gib, "a positive number, or null")
        _require(self.time_minutes is None or self.time_minutes >= 3, "slurm.time_minutes", self.time_minutes, "3 or more, or null")
        strange = next((option for option in self.options if not option.startswith("-")), None)
        _require(strange is None, "slurm.options", strange, "options as sbatch takes them, such as --constraint=a100,--exclusive")


@dataclass
class RayConfig:
    """What each worker of `on=ray` is given, and by which cluster."""

    address: str = "auto"
    """HOST:PORT of a Ray cluster; auto: the one that this machine belongs to, or that RAY_ADDRESS names; local: one that lives as long as the command."""
    num_gpus: float = 0.0
    """Accelerators of each worker, or the part of one; with 0, `device=auto` means the processor."""
    num_cpus: float = 1.0
    """Cores of each worker, as Ray counts them."""

    def __post_init__(self) -> None:
        _require(bool(self.address), "ray.address", self.address, "HOST:PORT, auto or local")
        _require(self.num_gpus >= 0, "ray.num_gpus", self.num_gpus, "0 or more")
        _require(self.num_cpus > 0, "ray.num_cpus", self.num_cpus, "a positive number")


class Language(Enum):
    """Languages of the report; numbers, names and commands are the same in each."""

    en = "en"  # English
    zh = "zh"  # Chinese


@dataclass
class ReportPageConfig:
    """What the page of the report shows."""

    language: Language = Language.en
    """What the page, the Markdown file and the summary on the terminal are written in."""

    live: bool = True
    """Whether the report is written while the sweep runs, with what is known so far; a page that reloads itself."""
    images: bool = True
    """Whether small pictures of images of val and train are inside the page, and kept in the study for it; false: neither."""


class Track(Enum):
    """Experiment trackers: where rows go besides the study."""

    mlflow = "mlflow"  # the server in MLFLOW_TRACKING_URI
    tensorboard = "tensorboard"  # event files in `tensorboard/` of the study
    wandb = "wandb"  # Weights & Biases, by its own variables such as WANDB_MODE=offline


_HUB_REVISION = re.compile(r"hf[-_]hub:(?!timm/)[^@]+@(?!random$)[^@]+", re.IGNORECASE)


def name_and_weights(typed: str) -> tuple[str, str]:
    """The two parts of `name@weights`, the second empty where it is not there. In `hf-hub:ORG/NAME@REVISION` the revision is part of the name."""
    found = _HUB_REVISION.match(typed)
    name = found.group() if found else typed.partition("@")[0]
    return name, typed[len(name) + 1 :]


@dataclass
class SweepConfig:
    """One job, as Hydra composes it from a sweep's command line."""

    backbone: str = MISSING
    """What to build; `name@random` and `name@checkpoint.pth` set `weights` for this one alone."""
    blocks: str | None = None
    """Modules that freeze depths count, as a pattern such as 'layers.*' or a regular expression. None: they are found."""
    freeze: str = "all"
    """How much is frozen: all, none, a fraction of the blocks from the input (0.5), or minus the blocks left free (-4)."""
    adapter: Adapter = Adapter.none
    """What is trained inside the frozen blocks."""
    seed: int = 0
    """Decides the order of batches, augmentation and random weights."""
    weights: str = "pretrained"
    """`pretrained`, `random`, or the path of a checkpoint file."""
    data: DataConfig = MISSING
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    rank: RankConfig = field(default_factory=RankConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    search: Search = Search.grid
    """Which of the jobs that the command line spans are run to the end."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    report: ReportPageConfig = field(default_factory=ReportPageConfig)
    study: str = "${data.name}"
    """Name of the folder of results below `results_dir`."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    cache_dir: str = "~/.cache/model-selection-harness"
    """Folder of downloaded data and cached activations."""
    device: str = Device.auto.value
    """Where a job computes; rows say nothing of an index."""
    precision: Precision = Precision.auto
    """Arithmetic of passes through the model."""
    on: On = On.here
    """Where the workers run that jobs are done by."""
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    job: JobConfig = field(default_factory=JobConfig)
    workers: str = "1"
    """How many jobs run at once on this machine, each on its own accelerator or its own cores; auto: one for each accelerator, or for four cores."""
    retry: Retry = Retry.none
    """Which jobs of an earlier sweep run again although they have a row."""
    track: list[Track] = field(default_factory=list)
    """Experiment trackers that rows, curves, the report and the recommended model are logged to: mlflow, tensorboard, wandb, several or none."""

    def __post_init__(self) -> None:
        if self.on is On.slurm and self.slurm.time_minutes is not None:
            # A job that takes longer than its worker has would be begun anew for ever.
            self.job.timeout_minutes = min(self.job.timeout_minutes or math.inf, self.slurm.time_minutes - WARNED_MINUTES)
        self.backbone, own_weights = name_and_weights(self.backbone)
        self.weights = own_weights or self.weights
        _require(is_device(self.device), "device", self.device, "one of auto, cpu, cuda, mps, or cuda:INDEX such as cuda:1")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")
        _require(
            is_study_name(self.study),
            "study",
            repr(self.study),
            "one folder name: letters, digits, '_', '.' and '-' but not in front, at most 200 bytes",
        )
        is_weighted = isinstance(self.data, TableConfig) and self.data.weight is not None
        _require(
            not is_weighted or not self.train.mixes,
            "data.weight",
            getattr(self.data, "weight", None),
            "it without train.mixup and train.cutmix, as images that are mixed have no weight",
        )
        _require_workers(self.workers)
        self._require_own_drop()

    def _require_own_drop(self) -> None:
        """What the sweep writes anew at its end would name other images the next time."""
        if not isinstance(self.data, DataConfig) or self.data.drop is None:
            return
        drop = Path(self.data.drop).expanduser().absolute()
        if self.study_dir.absolute() in drop.parents:
            raise ConfigError(
                f"data.drop={self.data.drop}: lies in the study that this sweep writes; copy it elsewhere and give the copy, or another study=NAME."
            )

    @property
    def study_dir(self) -> Path:
        """Where this study's rows, predictions and report live."""
        return local_folder(self.results_dir) / self.study


@dataclass
class ReportConfig:
    """What the report command reads."""

    study: str | None = None
    """Several with commas between them are compared. None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    table: str | None = None
    """Path of a `results.parquet`, of one study or of many put together, to rank by its columns alone; None: a study's report."""
    protocol: str | None = None
    """Which rows are ranked, where a study holds several kinds that do not compare: a protocol, or the start of its name. None: that of the last sweep."""
    rank: RankConfig = field(default_factory=RankConfig)
    report: ReportPageConfig = field(default_factory=ReportPageConfig)

    def __post_init__(self) -> None:
        _require(self.table is None or self.study is None, "table", self.table, "either study or table, not both")
        _require(self.table is None or self.protocol is None, "protocol", self.protocol, "protocol with a study; a table is ranked whole")
        several = self.study is not None and "," in self.study
        _require(
            not several or self.protocol is None, "protocol", self.protocol, "protocol with one study; of several each is ranked by its own"
        )


@dataclass
class VerifyConfig:
    """What the verify command checks."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    cache_dir: str = "~/.cache/model-selection-harness"
    """Folder of downloaded data and cached activations."""


@dataclass
class WorkConfig:
    """What the work command reads."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies."""
    workers: str = "1"
    """How many jobs run at once on this machine, each on its own accelerator or its own cores; auto: one for each accelerator, or for four cores."""
    patience_minutes: float | None = 5.0
    """After so long with nothing to do, as others are at what is left, it ends; null: when all is done."""

    def __post_init__(self) -> None:
        _require_workers(self.workers)
        _require(
            self.patience_minutes is None or self.patience_minutes >= 0, "patience_minutes", self.patience_minutes, "0 or more, or null"
        )


@dataclass
class FollowConfig:
    """What the follow command reads."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies."""
    cancel: bool = False
    """End the workers instead; what is finished stays."""


@dataclass
class RetimeConfig:
    """What the retime command reads."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    rank: RankConfig = field(default_factory=RankConfig)
    report: ReportPageConfig = field(default_factory=ReportPageConfig)


@dataclass
class PredictConfig:
    """What the predict command reads."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    folder: str | None = None
    """An exported folder, instead of a study."""
    images: str | None = None
    """A folder, a pattern such as 'new/*.png', or a table with a column `path`."""
    path_column: str | None = None
    """Column of that table; None: the one called path, image, file, filename or the like."""
    label_column: str | None = None
    """Its column of classes, which are scored; None: the one called label, class, target or category, if there is one."""
    group: str | None = None
    """Its column that says which images belong together, such as those of a patient; the interval of the score draws these."""
    label_separator: str = SEPARATOR
    """What stands between the labels of an image in that table, where a model knows several."""
    candidate: str | None = None
    """Whose model: a name of the report's table such as 'resnet50 0.5', or a job's id. None: the recommended."""
    protocol: str | None = None
    """As in the report."""
    refit: bool | None = None
    """Whether its model of `harness refit` is used. None: where there is one."""
    to: str = "predictions.csv"
    """File of the answers: .csv or .parquet."""
    metric: str | None = None
    """What the model is scored by on images whose labels are known, as `rank.metric`. None: what its study's training chose by."""
    costs: str | None = None
    """CSV of what a decision costs, as `rank.costs`, with metric=expected_cost: each image is called the class with the lowest cost to be expected."""
    device: str = Device.auto.value
    """Where the network computes."""

    def __post_init__(self) -> None:
        _require(is_device(self.device), "device", self.device, "one of auto, cpu, cuda, mps, or cuda:INDEX such as cuda:1")
        _require(
            self.folder is None or (not any((self.study, self.candidate, self.protocol)) and self.refit is None),
            "folder",
            self.folder,
            "folder alone, without study, candidate, protocol and refit",
        )
        metric = None if self.metric is None else rank_metric(self.metric, "metric")
        has_costs = metric is not None and metric.value == "expected_cost"
        _require(metric is not Metric.auto, "metric", self.metric, "another one, or null for what its study's training chose by")
        _require(has_costs == (self.costs is not None), "costs", self.costs, "metric=expected_cost and costs=FILE together, or neither")


class Quantize(Enum):
    """Smaller numbers in a second ONNX file."""

    none = "none"
    dynamic = "dynamic"  # 8-bit weights; ranges of activations are measured while it runs
    static = "static"  # 8-bit weights and activations, whose ranges are those of train images


EXPORT_FORMATS = ("timm", "onnx", "torch_export")


@dataclass
class ExportConfig:
    """What the export command reads."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    candidate: str | None = None
    """Whose model: a name of the report's table such as 'resnet50 0.5', or a job's id. None: the recommended."""
    protocol: str | None = None
    """As in the report."""
    refit: bool | None = None
    """Whether its model of `harness refit` is meant. None: where there is one."""
    to: str | None = None
    """Folder to write. None: export/<candidate> of the study."""
    formats: str | None = None
    """Of timm, onnx and torch_export, separated by commas. None: all that can hold the model."""
    quantize: Quantize = Quantize.none
    """A second ONNX file in 8-bit numbers, with what it loses."""

    def __post_init__(self) -> None:
        _require(
            not set(self.asked_formats) - set(EXPORT_FORMATS) and self.formats != "",
            "formats",
            self.formats,
            f"{', '.join(EXPORT_FORMATS)}, or several of them separated by commas",
        )
        _require(
            self.quantize is Quantize.none or "onnx" in self.asked_formats,
            "quantize",
            self.quantize.value,
            "quantize with formats=onnx, or none",
        )

    @property
    def asked_formats(self) -> list[str]:
        """Names of the formats that are wanted."""
        return list(EXPORT_FORMATS) if self.formats is None else [name.strip() for name in self.formats.strip("[]").split(",")]


@dataclass
class PushConfig:
    """What the push command reads."""

    to: str | None = None
    """Repository of the model hub, as ORGANISATION/NAME."""
    folder: str | None = None
    """What `python -m harness.export` wrote. None: the only export of the study."""
    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    private: bool = True
    """Whether a repository that is made for it is open to its owner only."""


@dataclass
class RefitConfig:
    """What the refit command reads."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    candidate: str | None = None
    """Who is trained again: a name of the report's table such as 'resnet50 0.5', or a job's id. None: the recommended."""
    protocol: str | None = None
    """As in the report."""
    on: RefitOn = RefitOn.train_val
    """The images that it is trained on."""


@dataclass
class LogConfig:
    """What the log command reads."""

    study: str | None = None
    """None: the study that a sweep was at last."""
    results_dir: str = "results"
    """Folder of all studies, or its address in a store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."""
    to: list[Track] = field(default_factory=list)
    """Where to: mlflow, tensorboard, wandb, or several of them."""
    protocol: str | None = None
    """As in the report: whose recommended model is registered. All rows are logged."""


MAX_STUDY_NAME_BYTES = 200
"""File systems take 255 for a name."""


def is_study_name(name: str) -> bool:
    """Whether `name` is a plain folder name, so that a study can never lie outside `results_dir`, nor be an option to a shell command."""
    is_plain = bool(name) and not name.startswith((".", "-")) and all(c.isalnum() or c in "._-" for c in name)
    return is_plain and len(name.encode()) <= MAX_STUDY_NAME_BYTES


DATA_SCHEMAS: Mapping[str, type[DataConfig]] = {
    "folder": FolderConfig,
    "table": TableConfig,
    "hf": HubDataConfig,
    "webdataset": ShardsConfig,
    "elpv": ElpvConfig,
    "torchvision": TorchvisionConfig,
}
"""Source -> its options, where it has some of its own."""


def register() -> None:
    """Make the dataclasses known to Hydra as the schemas that files in `conf/` extend."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    schemas: list[tuple[str | None, str, Any]] = [
        (None, "sweep_schema", SweepConfig),
        (None, "report_schema", ReportConfig),
        (None, "verify_schema", VerifyConfig),
        (None, "retime_schema", RetimeConfig),
        (None, "work_schema", WorkConfig),
        (None, "follow_schema", FollowConfig),
        (None, "predict_schema", PredictConfig),
        (None, "export_schema", ExportConfig),
        (None, "push_schema", PushConfig),
        (None, "refit_schema", RefitConfig),
        (None, "log_schema", LogConfig),
        ("data", "data_schema", DataConfig),
        *(("data", f"{source}_schema", schema) for source, schema in DATA_SCHEMAS.items()),
        ("train", "train_schema", TrainConfig),
    ]
    for group, name, node in schemas:
        store.store(group=group, name=name, node=node)
