"""How long the fuzzing tests look: shortly and the same each time, or HARNESS_FUZZ_FACTOR times as long (`make fuzz`), always at other examples."""

import os

from hypothesis import HealthCheck, settings

_FACTOR = os.environ.get("HARNESS_FUZZ_FACTOR")


def examples(usual: int) -> settings:
    """Settings for a test that looks at so many examples unless more are asked for."""
    return settings(
        max_examples=usual * int(_FACTOR or 1),
        derandomize=_FACTOR is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
