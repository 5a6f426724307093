"""The files of a data set of the hub, at one commit, in the cache of the hub's client: downloaded in bounded time, or found there.

A download is a process of its own, which is ended by the rule of `online.pace`: the client's own threads obey no limit. What is whole by then is
kept, and the next try goes on from there.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.online.answer import why_no_answer
from harness.online.pace import MIN_KIB_PER_S, stall_s, too_slow
from harness.online.reasons import brief, why

_PROBE_TIMEOUT_S = 3.0
_BLOCK_BYTES = 512
CARD = "README.md"
"""Says the licence and the configurations of a data set."""
_PROGRAM = "import sys; sys.path[:] = {path!r}; from harness.data.hub_files import main; main()"


def fetch(repo: str, revision: str | None, config: str | None) -> Path:
    """The folder with its files, named by the commit.

    Args:
        repo: ORGANISATION/NAME.
        revision: branch, tag or commit; None: main.
        config: the configuration whose files are enough, where the card says which these are; None: all files.

    Raises:
        DataError: it is not on the hub or may not be read; or it is not in the cache either, and the hub gave none in bounded time.
    """
    from huggingface_hub import constants

    silent = _why_silent(constants.ENDPOINT)
    patterns = None
    if config is not None:
        patterns = _files_of(_snapshot(repo, revision, [CARD], silent), config)
    return _snapshot(repo, revision, patterns, silent)


def card_of(folder: Path) -> dict[str, object]:
    """What the card of a data set states; nothing where there is none that can be read."""
    from huggingface_hub import metadata_load

    with suppress(Exception):  # it is written by anybody
        return dict(metadata_load(folder / CARD) or {})
    return {}


def licence_of(card: Mapping[str, object]) -> str | None:
    """As the card states it, several with commas between them."""
    stated = card.get("license")
    each = stated if isinstance(stated, list) else [stated]
    return brief(", ".join(str(name) for name in each if name)) or None


def _files_of(folder: Path, config: str) -> list[str] | None:
    """Patterns of the files of a configuration, and of the card; None where that does not say."""
    configs = card_of(folder).get("configs")
    for entry in configs if isinstance(configs, list) else []:
        if isinstance(entry, dict) and entry.get("config_name") == config and entry.get("data_files"):
            return [CARD, *_patterns(entry["data_files"])]
    return None


def _patterns(stated: object) -> list[str]:
    if isinstance(stated, dict):
        return _patterns(stated.get("path", list(stated.values())))
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


def _snapshot(repo: str, revision: str | None, patterns: list[str] | None, silent: str | None) -> Path:
    from huggingface_hub import constants

    where = f"data.id={repo}{'' if revision is None else f' data.revision={revision}'}"
    if silent is None:
        told = _downloaded({"repo_id": repo, "revision": revision, "allow_patterns": patterns}, _blobs(repo))
        if "path" not in told:
            raise DataError(
                f"{where}: {constants.ENDPOINT} gave none ({told['why']}); check the name, or type data.id=FOLDER with its files."
            )
        return Path(told["path"])
    try:
        return _get({"repo_id": repo, "revision": revision, "allow_patterns": patterns, "local_files_only": True})
    except Exception as error:
        cache = constants.HF_HUB_CACHE
        raise DataError(
            f"{where}: not whole in {cache}, and {constants.ENDPOINT} gave none ({silent}); go online, or type data.id=FOLDER with its files."
        ) from error


def _get(order: Mapping[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repo_type="dataset", **order))


def _blobs(repo: str) -> Path:
    """Where files grow that are downloaded."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser() / f"datasets--{repo.replace('/', '--')}" / "blobs"


def _downloaded(order: Mapping[str, object], blobs: Path) -> dict[str, str]:
    """What a process that downloads has to say: `path`, or `why` there is none."""
    limit_s, command = stall_s(), [sys.executable, "-c", _PROGRAM.format(path=sys.path), json.dumps(order)]
    environment = os.environ | ({} if sys.stderr.isatty() else {"HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    before, piped = _num_bytes(blobs), subprocess.PIPE
    with subprocess.Popen(command, stdin=piped, stdout=piped, text=True, encoding="utf-8", env=environment) as process:  # noqa: S603  this program
        try:
            while True:
                try:
                    process.wait(limit_s)
                    break
                except subprocess.TimeoutExpired:
                    if (now := _num_bytes(blobs)) - before < MIN_KIB_PER_S * 1024 * limit_s:
                        return {"why": too_slow(limit_s)}
                    before = now
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
        finally:
            process.kill()
    with suppress(ValueError, IndexError):
        told: dict[str, str] = json.loads(lines[-1])
        return told
    return {"why": f"the process that fetched it ended with status {process.returncode}"}


def _num_bytes(folder: Path) -> int:
    """What was written: the client allots the whole of some files before they come."""
    total = 0
    for path in folder.glob("*"):
        with suppress(OSError):  # just renamed
            total += path.stat().st_blocks * _BLOCK_BYTES
    return total


def main() -> None:
    """The program that downloads. Ends with its parent, however that ends."""
    from huggingface_hub import constants

    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        told = {"path": str(_get(json.loads(sys.argv[1])))}
    except Exception as error:  # noqa: BLE001  clients raise whatever they like; the user gets one line
        told = {"why": why(error, folder=str(constants.HF_HUB_CACHE), is_hub=True)}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _leave_with_parent() -> None:
    """Standard input ends when the parent does."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
