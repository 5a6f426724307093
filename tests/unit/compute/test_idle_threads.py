"""Threads that wait give their core back."""

import os
import subprocess
import sys

import pytest


def _settings(code: str, **environment: str) -> str:
    """What torch's OpenMP says of itself when it is loaded."""
    unset = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**unset, "OMP_DISPLAY_ENV": "verbose", **environment}
    )
    return run.stderr


def test_jobs_threads_wait_briefly() -> None:
    """The process that jobs are forked from sets it before torch is loaded, which reads it only then; what the user has set stays."""
    found = _settings("import harness.jobs.preload")
    if "GOMP_SPINCOUNT" not in found:
        pytest.skip("another OpenMP, which has no such setting")
    assert "GOMP_SPINCOUNT = '10000'" in found
    assert "GOMP_SPINCOUNT = '0'" in _settings("import harness.jobs.preload", OMP_WAIT_POLICY="passive")
    assert "GOMP_SPINCOUNT = '77'" in _settings("import harness.jobs.preload", GOMP_SPINCOUNT="77")
