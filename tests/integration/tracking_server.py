"""MLflow's own tracking server on loopback, in a process of its own, and its REST API: what tests of trackers log to and read back from."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def get(self, method: str, /, **query: str) -> Any:
        """GET below `/api/2.0/mlflow/`."""
        return _answer(urllib.request.Request(f"{self.url}/api/2.0/mlflow/{method}?{urlencode(query)}"))

    def post(self, method: str, /, **body: Any) -> Any:
        """POST below `/api/2.0/mlflow/`."""
        headers = {"Content-Type": "application/json"}
        return _answer(urllib.request.Request(f"{self.url}/api/2.0/mlflow/{method}", json.dumps(body).encode(), headers))

    def runs(self, experiment: str) -> list[Any]:
        """All runs of an experiment that are not deleted."""
        found = self.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
        answer = self.post("runs/search", experiment_ids=[found["experiment_id"]], max_results=1000)
        return list(answer.get("runs", []))


def _answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@contextmanager
def tracking_server(folder: Path, port: int = 0) -> Iterator[Server]:
    """A server that keeps its runs in `folder`, also from one such server to the next. It ends with the block, or with this process.

    Args:
        folder: where the runs are.
        port: where it listens; 0: anywhere.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, str(port)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            listening = process.stdout.readline().strip()
            assert listening, (folder / "server.log").read_text()
            yield Server(process, int(listening))
        finally:
            process.kill()


def main() -> None:
    """Serve until standard input closes."""
    from mlflow.server import app  # the part of it that needs neither gunicorn nor what its assistant needs
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
