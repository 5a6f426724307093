"""Each fault of the table, injected for real."""

from pathlib import Path

import pytest

from tests.faults import everything  # noqa: F401  fills the catalogue
from tests.faults.box import Box
from tests.faults.catalog import FAULTS, Seen

APART = frozenset({"disk", "environment", "hub", "job", "sweep"})
"""Areas whose faults need the right to mount, or are waited for: stalls, timeouts, kills. `make faults` injects them too."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.faults] * (fault.area in APART)) for name, fault in FAULTS.items()])
def test_nothing_is_lost_and_nothing_wrong(name: str, tmp_path: Path) -> None:
    """The fault's own assertions hold, and the user is told something."""
    seen = FAULTS[name].inject(Box(tmp_path))
    assert isinstance(seen, Seen)
    assert seen.words
