"""An exported folder on the model hub: checked, then uploaded in one commit. What the hub client raises becomes one line."""

from pathlib import Path
from typing import Any

from harness.backbones.hub import hub_endpoint, is_offline, why_silent
from harness.backbones.quiet import quiet
from harness.errors import ConfigError, TableError
from harness.models.exported import CARD, PREPROCESSING, read, require_unchanged
from harness.online.reasons import root_words, status_of
from harness.study.store import Study

_REFUSED = {
    401: "the token is not known there; log in with `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there; make one with write access, or give another repository with to=",
    404: "there is no such organisation, or the token may not see it; check to=",
}


def find_export(study: Study) -> Path:
    """The only exported folder of a study. Raises TableError: there is none, or several."""
    root = study.root / "export"
    found = (
        sorted(path for path in root.iterdir() if (path / PREPROCESSING).is_file() and not path.name.startswith("."))
        if root.is_dir()
        else []
    )
    if not found:
        raise TableError(f"{study.root}: holds no exported model; run `python -m harness.export {study.where}` first.")
    if len(found) > 1:
        raise TableError(f"{study.root}: holds several exported models; give one of folder={', folder='.join(map(str, found))}.")
    return found[0]


def require_repository(name: str | None) -> str:
    """The name of a repository. Raises ConfigError: none has such a name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    if name is None or name.count("/") != 1:
        raise ConfigError(f"to={name or ''}: give the repository as ORGANISATION/NAME.")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"to={name}: is no name of a repository ({error}); give ORGANISATION/NAME.") from error
    return name


def push(folder: Path, to: str, *, private: bool) -> str:
    """Upload a folder.

    Args:
        folder: that an export wrote; each of its files must still be what was written, but for the card, which may be edited.
        to: `ORGANISATION/NAME`; made where it is not there.
        private: of a repository that is made.

    Returns:
        The address of the repository.

    Raises:
        TableError: the folder is no export or has changed.
        ConfigError: nobody is logged in, or the hub does not answer or refuses.
    """
    from huggingface_hub import HfApi, get_token

    record = read(folder)
    for name in record["sha256"]:
        if name != CARD:
            require_unchanged(record, folder, name)
    where = hub_endpoint()
    if get_token() is None:
        raise ConfigError(f"to={to}: nobody is logged in at {where}; log in with `hf auth login`, or set HF_TOKEN.")
    if reason := "HF_HUB_OFFLINE is set" if is_offline() else why_silent(where, is_hub=True):
        raise ConfigError(f"to={to}: {where} is out of reach ({reason}); nothing was uploaded.")
    api: Any = HfApi()
    try:
        with quiet():
            api.create_repo(to, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=to, folder_path=folder, allow_patterns=[*record["sha256"], PREPROCESSING], commit_message=_message(record)
            )
    except Exception as error:  # whatever the client raises: its errors have no common type
        raise ConfigError(f"to={to}: {where} did not take it ({_reason(error)}).") from error
    return f"{where}/{to}"


def _message(record: dict[str, Any]) -> str:
    model = record["model"]
    return f"{model['backbone']} {model['freeze']} on {model['dataset']}, job {model['job_id']}"


def _reason(error: Exception) -> str:
    status = status_of(error)
    if status is None:
        return root_words(error)
    advice = f"; {_REFUSED[status]}" if status in _REFUSED else ""
    return f"HTTP {status}{advice}"
