"""`harness.load_study(...)` and what a study offers."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api import ranking
from harness.api.ranking import Ranking
from harness.cli.call import composed, own_errors
from harness.config import ExportConfig, Language, Metric, SweepConfig
from harness.data.labels import named
from harness.errors import ConfigError, TableError
from harness.files import as_typed, is_folder, local_folder
from harness.reporting import gallery
from harness.reporting.build import build_report
from harness.reporting.question import Question, ask
from harness.select.ranking import rank
from harness.status import Status
from harness.study import store
from harness.study.row import Row
from harness.study.row_objective import objective_of
from harness.study.table import to_frame
from harness.text.language import ENGLISH, speaking

if TYPE_CHECKING:
    import pandas as pd

    from harness.api.model import Model

_FAILED = ("job_id", "backbone", "weights", "freeze", "seed", "status", "error")


class Study:
    """All results about one data set: what `harness.sweep` returns and `harness.load_study` finds.

    Example:
        >>> import harness
        >>> harness.load_study("lesions")
        Study('results/lesions')
    """

    def __init__(self, own: store.Study) -> None:
        self._own = own

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Of its folder."""
        return self._own.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._own.root

    @property
    def results(self) -> "pd.DataFrame":
        """The table: a line for each job, with the columns of `results.csv`.

        Example:
            >>> import harness
            >>> results = harness.load_study("lesions").results
            >>> sorted(results["backbone"].unique())
            ['test_resnet', 'test_vit']
        """
        return to_frame(self._own.rows())

    @property
    def failed(self) -> "pd.DataFrame":
        """Jobs that did not end well, each with its status and, in one line, its error.

        Example:
            >>> import harness
            >>> harness.load_study("lesions").failed.empty
            True
        """
        results = self.results
        is_bad = ~results["status"].isin([Status.ok.value, Status.pruned.value])
        return results.loc[is_bad, list(_FAILED)].reset_index(drop=True)

    def predictions(self, split: str = "val") -> "pd.DataFrame":
        """What every good job says of every image of a split: a line for each job and image.

        Args:
            split: `"val"`, or `"test"`: only of jobs whose sealed test predictions a report has opened.

        Returns:
            Columns `job_id`, `backbone`, `freeze`, `seed`, `image`, `label` (its class), `decision` (the class it is called), and
            `prob_<class>`, which are calibrated probabilities.

        Raises:
            TableError: there are none, or they are sealed.

        Example:
            >>> import harness
            >>> found = harness.load_study("lesions").predictions("val")
            >>> accuracy = (found["label"] == found["decision"]).groupby(found["job_id"]).mean()
            >>> len(accuracy)
            4
        """
        import pandas as pd

        if split not in ("val", "test"):
            raise TableError(f"predictions({split!r}): no such split; give 'val' or 'test'.")
        protocol = self._ask({}).protocol
        rows = [row for row in self._own.rows() if row.protocol == protocol and row.fold is None and self._own.is_done(row.job_id)]
        if not rows:
            raise TableError(f"study {self.name}: no job has predictions; harness.sweep makes them.")
        said = [(row, self._own.val_predictions(row.job_id)) for row in rows] if split == "val" else self._opened(rows)
        return pd.concat([_long(row, found) for row, found in said], ignore_index=True)

    def _opened(self, rows: list[Row]) -> list[tuple[Row, store.Predictions]]:
        if not any(row.n_test for row in rows):
            raise TableError(f"study {self.name}: has no test split.")
        opened = self._own.opened()
        there = [(row, self._own.open_test(row.job_id, "opened before", by="python")) for row in rows if row.job_id in opened]
        if not there:
            raise TableError(
                f"study {self.name}: its test predictions are sealed, so that no choice is made by them; `Study.report()` opens those of the "
                f"candidate that it recommends."
            )
        return [(row, found) for row, found in there if found is not None]

    def rank(self, **options: Any) -> Ranking:
        """Rank the candidates, as the sweep did, but for the options. Trains nothing and opens no test predictions.

        Args:
            options: keys of `rank.` on the command line: `max_latency_ms=30`, `metric="f1_macro"`, `points_per_doubling=0`.

        Raises:
            ConfigError: an option is unknown or not allowed.
            TableError: there are no rows that can be used.

        Example:
            >>> import harness
            >>> ranking = harness.load_study("lesions").rank(points_per_doubling=0)
            >>> ranking.headline.startswith("Use ")
            True
        """
        question = self._ask(options)
        return ranking.of_study(rank(self._own, question.cfg, protocol=question.protocol, may_open=False, by="python"))

    def report(self, path: str | os.PathLike[str] | None = None, *, images: bool = True, language: str = ENGLISH, **options: Any) -> Path:
        """Write the report, as `python -m harness.report` does.

        Args:
            path: folder of the pages; None: `report/` of the study, or a folder beside it where options ask another question.
            images: whether small pictures of images are inside the page, as far as the study keeps any.
            language: that the pages are written in, as `report.language` on the command line: `"en"`, `"zh"`.
            options: as in `rank`. The sweep's own question may open the sealed test predictions of what it recommends; another opens nothing.

        Returns:
            The page to open.

        Raises:
            ConfigError: an option is unknown or not allowed.
            TableError: there are no rows that can be used.
            StoreError: the folder cannot be written.

        Example:
            >>> import harness
            >>> harness.load_study("lesions").report().as_posix()
            'results/lesions/report/index.html'
        """
        known = [each.value for each in Language]
        if language not in known:
            raise ConfigError(f"report(language={language!r}): no such language; give {' or '.join(map(repr, known))}.")
        question = self._ask(options)
        into = question.folder if path is None else Path(path).expanduser()
        with speaking(language):
            build_report(
                self._own,
                question.cfg,
                protocol=question.protocol,
                into=into,
                may_open=not question.is_what_if,
                by="python",
                pictures=gallery.kept if images else gallery.nothing,
            )
        return into / "index.html"

    def model(self, candidate: str | None = None, device: str = "auto", refit: bool | None = None) -> "Model":
        """A model of the study, ready to predict.

        Args:
            candidate: whose: a label of `rank().table` (`"resnet50 0.5"` will do), or the id of a job; None: the recommended.
            device: where it computes: auto, cpu, cuda, cuda:INDEX, mps.
            refit: whether its model of `python -m harness.refit` is meant; None: where there is one.

        Raises:
            TableError: there is no such candidate, or its model was not kept.
            BackboneError: the base weights are not here, or are others.

        Example:
            >>> import harness
            >>> harness.load_study("lesions").model("test_resnet all").class_names
            ['bright', 'dark']
        """
        from harness.api.model import load_model

        return load_model(self, candidate, device, refit)

    def export(self, path: str | os.PathLike[str], candidate: str | None = None, **options: Any) -> Path:
        """Write a model of the study as a folder that other programs load, and compare them: `python -m harness.export`.

        Args:
            path: the folder.
            candidate: as in `model`.
            options: other keys of that command: `formats=["timm", "onnx"]`, `quantize="dynamic"`.

        Returns:
            The folder.

        Raises:
            ConfigError: an option is unknown or not allowed, or something else lies in the folder's place.
            TableError: there is no such candidate, its model was not kept, or a format that was asked for cannot hold it as it is.

        Example:
            >>> import harness
            >>> folder = harness.load_study("lesions").export("exported", "test_resnet all", formats=["timm"])
            test_resnet ... of study lesions -> exported: ...
            >>> harness.load_model(folder).class_names
            ['bright', 'dark']
        """
        from harness.export import run

        asked = {name: ",".join(value) if isinstance(value, list | tuple) else value for name, value in options.items()}
        where = {"study": self.name, "results_dir": as_typed(self.path.parent), "to": path, "candidate": candidate}
        cfg = composed("export", ExportConfig, where | asked)
        with own_errors():
            status = run(cfg)
        if status:
            raise TableError(
                f"{path}: a format that was asked for is missing, or decides otherwise than the model; what was printed says which."
            )
        return Path(path)

    def _ask(self, options: dict[str, Any]) -> Question:
        cfg = ranking.rank_config(options)
        return ask(self._own, cfg.rank, set(options))


