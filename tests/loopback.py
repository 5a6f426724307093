"""A server on loopback that behaves as a model hub does, or misbehaves."""

import base64
import hashlib
import json
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
    post: "Post"
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

    def do_POST(self) -> None:
        self.site.asked.append((self.command, self.path, self.headers.get("Authorization")))
        sent = self._body()
        status, answer = self.site.post(self.site, self.path, sent)
        content = json.dumps(answer).encode()
        self.begin(status, {"Content-Type": "application/json", "Content-Length": len(content)})
        self.wfile.write(content)

    def _body(self) -> bytes:
        """What was sent, in one piece or in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, reply: "Reply") -> None:
        if self.path not in self.site.files:
            self.path = self.path.replace(f"/resolve/{COMMIT}/", "/resolve/main/")  # what the only commit has, the branch has
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


Post = Callable[["Site", str, bytes], tuple[int, object]]
"""Answers what was sent to a path: a status and JSON."""


def closed(site: "Site", path: str, sent: bytes) -> tuple[int, object]:
    """Take nothing."""
    return 405, {"error": "not allowed"}


def hub(site: "Site", path: str, sent: bytes) -> tuple[int, object]:
    """Take repositories and commits as the model hub does; what was committed is served from then on."""
    if path == "/api/repos/create":
        asked = json.loads(sent)
        return 200, {"url": f"{site.address}/{asked.get('organization', 'me')}/{asked['name']}"}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    repo = path.removeprefix("/api/models/").rpartition("/main")[0].rpartition("/")[0]
    if "/preupload/" in path:
        names = [each["path"] for each in json.loads(sent)["files"]]
        return 200, {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
    for line in map(json.loads, sent.splitlines()):
        if line["key"] == "file":
            files = {f"/{repo}/resolve/main/{line['value']['path']}": base64.b64decode(line["value"]["content"])}
            site.files = {**site.files, **files}
    return 200, {"commitUrl": f"{site.address}/{repo}/commit/{COMMIT}", "commitOid": COMMIT}


def of_dataset(repo: str, files: Mapping[str, bytes], commit: str = COMMIT) -> dict[str, bytes]:
    """Answers of the hub about the only commit of a data set, and its files."""
    tree = [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()} for name, content in files.items()
    ]
    asked = {
        f"/api/datasets/{repo}/revision/main": {"id": repo, "sha": commit},
        f"/api/datasets/{repo}/tree/{commit}?recursive=true&expand=false": tree,
    }
    answers = {path: json.dumps(answer).encode() for path, answer in asked.items()}
    return answers | {f"/datasets/{repo}/resolve/{commit}/{name}": content for name, content in files.items()}


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


def misnamed(visit: Visit, content: bytes) -> None:
    """Another hash than the content has."""
    visit.begin(200, described(content) | {"ETag": f'"{hashlib.sha256(b"other").hexdigest()}"'})
    visit.give(content)


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
def serving(files: Mapping[str, bytes], *, get: Reply = whole, head: Reply = whole, post: Post = closed) -> Iterator[Site]:
    """A server for the length of the block. `post`: what it does with what is sent."""
    site = Site(files, get, head, post)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Visit,), {"site": site})) as server:
        site.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()
