"""A folder for the sockets of one command whose path is short enough, whatever TMPDIR says."""

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from multiprocessing import current_process
from typing import Any

_MAX_BYTES = 107
"""Of a socket's path on Linux; other systems take about as many."""

_NAME_BYTES = len("/pymp-xxxxxxxx/listener-xxxxxxxx")

_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  a folder of our own is made there


def use_short_folder() -> None:
    """Have Python's processes meet elsewhere where the path of the folder for temporary files is too long; nothing else goes there."""
    config: Any = current_process()._config  # type: ignore[attr-defined]  # where `multiprocessing` keeps it, for children as well
    if "tempdir" in config or len(os.fsencode(tempfile.gettempdir())) + _NAME_BYTES <= _MAX_BYTES:
        return
    for place in _SHORT:
        with suppress(OSError):
            config["tempdir"] = tempfile.mkdtemp(prefix="pymp-", dir=place)
            atexit.register(_remove, config["tempdir"], os.getpid())
            return


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
