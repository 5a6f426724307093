"""How slow a download may be."""

import pytest

from harness.errors import ConfigError
from harness.online.pace import stall_s


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_a_limit_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not a number of seconds is an error and not a default."""
    monkeypatch.setenv("HARNESS_DOWNLOAD_STALL_S", text)
    with pytest.raises(ConfigError, match=rf"HARNESS_DOWNLOAD_STALL_S={text}: not a number of seconds; give one above 0"):
        stall_s()


def test_the_limit_is_a_minute_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset or empty variable is the default."""
    monkeypatch.delenv("HARNESS_DOWNLOAD_STALL_S", raising=False)
    assert stall_s() == 60
    monkeypatch.setenv("HARNESS_DOWNLOAD_STALL_S", "2.5")
    assert stall_s() == 2.5
