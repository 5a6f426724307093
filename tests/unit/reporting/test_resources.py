"""What the time of the jobs took besides: energy where counters could be read, cost where there was a price."""

from pathlib import Path

from harness.reporting.document import Paragraph
from harness.reporting.sections.resources import build
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, planted


def said(study: Study) -> str:
    """The paragraphs of step 2."""
    return " ".join(str(block.text) for block in build(rank(study, QUICK)).blocks if isinstance(block, Paragraph))


def test_energy_and_cost_are_sums_over_the_jobs_that_have_them(tmp_path: Path) -> None:
    """Those of other chips are not added up, whom they count is said; nothing of it where no row has any."""
    study = Study(tmp_path / "s")
    add(study, "a", planted(range(10)))
    assert "nergy" not in said(study)
    assert "Cost" not in said(study)
    add(study, "b", planted(range(11)), energy_wh=1.25, energy_of="accelerator")
    add(study, "c", planted(range(12)), energy_wh=0.5, energy_of="accelerator+processor", cost=0.375, total_s=900.0)
    assert (
        "Energy: 1.25\N{NO-BREAK SPACE}Wh for 1 job, by counters of the accelerator, which also count what others did there meanwhile. "
        "Energy: 0.5\N{NO-BREAK SPACE}Wh for 1 job, by counters of the accelerator and the processor, which also count what others did there "
        "meanwhile. Cost of 1 job at the price that was given for an hour: 0.38."
    ) in said(study)
