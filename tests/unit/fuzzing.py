"""How long the fuzzing tests look: shortly and the same each time, or for as many examples as HARNESS_FUZZ_EXAMPLES says, always others."""

import os

from hypothesis import HealthCheck, settings

_ASKED = os.environ.get("HARNESS_FUZZ_EXAMPLES")


def examples(usual: int) -> settings:
    """Settings for a test that looks at so many examples unless more are asked for."""
    return settings(
        max_examples=int(_ASKED or usual),
        derandomize=_ASKED is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
