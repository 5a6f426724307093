"""Entry: `python -m harness.predict study=lesions images=~/new` has the recommended model of a study say what new images show."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from harness.cli import command
from harness.compute.idle_threads import wait_briefly
from harness.config import Metric, Precision, PredictConfig, RankMetric, rank_metric
from harness.errors import ConfigError
from harness.files import local_folder
from harness.study.store import find_study
from harness.text.commands import runnable
from harness.text.counts import counted
from harness.text.untrusted import one_line

if TYPE_CHECKING:
    from harness.models.judged import Judged
    from harness.models.model import Model
    from harness.study.model_file import ModelHeader

MAX_NAMED = 5
"""Unreadable files that are named on the terminal."""


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="predict", schema=PredictConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(PredictConfig):
        command.stay()
        run(command.typed(cfg, PredictConfig))


def run(cfg: PredictConfig) -> int:
    """Predict images and write the table.

    Returns:
        0, also when some images could not be read: they are named and left out.

    Raises:
        ConfigError: there are no such images, or none of them can be read.
        TableError: there is no such study, candidate or model, or the folder is no export.
        BackboneError: the base weights are not here, or are others.
    """
    wait_briefly()
    from harness.models.new_images import NewColumns, list_images
    from harness.models.table import counts, judge, require_suffix, to_frame, write

    if cfg.images is None:
        raise ConfigError("images=: give a folder, a pattern such as 'new/*.png', or a table with a column path.")
    to = Path(cfg.to).expanduser()
    require_suffix(to)
    name, model = _model(cfg)
    metric = _metric(cfg, model)
    columns = NewColumns(cfg.path_column, cfg.label_column, cfg.group, cfg.label_separator)
    listed = list_images(cfg.images, model.header.max_values, model.class_names, columns)
    predicted = model.predict(listed.images)
    if not len(predicted.places_N):
        raise ConfigError(
            f"images={cfg.images}: none of {counted(len(listed.images), 'image')} can be read; the first: {predicted.unreadable[0]}."
        )
    frame = to_frame(model, listed, predicted, metric)
    write(frame, to)
    _say(f"{name}: {counted(len(frame), 'image')} -> {to}")
    _say(
        ", ".join(
            f"{name} {number:,}" for name, number in counts(frame, model.class_names, is_several=bool(model.header.thresholds)).items()
        )
    )
    if unreadable := predicted.unreadable:
        more = f"; and {len(unreadable) - MAX_NAMED} more" if len(unreadable) > MAX_NAMED else ""
        _say(f"Left out, as they cannot be read: {'; '.join(unreadable[:MAX_NAMED])}{more}.")
    if judged := judge(model, listed, predicted, metric):
        _say(_score(judged))
    return 0


def _model(cfg: PredictConfig) -> tuple[str, "Model"]:
    """The model that is meant and what it is called: of a study, or of an exported folder."""
    from harness.compute.runtime import runtime_of
    from harness.models.choose import choose, ranked
    from harness.models.load import load_model
    from harness.models.load_export import load_export
    from harness.study.models import Models

    runtime = runtime_of(cfg.device, Precision.float32)
    if cfg.folder is not None:
        model = load_export(Path(cfg.folder).expanduser(), runtime)
        return f"{model.header.backbone} {model.header.strategy} in {cfg.folder}{_refitted(model.header)}", model
    study = find_study(local_folder(cfg.results_dir), cfg.study)
    chosen = choose(ranked(study, cfg.protocol), cfg.candidate)
    file = chosen.model(Models(study), refitted=cfg.refit)
    return f"{chosen.label} of study {study.name}{_refitted(file.header)}", load_model(file, runtime)


def _metric(cfg: PredictConfig, model: "Model") -> RankMetric:
    """What the model is scored by. Raises ConfigError when it does not fit the classes."""
    from harness.measure.binding import bound, require_kind

    own = Metric(model.header.metric)
    if cfg.metric is None:
        return own
    asked = rank_metric(cfg.metric, "metric")
    require_kind(asked, is_several=bool(model.header.thresholds), key="metric")
    return bound(asked, model.class_names, own, cfg.costs)


def _refitted(header: "ModelHeader") -> str:
    """What must be known where a score is read: images that were trained on are no test."""
    on = {"train_val": "train and val", "all": "train, val and test"}.get(header.trained_on)
    return f" (trained again on its {on}, no images to test it on)" if on else ""


def _score(judged: "Judged") -> str:
    from harness.reporting import formats
    from harness.reporting.wording import metric_name

    images, metric = counted(judged.num_images, "image"), metric_name(judged.metric)
    if judged.score is None or judged.interval is None:
        return f"Against the labels given for {images}: {metric} has no value ({judged.reason})."
    drawn = "" if judged.num_groups is None else f", which draws {counted(judged.num_groups, 'group')}"
    return (
        f"Against the labels given for {images}: {formats.score(judged.metric, judged.score)} {metric}; likely from "
        f"{formats.score_range(judged.metric, judged.interval)} (95 % interval{drawn})."
    )


def _say(text: str) -> None:
    print(one_line(runnable(text)), flush=True)


if __name__ == "__main__":
    main()
