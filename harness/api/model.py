"""`harness.load_model(...)`: a model of a study, or an exported one, that says what images show."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from harness.api.study import Study, load_study
from harness.backbones.quiet import quiet
from harness.config import Device, Precision, is_device
from harness.data.dataset import ImageRef
from harness.data.images import ArrayImage
from harness.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

    from harness.compute.runtime import Runtime
    from harness.models import model as models
    from harness.models.new_images import Listed

_EXPORTED = ("preprocessing.json", "config.json")
"""Files of an exported folder, one of which is enough to know it."""
_KINDS = "paths, pictures of Pillow's, or uint8 arrays of height x width or height x width x 3"


class Model:
    """A fitted network at work, with the preprocessing and the classes of its study.

    Example:
        >>> import harness
        >>> model = harness.load_model("lesions", "test_vit all")
        >>> model.backbone, model.freeze, model.class_names
        ('test_vit', 'all', ['bright', 'dark'])
    """

    def __init__(self, own: "models.Model") -> None:
        self._own = own

    def __repr__(self) -> str:
        return f"Model({self.backbone} {self._own.header.strategy}: {', '.join(self.class_names)})"

    @property
    def backbone(self) -> str:
        return self._own.header.backbone

    @property
    def freeze(self) -> str:
        return self._own.header.freeze

    @property
    def class_names(self) -> list[str]:
        return list(self._own.class_names)

    def predict(self, images: Any) -> "pd.DataFrame":
        """What images show: the answers of `python -m harness.predict`, a line for each image in the order given.

        Args:
            images: a path of a picture, a folder, a pattern, or a CSV with a column `path`; a picture of Pillow's; a uint8 array, height x width
                or height x width x 3; or a list of paths, pictures or arrays.

        Returns:
            Columns `path` (of pictures and arrays their number), `label` (the class that the image is called), `margin` (how much likelier the likeliest
            class is than the second), `given_label` where folders or the CSV give one, `prob_<class>` (calibrated probabilities), and `error` (why
            an image cannot be read, in which case the others are empty).

        Raises:
            ConfigError: there is no such file or folder.
            DataError: something is no image.

        Example:
            >>> import harness, numpy as np
            >>> model = harness.load_model("lesions")
            >>> answers = model.predict("photos")
            >>> list(answers.columns)
            ['path', 'label', 'margin', 'given_label', 'prob_bright', 'prob_dark', 'error']
            >>> len(model.predict([np.zeros((40, 40), dtype=np.uint8)] * 3))
            3
        """
        from harness.models.table import to_frame

        listed = self._listed(images)
        predicted = self._own.predict(listed.images)
        places = set(predicted.places_N.tolist())
        missing = [place for place in range(len(listed.images)) if place not in places]
        frame = to_frame(self._own, listed, predicted).set_index(predicted.places_N).reindex(range(len(listed.images)))
        reasons = {
            place: text.removeprefix(f"{listed.images[place].id}: ") for place, text in zip(missing, predicted.unreadable, strict=True)
        }
        errors: list[Any] = [reasons.get(place) for place in range(len(listed.images))]
        return frame.assign(path=[image.id for image in listed.images], error=errors)

    def _listed(self, images: Any) -> "Listed":
        from harness.models.new_images import Listed, list_images

        if isinstance(images, str | os.PathLike):
            return list_images(os.fspath(images), self._own.header.max_values, self.class_names)
        is_one = isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4 and images.dtype != object)
        given = [images] if is_one else list(_several(images))
        return Listed([self._image(place, each) for place, each in enumerate(given)], [None] * len(given))

    def _image(self, place: int, image: Any) -> ImageRef:
        from harness.models.new_images import GivenImage, NewImage

        if isinstance(image, str | os.PathLike):
            return NewImage(os.fspath(image), Path(image).expanduser(), self._own.header.max_values)
        if isinstance(image, Image.Image):
            return GivenImage(str(place), image, self._own.header.max_values)
        if isinstance(image, np.ndarray) and image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] == (3,)) and image.size:
            return ArrayImage(str(place), "", np.ascontiguousarray(image))
        shown = f"an array of {image.dtype}, shape {image.shape}" if isinstance(image, np.ndarray) else f"{type(image).__name__}"
        raise DataError(f"image {place}: {shown} is no image; give {_KINDS}.")


def load_model(
    study: str | os.PathLike[str] | Study | None = None, candidate: str | None = None, device: str = "auto", refit: bool | None = None
) -> Model:
    """A model of a study, or of a folder that `python -m harness.export` wrote, ready to predict.

    Args:
        study: a study, its folder or its name below `results`, or an exported folder; None: the study that a sweep was at last.
        candidate: of a study: a label of `study.rank().table` (`"resnet50 0.5"` will do) or the id of a job; None: the recommended.
        device: where it computes: auto, cpu, cuda, cuda:INDEX, mps.
        refit: whether its model of `python -m harness.refit` is meant; None: where there is one.

    Raises:
        ConfigError: there is no such device here.
        TableError: there is no such study or candidate, or its model was not kept.
        BackboneError: the base weights are not here, or are others.

    Example:
        >>> import harness
        >>> harness.load_model("lesions", "test_resnet 0.5", device="cpu")
        Model(test_resnet 0.5: bright, dark)
    """
    if not is_device(device):
        raise ConfigError(f"device={device!r}: not allowed; give {', '.join(Device.__members__)}, or cuda:INDEX such as cuda:1.")
    with quiet():  # one of them warns in notebooks that have no widgets
        from harness.compute.runtime import runtime_of
        from harness.models import load
    from harness.models.choose import choose, ranked
    from harness.study.models import Models

    runtime = runtime_of(device, Precision.float32)
    if not isinstance(study, Study):
        if study is not None and any((Path(study).expanduser() / name).is_file() for name in _EXPORTED):
            return _exported(Path(study).expanduser(), candidate, refit, runtime)
        study = load_study(study)
    file = choose(ranked(study._own), candidate).model(Models(study._own), refitted=refit)
    return Model(load.load_model(file, runtime))


def _exported(folder: Path, candidate: str | None, refit: bool | None, runtime: "Runtime") -> Model:
    if candidate is not None or refit is not None:
        raise ConfigError(f"{folder}: holds one exported model; leave candidate and refit out.")
    from harness.models.load_export import load_export

    return Model(load_export(folder, runtime))


def _several(images: Any) -> Sequence[Any]:
    if not isinstance(images, Iterable) or isinstance(images, bytes | dict):
        raise DataError(f"images: {type(images).__name__} is no image; give {_KINDS}, or a list of these.")
    return list(images)
