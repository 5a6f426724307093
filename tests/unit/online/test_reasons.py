"""What is said about errors of the network and of the disk."""

import errno
from urllib.error import HTTPError, URLError

import pytest

from harness.online.reasons import brief, status_of, through_proxy, why


def _http_error(status: int) -> HTTPError:
    return HTTPError("http://h/x", status, "whatever", None, None)  # type: ignore[arg-type]


def _caused(by: Exception) -> Exception:
    error = RuntimeError("something went wrong")
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_http_error(404), "HTTP 404 Not Found"),
        (_http_error(302), "HTTP 302 Found; its redirects lead nowhere"),
        (_http_error(503), "HTTP 503 Service Unavailable; the server is out of order, try again later"),
        (_http_error(599), "HTTP 599 of no known meaning; the server is out of order, try again later"),
        (_caused(_http_error(403)), "HTTP 403 Forbidden; it is private or gated: a token that may read it is needed, set HF_TOKEN"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (_caused(_caused(TimeoutError("timed out"))), "timed out"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_root_of_an_error_is_named(error: Exception, words: str) -> None:
    """The server's refusal, or what lies behind the error that the client made of it."""
    assert why(error, folder="cache", is_hub=True) == words


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), _caused(PermissionError(errno.EACCES, "Permission denied", "/c/x"))]
)
def test_trouble_with_the_disk_names_the_folder(error: Exception) -> None:
    """No room and no permission are the user's to mend, and where."""
    assert why(error, folder="/c", is_hub=True).startswith("/c cannot be written: ")


def test_a_token_is_asked_for_by_the_hub_only() -> None:
    """Another server does not know the hub's tokens."""
    assert why(_http_error(401), folder="cache", is_hub=False) == "HTTP 401 Unauthorized"


def test_an_exit_status_is_no_http_status() -> None:
    """Only numbers of the right size count."""
    assert status_of(SystemExit(3)) is None
    assert status_of(_caused(_http_error(429))) == 429


def test_words_of_servers_stay_on_one_plain_line() -> None:
    """Line breaks and control characters become spaces; what is long is cut."""
    assert brief("a\nb\x1b[2J\r\tc") == "a b [2J c"
    assert brief("x" * 300) == "x" * 200 + "…"


def test_proxies_are_named_without_their_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the address's own scheme, unless the host is exempt."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert through_proxy("https://hub") == ""
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:3128/")
    assert through_proxy("https://hub") == " through the proxy proxy:3128, which HTTPS_PROXY names"
    assert through_proxy("http://hub") == ""
    monkeypatch.setenv("no_proxy", "hub")
    assert through_proxy("https://hub") == ""
