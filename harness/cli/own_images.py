"""`data.root` alone implies `data=folder`, `data=table` or `data=webdataset`: images without a data set are never read as the tutorial's."""

from collections.abc import Sequence
from pathlib import Path

from harness.config import TABLE_SUFFIXES, SweepConfig
from harness.errors import ConfigError
from harness.text.untrusted import shell_word

ROOT, SOURCE, EXPERIMENT = "data.root", "data", "experiment"


def with_source(arguments: Sequence[str]) -> list[str]:
    """The command line, with `data=folder`, `data=table` or `data=webdataset`, where it names a folder, a table or tar files and nothing that may choose a data set.

    Raises:
        ConfigError: a path in place of a data set.
    """
    for key, _, value in (argument.partition("=") for argument in arguments):
        if key == SOURCE and set(value) & set("/\\~"):
            raise ConfigError(
                f"{SOURCE}={value}: is a path, not a data set; for a folder of your own images type data.root={shell_word(value)}."
            )
    keys = _keys(arguments)
    implied = ROOT in keys and not keys & {SOURCE, EXPERIMENT}
    if not implied:
        return list(arguments)
    named = [value for key, _, value in (argument.partition("=") for argument in arguments) if key.lstrip("+").strip() == ROOT]
    return [*arguments, f"{SOURCE}={source_of(named[-1].strip())}"]


def source_of(root: str) -> str:
    """What `data` has to be for images that lie there: a table or tar files by their name, else a folder."""
    suffix = Path(root.strip("'\"")).suffix.lower()
    return "table" if suffix in TABLE_SUFFIXES else "webdataset" if suffix == ".tar" else "folder"


def require_source(cfg: SweepConfig, overrides: Sequence[str]) -> None:
    """Raises ConfigError where an experiment's own data set would be looked for in the folder that was named."""
    keys = _keys(overrides)
    if ROOT in keys and SOURCE not in keys and cfg.data.source not in {"folder", "table", "webdataset"}:
        raise ConfigError(
            f"data.root={shell_word(str(cfg.data.root))}: the experiment uses data={cfg.data.name}; type data=folder as well for the images in "
            f"that folder, or data={cfg.data.name} where its own files lie there."
        )


def _keys(arguments: Sequence[str]) -> set[str]:
    return {argument.lstrip("+").partition("=")[0].strip() for argument in arguments if "=" in argument}
