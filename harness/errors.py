"""The exception tree. Every message says what was given, what is allowed and the next step, on one line; only `ConfigError` may have several."""

import os


def is_debugging() -> bool:
    """Whether `HARNESS_DEBUG=1` is set: errors then come with their traceback."""
    return os.environ.get("HARNESS_DEBUG", "") not in {"", "0"}


class HarnessError(Exception):
    """Anything the user can act on; shown as one line, never as a traceback."""


class ConfigError(HarnessError):
    """Configuration values are wrong; nothing has run."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems
        """One or more, each a sentence that can stand alone."""

    def __str__(self) -> str:
        return "\n".join(self.problems)


class OwnError(Exception):
    """Raised from an error that nothing typed is to blame for: a mistake of the harness, shown with its traceback."""


class DataError(HarnessError):
    """The data set is missing, empty or cannot be split as asked."""


class BackboneError(HarnessError):
    """A backbone name is unknown, or its weights cannot be had or do not fit."""


class TrainingError(HarnessError):
    """Training ended without a usable model."""


class DivergedError(TrainingError):
    """The loss stopped being a finite number."""


class FrozenChangedError(TrainingError):
    """A parameter or buffer that the freeze plan fixed was different after training."""


class StoreError(HarnessError):
    """A folder has no room, or cannot be read or written."""


class UndefinedMetricError(HarnessError):
    """A metric has no value on these labels; the cell stays empty and the row says why."""


class TableError(HarnessError):
    """A study folder holds no rows, or rows that cannot be read or compared."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the machine or the accelerator has no memory left; libraries have no common type for it."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