def load_study(study: str | os.PathLike[str] | None = None, results_dir: str | os.PathLike[str] = SweepConfig.results_dir) -> Study:
    """A study that a sweep has filled.

    Args:
        study: its folder, or its address in a store, or its name below `results_dir`; None: the one that a sweep was at last.
        results_dir: folder of all studies.

    Raises:
        TableError: there is no such study; the message names those that there are.

    Example:
        >>> import harness
        >>> harness.load_study("results/lesions").name
        'lesions'
    """
    if study is not None and is_folder(local_folder(os.fspath(study)) / "rows"):
        return Study(store.Study(local_folder(os.fspath(study))))
    return Study(store.find_study(local_folder(os.fspath(results_dir)), None if study is None else os.fspath(study)))


def _long(row: Row, found: store.Predictions) -> "pd.DataFrame":
    import pandas as pd

    metric = Metric(str(row.primary_metric))
    probs_NC = np.exp(found.log_probs_NC.astype(np.float64))
    decided_N = objective_of(row).decide(found.log_probs_NC, metric)
    return pd.DataFrame(
        {
            "job_id": row.job_id,
            "backbone": row.backbone,
            "freeze": row.freeze,
            "seed": row.seed,
            "image": found.ids_N,
            "label": named(found.labels_N, row.details.class_names),
            "decision": named(decided_N, row.details.class_names),
        }
        | {f"prob_{name}": probs_NC[:, number] for number, name in enumerate(row.details.class_names)}
    )
