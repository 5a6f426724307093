"""Where weights are published, their local caches, and downloads that neither hang nor leave a broken file behind.

timm's weights live in model repositories on the Hugging Face hub, torchvision's (and a few of timm's) at plain URLs.
Only `weights` uses this module.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from harness.backbones.backbone import BackboneSpec
from harness.backbones.catalog import timm_config, torchvision_weights
from harness.backbones.quiet import quiet
from harness.errors import BackboneError

PROBE_TIMEOUT_S = 3.0
"""A hub that has not answered by then counts as unreachable."""
_DOWNLOAD_TIMEOUT_S = 20.0
"""Longest silence within a download from a plain URL."""


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


def published(spec: BackboneSpec) -> Published | None:
    """Where the weights of `spec` are published; None for an architecture without any."""
    if spec.tag is None:
        return None
    if spec.library == "torchvision":
        url = str(torchvision_weights(spec).url)
        return Published(repo=None, revision=None, filenames=(_url_filename(url),), url=url)
    config = timm_config(spec)
    if config.hf_hub_id:
        repo, _, revision = str(config.hf_hub_id).partition("@")
        names = (config.hf_hub_filename,) if config.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
        return Published(repo=repo, revision=revision or None, filenames=names, url=None)
    return Published(repo=None, revision=None, filenames=(_url_filename(config.url),), url=str(config.url))


def cached_file(source: Published) -> Path | None:
    """The file that an earlier download left in the local cache."""
    if source.repo is None:
        path = source.cache_dir / source.filenames[0]
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    for filename in source.filenames:
        found = try_to_load_from_cache(source.repo, filename, revision=source.revision)
        if isinstance(found, str):
            return Path(found)
    return None


def why_unreachable(source: Published) -> str | None:
    """A few words on why no download is possible now; None when the server answers. Probes each server once per process."""
    if is_offline():
        return "HF_HUB_OFFLINE is set"
    reachable = hub_is_reachable() if source.repo else _url_answers(f"https://{urlsplit(source.url or '').netloc}/")
    return None if reachable else f"no answer within {PROBE_TIMEOUT_S:g} s"


def is_offline() -> bool:
    """Whether the user forbids any use of the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def hub_endpoint() -> str:
    """Address of the hub: `HF_ENDPOINT`, or the public one."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@cache
def hub_is_reachable() -> bool:
    """Whether the hub answers anything at all within `PROBE_TIMEOUT_S`. Asked once per process, with the hub client's own settings."""
    from huggingface_hub import get_session

    session = get_session()
    return _answers(lambda: session.head(hub_endpoint(), timeout=PROBE_TIMEOUT_S))


@cache
def _url_answers(url: str) -> bool:
    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=PROBE_TIMEOUT_S).close()  # noqa: S310 (https by construction)
        except URLError as error:
            if not hasattr(error, "code"):  # an HTTP status, even a refusal, is an answer
                raise

    return _answers(ask)


def _answers(ask: Callable[[], object]) -> bool:
    """Run `ask` with a hard limit: name look-ups and slow trickles obey no socket timeout, so a thread is left behind."""
    answered = threading.Event()

    def attempt() -> None:
        try:
            ask()
        except Exception:  # noqa: BLE001 (whatever the client raises, the hub did not answer)
            return
        answered.set()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PROBE_TIMEOUT_S)
    return answered.is_set()


def download(source: Published) -> Path:
    """Fetch the weights into the local cache and return the file there.

    Raises:
        BackboneError: the server has no such file, or the transfer broke off; nothing partial is kept.
    """
    return _download_from_hub(source, source.repo) if source.repo else _download_url(source, str(source.url))


def _download_from_hub(source: Published, repo: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # The client's transport errors are OSErrors in some of its versions only; its HTTP error inherits from their base in all.
    transport_errors: tuple[type[Exception], ...] = (OSError, RuntimeError, *HfHubHTTPError.__bases__)
    for filename in source.filenames:
        try:
            with quiet():
                return Path(hf_hub_download(repo, filename, revision=source.revision))
        except EntryNotFoundError:
            continue
        except transport_errors as error:
            raise _broken(source, error) from error
    raise BackboneError(f"weights=pretrained: {source.address} holds none of {', '.join(source.filenames)}; give weights=PATH.")


def _download_url(source: Published, url: str) -> Path:
    target = source.cache_dir / source.filenames[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file, urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as response:  # noqa: S310 (from a catalogue)
            while chunk := response.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
        _require_hash(digest.hexdigest(), target.name)
        Path(temporary).replace(target)
    except (OSError, ValueError) as error:
        raise _broken(source, error) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _require_hash(sha256: str, filename: str) -> None:
    """Published file names carry the start of their hash: alexnet-owt-7be5be79.pth."""
    expected = Path(filename).stem.rpartition("-")[2]
    if len(expected) >= 8 and set(expected) <= set("0123456789abcdef") and not sha256.startswith(expected):
        raise ValueError(f"content hash {sha256[:8]} is not {expected}")


def _url_filename(url: str) -> str:
    return Path(urlsplit(url).path).name


def _broken(source: Published, error: Exception) -> BackboneError:
    words = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    return BackboneError(f"weights=pretrained: download from {source.address} failed ({words}); try again, or give weights=PATH.")
