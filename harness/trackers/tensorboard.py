"""TensorBoard: a folder per job in `tensorboard/` of the study, with the curves, every number of the row, and its parameters as hparams.

Written as bytes of event files, whole or not at all; neither torch nor TensorFlow takes part.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from harness.files import write_durably
from harness.study.store import Study
from harness.trackers.events import Run, StudyEnd


@dataclass(frozen=True, slots=True)
class TensorboardTracker:
    """Event files of one study."""

    folder: Path

    @property
    def where(self) -> str:
        return f"tensorboard --logdir {self.folder}"

    def start(self) -> None:
        """Nothing has to be looked up: the name of a file tells what is in it."""

    def row(self, run: Run) -> bool:
        name = re.sub(r"[^-.\w]+", "_", run.name)
        folder = self.folder / f"{name}-{run.job_id}"
        path = folder / f"events.out.tfevents.{run.started_at.timestamp():.0f}.{run.digest}"
        if path.exists():
            return False
        write_durably(path, _content(run))
        for other in folder.glob("events.*"):
            if other != path:
                other.unlink()
        return True

    def finish(self, end: StudyEnd) -> None:
        """Event files hold no other files; the report and the models lie in the study beside them."""


def open_tracker(study: Study) -> TensorboardTracker:
    """The event files of a study."""
    return TensorboardTracker(study.root / "tensorboard")


def _content(run: Run) -> bytes:
    """An event file."""
    content = io.BytesIO()
    writer, time = RecordWriter(content), run.started_at.timestamp()
    summaries: list[tuple[int, Any]] = [(0, hparams_pb(run.params, trial_id=run.job_id, start_time_secs=time)), (0, _scalars(run.metrics))]
    summaries += [(epoch, _scalars(values)) for epoch, values in run.curve]
    writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
    for step, summary in summaries:
        writer.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())
    return content.getvalue()


def _scalars(values: dict[str, float]) -> Any:
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
