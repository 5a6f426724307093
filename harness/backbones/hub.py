"""Where weights are published, their local caches, and whether the server that has them answers.

timm's weights live in model repositories on the Hugging Face hub, torchvision's (and a few of timm's) at plain URLs.
Only `weights` uses this module; `fetch` gets what an order of its asks for.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from harness.backbones.backbone import BackboneSpec, HubFile, Kind
from harness.backbones.catalog import timm_config, torchvision_weights
from harness.backbones.download import Order
from harness.backbones.integrity import is_sha256
from harness.online.answer import why_no_answer, within
from harness.online.reasons import status_of

_PROBE_TIMEOUT_S, _HEAD_TIMEOUT_S = 3.0, 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
CHECKPOINTS = ("model.safetensors", "pytorch_model.bin")
"""Names of the file with the weights in timm's format, preferred first."""


@dataclass(frozen=True, slots=True)
class Published:
    """One set of published weights: files of a hub repository, or one URL."""

    repo: str | None
    revision: str | None
    filenames: tuple[str, ...]
    """Alternatives, preferred first."""
    url: str | None

    @property
    def cache_dir(self) -> Path:
        """The folder in which the responsible library keeps its downloads."""
        if self.repo:
            from huggingface_hub import constants

            return Path(constants.HF_HUB_CACHE)
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints"

    @property
    def address(self) -> str:
        """What a person would open to see it."""
        return f"{hub_endpoint()}/{self.repo}" if self.repo else str(self.url)

    @property
    def order(self) -> Order:
        """What to fetch."""
        place = hub_endpoint() if self.repo else str(self.url)
        return Order(place, self.repo, self.revision, self.filenames, str(self.cache_dir.expanduser().absolute()))


def published(spec: BackboneSpec) -> Published | None:
    """Where the weights of `spec` are published; None for an architecture without any."""
    if spec.own is not None:
        return in_repository(spec.own.place, CHECKPOINTS) if spec.own.kind is Kind.hub else None
    if spec.tag is None:
        return None
    if spec.library == "torchvision":
        url = str(torchvision_weights(spec).url)
        return Published(repo=None, revision=None, filenames=(_url_filename(url),), url=url)
    config = timm_config(spec)
    if config.hf_hub_id:
        return in_repository(str(config.hf_hub_id), (config.hf_hub_filename,) if config.hf_hub_filename else CHECKPOINTS)
    return Published(repo=None, revision=None, filenames=(_url_filename(config.url),), url=str(config.url))


def in_repository(place: str, filenames: tuple[str, ...]) -> Published:
    """Files of a repository of the hub, named as `ORG/NAME` or `ORG/NAME@REVISION`."""
    repo, _, revision = place.partition("@")
    return Published(repo=repo, revision=revision or None, filenames=filenames, url=None)


def cached_file(source: Published) -> Path | None:
    """The file that an earlier download left in the local cache."""
    if source.repo is None:
        path = source.cache_dir / source.filenames[0]
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    for filename in source.filenames:
        with suppress(ValueError):  # a reference that is not text: not what a download leaves
            found = try_to_load_from_cache(source.repo, filename, cache_dir=source.cache_dir, revision=source.revision)
            if isinstance(found, str):
                return Path(found)
    return None


def cached_commit(source: Published, path: Path) -> HubFile | None:
    """What a machine without this cached file would have to fetch; None where that is not told by where the file lies."""
    commit = path.parent.name
    if source.repo is None or not _COMMIT.fullmatch(commit):
        return None
    return HubFile(source.repo, source.revision, commit, path.name, path.stat().st_size)


def on_hub(source: Published) -> tuple[str, HubFile] | None:
    """What the hub says of a file without sending it.

    Returns:
        Its sha256, and what to fetch; None where the hub does not say its hash or cannot be understood: who fetches the file will know why.
    """
    from huggingface_hub import get_hf_file_metadata

    if source.repo is None:
        return None
    for filename in source.filenames:
        url = f"{source.address}/resolve/{quote(source.revision or 'main', safe='')}/{filename}"
        limit_s = _timeout_s(_HEAD_TIMEOUT_S)
        try:
            found = within(partial(get_hf_file_metadata, url, timeout=limit_s, endpoint=hub_endpoint()), limit_s + 1)
        except Exception as error:  # noqa: BLE001  whatever the client raises
            if status_of(error) != HTTPStatus.NOT_FOUND:
                return None
            continue
        sha256, commit = str(found.etag), str(found.commit_hash)
        if not is_sha256(sha256) or not _COMMIT.fullmatch(commit):
            return None
        return sha256, HubFile(source.repo, source.revision, commit, filename, found.size)
    return None


def why_unreachable(source: Published) -> str | None:
    """A few words on why no download is possible now; None when the server answers. Probes each server once per process."""
    if is_offline():
        return "HF_HUB_OFFLINE is set"
    if source.repo:
        return why_silent(hub_endpoint(), is_hub=True)
    parts = urlsplit(source.url or "")
    return why_silent(f"{parts.scheme}://{parts.netloc}/", is_hub=False)


def is_offline() -> bool:
    """Whether the user forbids any use of the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def hub_endpoint() -> str:
    """Address of the hub: `HF_ENDPOINT`, or the public one."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@cache
def why_silent(server: str, *, is_hub: bool) -> str | None:
    """A few words on why a server answers nothing at all; None when it does, even if only to refuse. Asked once per process.

    Args:
        server: its address.
        is_hub: ask with the hub client and the user's settings for it.
    """
    limit_s = _timeout_s(_PROBE_TIMEOUT_S)

    def ask() -> None:
        try:
            (_ask_hub if is_hub else _ask_url)(server, limit_s + 1)
        except Exception as error:
            if status_of(error) is None:
                raise

    return why_no_answer(ask, server, limit_s)


def _timeout_s(default: float) -> float:
    """What the user allows the hub for the answer to a small question."""
    return float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or default)


def _ask_hub(endpoint: str, timeout_s: float) -> None:
    from huggingface_hub import get_session

    get_session().head(endpoint, timeout=timeout_s)


def _ask_url(url: str, timeout_s: float) -> None:
    try:
        urlopen(Request(url, method="HEAD"), timeout=timeout_s).close()  # noqa: S310 (from a catalogue)
    except HTTPError as refusal:
        refusal.close()


def _url_filename(url: str) -> str:
    return Path(urlsplit(url).path).name
