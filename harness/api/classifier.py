"""`harness.Classifier(...)`: one candidate as an estimator of scikit-learn, for cross-validation and pipelines of its kind."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from harness.api.sweeping import sweep
from harness.errors import DataError, TrainingError

_ONE = {
    "data__max_images": None,
    "data__test_frac": 0,
    "evidence__minutes": 0,
    "measure__warm_up_s": 0,
    "measure__timing_s": 0,
    "model__keep": "all",
}
"""Nothing is compared: no test split, no timing, and the model is kept whatever it is worth."""


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A backbone at a freeze depth, fitted to paths of images and their classes.

    A fifth of the images decides learning rate, epoch and temperature, as in a sweep. Nothing is written but the activation cache.

    Example:
        >>> import harness
        >>> from pathlib import Path
        >>> paths = sorted(Path("photos").rglob("*.png"))
        >>> y = [path.parent.name for path in paths]
        >>> classifier = harness.Classifier("test_vit", options={"weights": "random", "train__epochs": 1, "data__image_size": 32})
        >>> classifier.fit(paths, y).score(paths, y) > 0.9
        True
        >>> classifier.predict(paths[:1]), classifier.predict_proba(paths[:1]).shape
        (array(['bright'], dtype='<U6'), (1, 2))
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        freeze: str | float = "all",
        *,
        seed: int = 0,
        device: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Take what `harness.sweep` takes; `options` are its other options."""
        self.backbone = backbone
        self.freeze = freeze
        self.seed = seed
        self.device = device
        self.options = options

    def fit(self, X: Sequence[Any], y: Sequence[Any]) -> "Classifier":
        """Fit to paths and their classes. Raises ConfigError like `harness.sweep`, and TrainingError: training failed."""
        self.classes_, numbers_N = np.unique(np.asarray(y), return_inverse=True)
        frame = pd.DataFrame({"path": list(X), "label": [f"{number:06d}" for number in numbers_N]})
        options = _ONE | {"device": self.device} | dict(self.options or {})
        with TemporaryDirectory() as folder:
            with redirect_stdout(StringIO()):
                study = sweep(frame, [self.backbone], [self.freeze], [self.seed], results_dir=folder, **options)
            if not study.failed.empty:
                raise TrainingError(str(study.failed["error"][0]))
            self.model_ = study.model(device=self.device)
        return self

    def predict_proba(self, X: Sequence[Any]) -> npt.NDArray[np.float64]:
        """Calibrated probabilities, a column for each of `classes_`. Raises DataError: an image cannot be read."""
        return np.asarray(self._answers(X).filter(like="prob_"), dtype=np.float64)

    def predict(self, X: Sequence[Any]) -> npt.NDArray[Any]:
        """The class of each image. Raises DataError: an image cannot be read."""
        return np.asarray(self.classes_[self._answers(X)["label"].astype(int)])

    def _answers(self, X: Sequence[Any]) -> pd.DataFrame:
        check_is_fitted(self)
        answers = self.model_.predict(list(X))
        if (is_bad := answers["error"].notna()).any():
            first = answers[is_bad].iloc[0]
            raise DataError(f"{first['path']}: {first['error']}; {int(is_bad.sum()):,} of {len(answers):,} images cannot be read.")
        return answers
