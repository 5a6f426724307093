"""A real S3 server on loopback, and hosts that know it: each with folders of its own, as if there were nothing else between them."""

import logging
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness.files.place import MIRRORS

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server."""

    name: str
    address: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def variables(self, host: Path) -> dict[str, str]:
        """The environment of a process on a host that may use the bucket."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",
            MIRRORS: str(host / "mirror"),
        }


@contextmanager
def serving() -> Iterator[Bucket]:
    """A bucket for the length of the block."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    bucket = Bucket(f"bucket-{uuid.uuid4().hex[:8]}", f"http://{host}:{port}")
    try:
        connection = HTTPConnection(host, port)
        connection.request("PUT", f"/{bucket.name}", headers=_AS_TEST)
        assert connection.getresponse().status == 200
        connection.close()
        yield bucket
    finally:
        server.stop()


_AS_TEST = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"}


@dataclass(frozen=True)
class Host:
    """A machine as far as the harness can tell: nothing of another one's folders is in its own."""

    folder: Path
    bucket: Bucket

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.bucket.variables(self.folder), "PYTHONPATH": str(ROOT)}

    @property
    def study_dir(self) -> Path:
        """The mirror of the study of digits."""
        return self.folder / "mirror" / "s3" / self.bucket.name / "results" / "digits"

    def start(self, command: str, *arguments: str) -> "subprocess.Popen[str]":
        """A command of the harness, in a folder of its own."""
        self.folder.mkdir(exist_ok=True)
        where = [f"results_dir={self.bucket.url}/results"]
        if command == "sweep":
            where += [f"cache_dir={self.folder / 'cache'}", f"store.shared={self.bucket.url}/features", "evidence.minutes=0"]
        typed = [sys.executable, "-m", f"harness.{command}", *where, *arguments]
        return subprocess.Popen(
            typed, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def run(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The same, to its end."""
        process = self.start(command, *arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@dataclass(frozen=True)
class Proxied(Bucket):
    """A bucket as a proxy has it."""

    puts: Counter[str]
    """How often each key was put."""


@contextmanager
def behind(bucket: Bucket, *, lag_s: float = 0.0, refused: str | None = None) -> Iterator[Proxied]:
    """The same bucket through a proxy.

    Args:
        bucket: the real one.
        lag_s: listings do not show what was put less than so long ago.
        refused: nothing may be put whose key has this in it.
    """
    puts = Counter[str]()
    proxy = type("Proxy", (_Proxy,), {"to": bucket.address, "put_at": {}, "puts": puts, "lag_s": lag_s, "refused": refused})
    with ThreadingHTTPServer(("127.0.0.1", 0), proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Proxied(bucket.name, f"http://127.0.0.1:{server.server_address[1]}", puts)
        finally:
            server.shutdown()


_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    to: str
    put_at: dict[str, float]
    puts: Counter[str]
    lag_s: float
    refused: str | None

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        if self.command == "PUT" and self.refused is not None and self.refused in key:
            self._answer(403, {"Content-Type": "application/xml"}, _DENIED)
            return
        target = HTTPConnection(urlsplit(self.to).netloc)
        target.request(self.command, self.path, body, dict(self.headers))
        answer = target.getresponse()
        content = answer.read()
        if self.command == "PUT" and key:
            self.put_at.setdefault(key, time.monotonic())
            self.puts[key] += 1
        if "list-type=2" in self.path:
            content = re.sub(rb"<Contents>.*?</Contents>", self._shown, content, flags=re.DOTALL)
        self._answer(answer.status, dict(answer.getheaders()), content)
        target.close()

    def _shown(self, entry: "re.Match[bytes]") -> bytes:
        key = unquote(re.findall(r"<Key>(.*?)</Key>", entry[0].decode())[0])
        return b"" if time.monotonic() - self.put_at.get(key, -1e9) < self.lag_s else entry[0]

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None:
        pass
