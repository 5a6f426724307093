"""Why a download failed, in a few words that fit on one line of a message.

What servers say is untrusted: it cannot break the line, nor colour or move what a terminal shows.
"""

import errno
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_MAX_CHARACTERS = 200
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_TOKEN = "a token that may read it is needed, set HF_TOKEN"  # noqa: S105  says that one is needed
_HUB_ADVICE: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: f"; it is private, gated or not there: {_TOKEN}",
    HTTPStatus.FORBIDDEN: f"; it is private or gated: {_TOKEN}",
    HTTPStatus.TOO_MANY_REQUESTS: "; try again later, or set HF_TOKEN",
}


def why(error: BaseException, *, folder: str, is_hub: bool) -> str:
    """What stopped a transfer into `folder`: the server's refusal, the disk's, or what lies at the root of the error."""
    status = status_of(error)
    if status is not None:
        return _of_status(status) + (_HUB_ADVICE.get(status, "") if is_hub else "")
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno is not None and (link.errno in _DISK_ERRNOS or link.filename is not None):
            return f"{folder} cannot be written: {link.strerror}; make room there, or set HF_HOME and TORCH_HOME to other folders"
    return root_words(error)


def root_words(error: BaseException) -> str:
    """What the error at the root of this one says."""
    root = list(_chain(error))[-1]
    strerror = root.strerror if isinstance(root, OSError) else None
    return brief(strerror or _ERRNO.sub("", str(root))) or type(root).__name__


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of the hub client or of urllib, or of what caused it; None when there is none."""
    for link in _chain(error):
        found = getattr(getattr(link, "response", None), "status_code", None) or getattr(link, "code", None)
        if isinstance(found, int) and 100 <= found < 600:
            return found
    return None


def brief(text: str) -> str:
    """Text of others as one line of printable characters, cut short where it is long."""
    words = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return words if len(words) <= _MAX_CHARACTERS else f"{words[:_MAX_CHARACTERS]}…"


def through_proxy(url: str) -> str:
    """` through the proxy HOST:PORT` and who says so, or nothing where the environment names none for this address."""
    parts = urlsplit(url)
    proxies = getproxies()
    scheme = next((scheme for scheme in (parts.scheme, "all") if proxies.get(scheme)), None)
    if scheme is None or proxy_bypass(parts.hostname or ""):
        return ""
    host = urlsplit(proxies[scheme] if "://" in proxies[scheme] else f"//{proxies[scheme]}").netloc.rpartition("@")[2]  # never its password
    return f" through the proxy {brief(host)}, which {scheme.upper()}_PROXY names"


def _of_status(status: int) -> str:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "of no known meaning"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"HTTP {status} {phrase}; the server is out of order, try again later"
    if status < HTTPStatus.BAD_REQUEST:
        return f"HTTP {status} {phrase}; its redirects lead nowhere"
    return f"HTTP {status} {phrase}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and so on; urllib keeps the cause in an attribute."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        reason = getattr(link, "reason", None)
        link = link.__cause__ or (reason if isinstance(reason, BaseException) else None)
