"""The models of a study: a file per job, written whole or not at all, refused when a byte of it has changed."""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import TableError
from harness.files import listed, open_plain, why, write_durably
from harness.study.model_file import ModelFile, decode, encode
from harness.study.row import Row
from harness.study.store import Damage, Study
from harness.text.untrusted import shell_word

_MIB = 2**20
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Models:
    """`models/` of one study. Creating the object touches nothing on disk."""

    study: Study

    @property
    def folder(self) -> Path:
        return self.study.root / "models"

    def path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}{_SUFFIX}"

    def has(self, job_id: str) -> bool:
        """Whether a file lies there; `read` says whether it can be used."""
        return self.path(job_id).is_file()

    def write(self, file: ModelFile) -> None:
        """Keep a model. Raises StoreError when the disk does not take it."""
        write_durably(self.path(file.header.job_id), encode(file))

    def read(self, job_id: str) -> ModelFile:
        """A kept model, every byte of it checked.

        Raises:
            TableError: there is none, or it is not as it was written, or is that of another job.
        """
        path = self.path(job_id)
        try:
            file = read_model(path)
        except FileNotFoundError as error:
            raise TableError(f"{path}: there is no such model; {self._again(job_id)}.") from error
        if file.header.job_id != job_id:
            raise TableError(f"{path}: holds the model of another job, {file.header.job_id[:40]}; {self._again(job_id)}.")
        return file

    def size_mib(self) -> float:
        """Of all kept models."""
        return sum(path.stat().st_size for path in listed(self.folder, _SUFFIX)) / _MIB

    def drop(self, job_id: str) -> None:
        """Delete a model; it is well if there is none."""
        self.path(job_id).unlink(missing_ok=True)

    def damaged(self, row: Row) -> Damage | None:
        """What is wrong with the model of a row; None where nothing is, or none was kept."""
        if not self.has(row.job_id):
            return None
        try:
            is_own = self.read(row.job_id).header.model_blake2b == row.model_blake2b
        except TableError as error:
            reason: str | None = str(error).removeprefix(f"{self.path(row.job_id)}: ").partition(";")[0]
        else:
            reason = None if is_own else "is not the model that its row was made from"
        return Damage(self.path(row.job_id), reason, self._again(row.job_id), row.job_id) if reason else None

    def _again(self, job_id: str) -> str:
        """The next step where a model is needed that is not there."""
        row = self.study.read_row(job_id)
        typed = " ".join(map(shell_word, row.details.command)) if row else "..."
        return f"`python -m harness.sweep {typed} model.keep=all` trains it again"


def read_model(path: Path) -> ModelFile:
    """A model file anywhere.

    Raises:
        TableError: it cannot be read, or is not as it was written.
        FileNotFoundError: there is none.
    """
    try:
        with open_plain(path) as file:
            return decode(file.read())
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise TableError(f"{path}: {error}; the job that wrote it has to be run again.") from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({why(error)}); check its permissions.") from error
