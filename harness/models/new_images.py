"""Images that no study has seen: which files are meant, and each decoded as the study decoded its own."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from harness.config import SEPARATOR, TABLE_SUFFIXES
from harness.data.dataset import ImageRef
from harness.data.images import depth_of, opened, reason, upright
from harness.data.kinds import is_image, unread
from harness.data.table_file import ROLES, read_table
from harness.data.white import kind_of, why_outside
from harness.errors import ConfigError, DataError, is_out_of_memory


@dataclass(frozen=True, slots=True)
class NewImage:
    """A file that is read when it is needed. `max_values` are those of the study: equal numbers stay equally bright."""

    id: str
    path: Path
    max_values: Mapping[str, float] = field(default_factory=dict)
    content_hash: str = ""
    """Nobody asks twice."""

    def open(self, *, keep_grey: bool = False) -> Image.Image:
        """The decoded picture. Raises DataError: it cannot be read, or its values have no place in the study's range."""
        if why := unread(self.path.suffix):
            raise DataError(f"{self.id}: {why}")
        try:
            with opened(self.path) as (_, image):
                return as_in_study(self.id, image, self.max_values, keep_grey=keep_grey)
        except (DataError, MemoryError):
            raise
        except Exception as error:  # decoders raise nearly anything
            if is_out_of_memory(error):
                raise
            raise DataError(f"{self.id}: {reason(error)}") from error


@dataclass(frozen=True, slots=True)
class GivenImage:
    """A picture of Pillow's that a program hands over."""

    id: str
    picture: Image.Image
    max_values: Mapping[str, float] = field(default_factory=dict)
    content_hash: str = ""

    def open(self, *, keep_grey: bool = False) -> Image.Image:
        """As `NewImage.open`."""
        try:
            return as_in_study(self.id, self.picture, self.max_values, keep_grey=keep_grey)
        except (DataError, MemoryError):
            raise
        except Exception as error:  # it may be read from a file only now
            raise DataError(f"{self.id}: {reason(error)}") from error


def as_in_study(name: str, image: Image.Image, max_values: Mapping[str, float], *, keep_grey: bool) -> Image.Image:
    """The upright picture, as bright as in the study. Raises DataError: its values have no place in the study's range."""
    depth = depth_of(image)
    if depth is not None and (why := why_outside(depth, max_values)):
        raise DataError(f"{name}: {why}")
    return upright(image, white=None if depth is None else max_values.get(kind_of(image.mode)), keep_grey=keep_grey)


@dataclass(frozen=True, slots=True)
class Listed:
    """Images in the order of their names, or of their table, and what they are said to be."""

    images: Sequence[ImageRef]
    labels: Sequence[str | None]
    """Class names as given; None: not said."""
    groups: Sequence[str] | None = None
    """What each belongs to; None: every image stands for itself."""
    separator: str = SEPARATOR
    """What stands between the labels of an image that has several."""


@dataclass(frozen=True, slots=True)
class NewColumns:
    """Columns of a table of new images, as the user named them; None: found by their names, and no groups."""

    path: str | None = None
    label: str | None = None
    group: str | None = None
    separator: str = SEPARATOR


def list_images(where: str, max_values: Mapping[str, float], class_names: Sequence[str], columns: NewColumns | None = None) -> Listed:
    """The images of a folder, a glob pattern or a table.

    Args:
        where: a folder, which is looked through to its end; a pattern with `*`, `?` or `[]`; a file of a picture; or a table with a column
            `path` (relative to the table's folder) and, if wanted, `label`.
        max_values: of the study.
        class_names: of the study: below a folder, folders so named say what their images are.
        columns: of a table.

    Raises:
        ConfigError: there is no such place, or no image in it.
        DataError: a table cannot be read, lacks a column that was named, or several of its columns may be meant.
    """
    path = Path(where).expanduser()
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        return _of_table(path, max_values, columns or NewColumns())
    if path.is_dir():
        found = [(str(each.relative_to(path)), each, _class_of(each.relative_to(path), class_names)) for each in _below(path)]
    elif path.is_file():
        found = [(path.name, path, None)]
    else:
        matching = glob.glob(str(path), recursive=True)  # noqa: PTH207  an absolute pattern too
        found = [(str(each), each, None) for each in sorted(map(Path, matching)) if each.is_file()]
        if not found:
            raise ConfigError(f"images={where}: no such folder or file, and no file matches it as a pattern.")
    if not found:
        raise ConfigError(f"images={where}: holds no image; give a folder, a pattern such as '{where.rstrip('/')}/*.png', or a table.")
    return Listed([NewImage(name, each, max_values) for name, each, _ in found], [label for _, _, label in found])


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file() and is_image(path):
            yield path


def _class_of(path: Path, class_names: Sequence[str]) -> str | None:
    """The innermost folder that is called like a class."""
    return next((part for part in reversed(path.parts[:-1]) if part in class_names), None)


def _of_table(path: Path, max_values: Mapping[str, float], told: NewColumns) -> Listed:
    """Its lines in their order, without those that name no file."""
    table = read_table(path)
    name, label = table.column("path", told.path, "path_column"), table.column("label", told.label, "label_column")
    group = told.group and table.column("group", told.group, "group")
    if name is None:
        raise ConfigError(f"images={path}: needs a column {ROLES['path'][0]!r}; it has {', '.join(table.columns) or 'none'}.")
    places = [place for place, given in enumerate(table.columns[name]) if given]
    if not places:
        raise ConfigError(f"images={path}: names no image; give a line for each.")
    files = [table.columns[name][place] for place in places]
    return Listed(
        [NewImage(each, path.parent / Path(each).expanduser(), max_values) for each in files],
        [(table.columns[label][place] or None) if label else None for place in places],
        [table.columns[group][place] or f"line {place}" for place in places] if group else None,
        told.separator,
    )
