"""The prepared run on an accelerator: one part that fails or hangs costs the others nothing and is in the record."""

from pathlib import Path

import pytest

from benchmarks.on_gpu import BUDGET_S, FAILED, OK, TIMED_OUT, Part, parts, rows, run
from harness.study.store import Study
from tests.unit.select.planted import add, make_details, planted


@pytest.mark.parametrize(
    ("command", "expected", "ended"),
    [
        (["timeit", "-n", "1", "-r", "1", "print('{folder}')"], 0, OK),
        (["json.tool", "/nowhere/{folder}"], 2, OK),
        (["json.tool", "/nowhere/{folder}"], 0, FAILED),
        (["timeit", "-n", "1", "-r", "1", "import time; print('still there', flush=True); time.sleep(60)"], 0, TIMED_OUT),
    ],
)
def test_whatever_happens_to_a_part_is_in_its_record(tmp_path: Path, command: list[str], expected: int, ended: str) -> None:
    """How it ended, how long it took, and the last words of one that did not end as it should."""
    found = run(Part("a", "about", command, 2, expected), tmp_path, 2.0)
    assert found["status"] == ended
    assert found["rows"] == []
    if ended in {FAILED, TIMED_OUT}:
        assert any(words in found["said"] for words in ("/nowhere/", "still there"))


def test_rows_that_are_there_are_kept(tmp_path: Path) -> None:
    """Without their empty cells, and with the precision that was asked for, which the row's own is not."""
    add(Study(tmp_path / "s"), "a", planted(range(10)), precision="bfloat16", details=make_details(command=["precision=mixed", "seed=0"]))
    (found,) = rows(tmp_path / "s")
    assert (found["asked"], found["precision"]) == ("mixed", "bfloat16")
    assert "energy_wh" not in found


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("quick", [False, True])
def test_every_part_fits_into_the_time_of_all(device: str, *, quick: bool) -> None:
    """And each has a name of its own."""
    found = parts(device, quick=quick)
    assert len({part.name for part in found}) == len(found)
    assert all(part.limit_s < BUDGET_S / 3 for part in found)
