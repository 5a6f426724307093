"""A server on loopback that behaves as a model hub does, or misbehaves."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40
HTML = b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>Please sign in.</body></html>"


@dataclass
class Site:
    """What is served, how, and what was asked for."""

    files: Mapping[str, bytes]
    """Path -> content."""
    get: "Reply"
    head: "Reply"
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and credentials of every request."""
    closing: threading.Event = field(default_factory=threading.Event)
    """Ends replies that never would."""
    address: str = ""


class Visit(BaseHTTPRequestHandler):
    """One request."""

    site: Site

    def do_HEAD(self) -> None:
        self._answer(self.site.head)

    def do_GET(self) -> None:
        self._answer(self.site.get)

    def _answer(self, reply: "Reply") -> None:
        self.site.asked.append((self.command, self.path, self.headers.get("Authorization")))
        content = self.site.files.get(self.path)
        try:
            (absent if content is None else reply)(self, content or b"")
        except (BrokenPipeError, ConnectionResetError):  # the client has given up, which is what some tests want
            self.close_connection = True

    def begin(self, status: int, headers: Mapping[str, object]) -> None:
        """Status line and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def give(self, content: bytes) -> None:
        """Part of the body, if this request wants one."""
        if self.command == "GET":
            self.wfile.write(content)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


Reply = Callable[[Visit, bytes], None]
"""Answers one request for a file that is there, given its content."""


def described(content: bytes) -> dict[str, object]:
    """The headers by which the hub describes a file."""
    return {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Content-Length": len(content)}


def whole(visit: Visit, content: bytes) -> None:
    """As it should be."""
    visit.begin(200, described(content))
    visit.give(content)


def absent(visit: Visit, _: bytes) -> None:
    """As the hub says that a file is not there."""
    visit.begin(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT, "Content-Length": 0})


def refusing(status: int, **headers: object) -> Reply:
    """Answer with a status and no content; underscores in names of headers stand for dashes."""
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda visit, _: visit.begin(status, {"Content-Length": 0, **shown})


def half(visit: Visit, content: bytes) -> None:
    """Promise all, give half, hang up."""
    visit.begin(200, described(content))
    visit.give(content[: len(content) // 2])


def stalling(visit: Visit, content: bytes) -> None:
    """Promise all, give half, fall silent."""
    half(visit, content)
    visit.site.closing.wait(300)


def trickling(visit: Visit, content: bytes) -> None:
    """Promise all, give a byte now and then."""
    visit.begin(200, described(content))
    for byte in content:
        visit.give(bytes([byte]))
        if visit.site.closing.wait(0.2):
            return


def changed(visit: Visit, content: bytes) -> None:
    """Right size, right description, another content."""
    visit.begin(200, described(content))
    visit.give(content[:-1] + bytes([content[-1] ^ 1]))


def page(visit: Visit, _: bytes) -> None:
    """What the gate of a hotel's network answers to everything."""
    visit.begin(200, {"Content-Type": "text/html", "Content-Length": len(HTML)})
    visit.give(HTML)


def disguised_page(visit: Visit, content: bytes) -> None:
    """The same, from a hub that describes it truly, though not by its hash."""
    visit.begin(200, {**described(HTML), "ETag": '"version-1"'})
    visit.give(HTML)


def circling(visit: Visit, _: bytes) -> None:
    """A redirect to itself."""
    visit.begin(302, {"Location": visit.path, "Content-Length": 0})


def elsewhere(address: str) -> Reply:
    """A redirect to another server, described as the hub describes files that it keeps there."""

    def reply(visit: Visit, content: bytes) -> None:
        about = described(content)
        linked = {"X-Linked-Etag": about["ETag"], "X-Linked-Size": len(content), "X-Repo-Commit": COMMIT, "Content-Length": 0}
        visit.begin(302, {"Location": f"{address}{visit.path}", **linked})

    return reply


@contextmanager
def serving(files: Mapping[str, bytes], *, get: Reply = whole, head: Reply = whole) -> Iterator[Site]:
    """A server for the length of the block."""
    site = Site(files, get, head)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Visit,), {"site": site})) as server:
        site.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()
