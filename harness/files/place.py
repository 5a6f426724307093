"""Which object of a store stands behind a path: URLs have mirror folders on this machine, one tree for all.

    s3://bucket/results/lesions/rows/x.json  <->  <mirrors>/s3/bucket/results/lesions/rows/x.json

Each follows from the other alone, so every process that is handed a plain path knows what stands behind it.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from harness.errors import ConfigError

PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
"""Protocol -> the package that speaks it, which fsspec finds."""
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_TAGS = ".tags"
MIRRORS = "HARNESS_MIRROR_DIR"
"""Environment variable: the folder of all mirrors."""
_DEFAULT = "~/.cache/model-selection-harness/remote"


def mirrors() -> Path:
    """The folder of all mirrors on this machine."""
    return _folder(os.environ.get(MIRRORS) or _DEFAULT, os.environ.get("HOME"))


@cache
def _folder(text: str, _home: str | None) -> Path:
    return Path(text).expanduser().absolute()


def local_folder(text: str, key: str = "results_dir") -> Path:
    """The folder on this machine that stands for what a user typed; nothing is made or asked.

    Args:
        text: a path, in which `~` is expanded, or a URL: `s3://`, `gs://`, `file://`.
        key: what it was given as.

    Raises:
        ConfigError: a URL of another kind, or its package is not installed.
    """
    protocol, is_url, rest = text.partition("://")
    if not is_url:
        return Path(text).expanduser()
    if protocol == "file" and rest.startswith("/"):
        return Path(rest)
    parts = rest.strip("/").split("/")
    if protocol not in PACKAGES or not all(parts) or {".", ".."} & set(parts):
        raise ConfigError(
            f"{key}={text}: is no address of a folder; give a path, s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER."
        )
    _require_package(protocol, f"{key}={text}")
    return mirrors().joinpath(protocol, *parts)


def require_store(key: str, text: str) -> None:
    """See that a text is the URL of a store that can be spoken to. Raises ConfigError."""
    if not is_store(text):
        raise ConfigError(f"{key}={text}: not allowed; {key} takes s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, or null.")
    _require_package(text.partition("://")[0], f"{key}={text}")


def is_store(text: str) -> bool:
    """Whether a text is the URL of a store that files can be put to."""
    return text.partition("://")[0] in PACKAGES and "://" in text


def url_of(path: Path) -> str | None:
    """What stands behind a path; None for a path of this machine alone. Asked of every file that is read, so it makes no path of it."""
    root, text = str(mirrors()), str(path)
    whole = text if text.startswith(os.sep) else f"{os.getcwd()}{os.sep}{text}"  # noqa: PTH109
    if not whole.startswith(f"{root}{os.sep}"):
        return None
    protocol, _, rest = whole[len(root) + 1 :].partition(os.sep)
    return f"{protocol}://{rest}" if protocol in PACKAGES and rest else None


def as_typed(path: Path) -> str:
    """A folder as it was typed: a URL where it stands for one."""
    return url_of(path) or str(path)


def tag_of(path: Path) -> Path:
    """Where it is noted which object a file of a mirror is a copy of."""
    root = mirrors()
    return root / _TAGS / path.absolute().relative_to(root)


def _require_package(protocol: str, asked: str) -> None:
    package = PACKAGES[protocol]
    if find_spec(package) is None:
        extra = f"model-selection-harness[{_EXTRAS[protocol]}]"
        raise ConfigError(f"{asked}: needs the package {package}, which is not installed; run `pip install '{extra}'`.")
