"""The models of a study: a file per job, written whole or not at all, refused when a byte of it has changed."""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import StoreError, TableError
from harness.files import free_mib, is_there, listed, num_bytes, open_plain, remove, why, write_durably
from harness.study.model_file import ModelFile, decode, encode
from harness.study.row import Row
from harness.study.store import Damage, Study
from harness.text.untrusted import shell_word

ROOM_MIB = 64
"""That models leave free for rows and predictions, which matter more."""
_MIB = 2**20
_FOLDER = "models"
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Models:
    """`models/` of one study. Creating the object touches nothing on disk."""

    study: Study
    name: str = _FOLDER

    @property
    def folder(self) -> Path:
        return self.study.root / self.name

    @property
    def refitted(self) -> "Models":
        """Models that were trained again on more images, by the job that chose how."""
        return Models(self.study, f"{self.name}/refitted")

    def path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}{_SUFFIX}"

    def has(self, job_id: str) -> bool:
        """Whether a file lies there; `read` says whether it can be used."""
        return is_there(self.path(job_id))

    def write(self, file: ModelFile) -> None:
        """Keep a model. Raises StoreError when the disk does not take it, or would have no room left for rows."""
        path, content = self.path(file.header.job_id), encode(file)
        if (free := free_mib(self.study.root)) < len(content) / _MIB + ROOM_MIB:
            raise StoreError(f"{path}: {free:,.0f} MiB are free and {ROOM_MIB} of them are for rows; free some space.")
        write_durably(path, content)

    def read(self, job_id: str) -> ModelFile:
        """A kept model, every byte of it checked.

        Raises:
            TableError: there is none, or it is not as it was written, or is that of another job.
        """
        path = self.path(job_id)
        try:
            file = read_model(path)
        except FileNotFoundError as error:
            raise TableError(f"{path}: {self._why_not_there(job_id)}; {self._again(job_id)}.") from error
        except ValueError as error:
            raise TableError(f"{path}: {error}; {self._again(job_id)}.") from error
        if file.header.job_id != job_id:
            raise TableError(f"{path}: holds the model of another job, {file.header.job_id[:40]}; {self._again(job_id)}.")
        return file

    def kept(self) -> tuple[int, float]:
        """How many models there are, and their MiB."""
        paths = listed(self.folder, _SUFFIX)
        return len(paths), sum(map(num_bytes, paths)) / _MIB

    def drop(self, job_id: str) -> None:
        """Delete a model; it is well if there is none. Raises StoreError."""
        remove(self.path(job_id))

    def job_ids(self) -> list[str]:
        """Jobs that have a file."""
        return [path.name.removesuffix(_SUFFIX) for path in listed(self.folder, _SUFFIX)]

    def damaged(self, row: Row) -> Damage | None:
        """What is wrong with the kept model of a row; None where nothing is."""
        try:
            header = self.read(row.job_id).header
        except TableError as error:
            reason: str | None = str(error).removeprefix(f"{self.path(row.job_id)}: ").partition(";")[0]
        else:
            is_own = header.trained_on != "train" or header.model_blake2b == row.model_blake2b
            reason = None if is_own else "is not the model that its row was made from"
        return Damage(self.path(row.job_id), reason, self._again(row.job_id), row.job_id) if reason else None

    def _why_not_there(self, job_id: str) -> str:
        row = self.study.read_row(job_id)
        note = row.details.model_note if row else ""
        return f"there is no such model (when its job was done: {note.partition(': ')[2]})" if note else "there is no such model"

    def _again(self, job_id: str) -> str:
        """The next step where a model is needed that is not there."""
        if self.name != _FOLDER:
            return f"`{self.study.command('refit')}` trains it again"
        row = self.study.read_row(job_id)
        typed = [part for part in row.details.command if not part.startswith("model.keep=")] if row else ["..."]
        return f"`python -m harness.sweep {' '.join(map(shell_word, typed))} model.keep=all` trains it again"


def read_model(path: Path) -> ModelFile:
    """A model file anywhere.

    Raises:
        ValueError: it is not as it was written; the message is a clause that follows the path.
        FileNotFoundError: there is none.
        TableError: it cannot be read.
    """
    try:
        with open_plain(path) as file:
            return decode(file.read())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({why(error)}); check its permissions.") from error
