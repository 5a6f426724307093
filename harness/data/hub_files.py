"""The files of a data set of the hub, at one commit, in the cache of the hub's client: downloaded in bounded time, or found there.

A download is given up by the rule of `online.pace`; what is whole by then is kept, and the next try goes on from there.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from harness.errors import DataError
from harness.online.answer import why_no_answer
from harness.online.pace import MIN_KIB_PER_S, stall_s, too_slow
from harness.online.reasons import brief, status_of, why

T = TypeVar("T")
_PROBE_TIMEOUT_S = 3.0
_BLOCK_BYTES = 512
CARD = "README.md"
"""Says the licence and the configurations of a data set."""


def fetch(repo: str, revision: str | None, config: str | None) -> Path:
    """The folder with its files, named by the commit.

    Args:
        repo: ORGANISATION/NAME.
        revision: branch, tag or commit; None: main.
        config: the configuration whose files are enough, where the card says which these are; None: all files.

    Raises:
        DataError: it is not on the hub or may not be read; or it is not in the cache either, and the hub gave none in bounded time.
    """
    from huggingface_hub import constants, snapshot_download

    silent = _why_silent(constants.ENDPOINT)
    cache = Path(constants.HF_HUB_CACHE).expanduser()
    where = f"data.id={repo}{'' if revision is None else f' data.revision={revision}'}"

    def get(patterns: list[str] | None) -> Path:
        return Path(
            snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns, local_files_only=silent is not None)
        )

    limit_s = stall_s()
    try:
        blobs = cache / f"datasets--{repo.replace('/', '--')}" / "blobs"
        patterns = None if config is None else _files_of(_growing(lambda: get([CARD]), blobs, limit_s), config)
        return _growing(lambda: get(patterns), blobs, limit_s)
    except TimeoutError:
        raise DataError(f"{where}: the download from {constants.ENDPOINT} was given up: {too_slow(limit_s)}.") from None
    except Exception as error:  # clients raise whatever they like; the user gets one line
        if silent is None or status_of(error) is not None:
            raise DataError(
                f"{where}: {constants.ENDPOINT} gave none ({why(error, folder=str(cache), is_hub=True)}); check its name."
            ) from error
        raise DataError(
            f"{where}: not whole in {cache}, and {constants.ENDPOINT} gave none ({silent}); go online, or type data.id=FOLDER with its files."
        ) from error


def card_of(folder: Path) -> dict[str, object]:
    """What the card of a data set states; nothing where there is none that can be read."""
    from huggingface_hub import metadata_load

    with suppress(Exception):  # it is written by anybody
        return dict(metadata_load(folder / CARD) or {})
    return {}


def licence_of(card: dict[str, object]) -> str | None:
    """As the card states it, several with commas between them."""
    stated = card.get("license")
    each = stated if isinstance(stated, list) else [stated]
    return brief(", ".join(str(name) for name in each if name)) or None


def _files_of(folder: Path, config: str) -> list[str] | None:
    """Patterns of the files of a configuration and of what describes images beside them; None where the card does not say."""
    configs = card_of(folder).get("configs")
    for entry in configs if isinstance(configs, list) else []:
        if isinstance(entry, dict) and entry.get("config_name") == config:
            return [CARD, *_patterns(entry.get("data_files"))] if entry.get("data_files") else None
    return None


def _patterns(stated: object) -> list[str]:
    if isinstance(stated, dict):
        return _patterns(stated.get("path") if "path" in stated else list(stated.values()))
    if isinstance(stated, list):
        return [pattern for each in stated for pattern in _patterns(each)]
    return [str(stated)]


def _why_silent(endpoint: str) -> str | None:
    """A few words on why nothing can come now; None: the hub answers."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_HUB_OFFLINE is set"

    def ask() -> None:
        get_session().head(endpoint, timeout=_PROBE_TIMEOUT_S + 1)

    return why_no_answer(ask, endpoint, _PROBE_TIMEOUT_S)


def _growing(call: Callable[[], T], folder: Path, limit_s: float) -> T:
    """What `call` returns or raises. Raises TimeoutError when less arrived in `folder` than `online.pace` asks for; it goes on unheeded."""
    answer: Future[T] = Future()

    def called() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
            answer.set_exception(error)

    before = _num_bytes([folder])
    threading.Thread(target=called, daemon=True).start()
    while True:
        try:
            return answer.result(limit_s)
        except TimeoutError:
            if answer.done() or (now := _num_bytes([folder])) - before < MIN_KIB_PER_S * 1024 * limit_s:
                raise
            before = now


def _num_bytes(folders: Sequence[Path]) -> int:
    """What was written: the client allots the whole of some files before they come."""
    total = 0
    for path in (path for folder in folders for path in folder.glob("*")):
        with suppress(OSError):  # just renamed
            total += path.stat().st_blocks * _BLOCK_BYTES
    return total
