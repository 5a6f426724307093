"""search=staged from the command line: every backbone probed, few trained, everything accounted for."""

from collections.abc import Sequence

import pytest

from harness.search.predicted_cost import Prediction
from harness.search.trainer import JobTrainer
from harness.transfer.rungs import Rung
from tests.integration.commands import TINY, Command

STAGED = (*TINY, "train.epochs=3", "backbone=test_resnet,test_vit,test_convnext", "freeze=all,-1,none", "search=staged", "budget.share=0.6")


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe takes a second, a short training one and a whole one three, however busy the machine is: what is left out is left out by scores."""
    taken = {Rung.probe: 1.0, Rung.short: 1.0, Rung.whole: 3.0}

    def predict_s(trainer: JobTrainer, name: str, path: Sequence[Rung]) -> Prediction:
        seconds = sum(taken[rung] for rung in path)
        return Prediction(seconds, seconds, seconds)

    def spent_s(trainer: JobTrainer) -> float:
        at = [Rung(rows[0].rung) for rows in trainer.rows.values() if rows[0].rung is not None]
        return sum(taken[rung] + (rung is Rung.whole) for rung in at)

    monkeypatch.setattr(JobTrainer, "predict_s", predict_s)
    monkeypatch.setattr(JobTrainer, "spent_s", spent_s)


@pytest.mark.usefixtures("steady")
def test_a_search_accounts_for_every_candidate(run_sweep: Command) -> None:
    """Each of nine candidates has a row: probes are complete, some are trained to the end, the others say how far they came and why."""
    ended = run_sweep(*STAGED)
    assert ended.status == 0, ended.err
    rows = {(row.backbone, row.freeze): row for row in ended.rows()}
    assert len(rows) == 9
    assert {row.status for row in rows.values()} == {"ok", "pruned"}
    for (_, freeze), row in rows.items():
        if freeze == "all":
            assert (row.status, row.rung, row.epochs_trained) == ("ok", 0, 0)  # a closed-form head needs no epoch
        elif row.status == "ok":
            assert (row.rung, row.epochs_trained, row.error) == (2, 3, None)
        else:
            assert (row.rung, row.epochs_trained) in [(0, None), (1, 1)]
            assert (row.val_accuracy is None) == (row.rung == 0)
            assert row.error is not None
            assert "probability of" in row.error
    assert any(row.status == "ok" and row.freeze != "all" for row in rows.values())
    study = ended.study()
    assert (study.report_dir / "index.html").exists()
    assert "search: 3 linear probes first" in ended.out
    assert "predicted after the probes" in ended.out


@pytest.mark.usefixtures("steady")
def test_what_a_search_trains_is_what_a_grid_trains(run_sweep: Command) -> None:
    """A candidate that was trained shortly and then whole has the id, the curve and the scores of one trained in one go."""
    searched = {row.job_id: row for row in run_sweep(*STAGED, results="searched").rows()}
    gridded = {row.job_id: row for row in run_sweep(*STAGED, "search=grid", results="gridded").rows()}
    assert set(searched) == set(gridded)
    finished = [job_id for job_id, row in searched.items() if row.status == "ok"]
    assert len(finished) > 3
    for job_id in finished:
        assert searched[job_id].details.curve == gridded[job_id].details.curve
        assert searched[job_id].val_log_loss == gridded[job_id].val_log_loss
        assert searched[job_id].details.lr_losses == gridded[job_id].details.lr_losses


def test_a_search_whose_time_is_up_still_recommends(run_sweep: Command) -> None:
    """With next to no minutes one probe is run and recommended, the rest is pruned, and the status is 0."""
    ended = run_sweep(*STAGED, "budget.minutes=0.01")
    assert ended.status == 0, ended.err
    rows = ended.rows()
    assert len(rows) == 9
    assert [row.freeze for row in rows if row.status == "ok"] == ["all"]
    assert {row.status for row in rows} == {"ok", "pruned"}
    assert "Use test_" in ended.out


def test_a_search_refuses_what_it_cannot_stage(run_sweep: Command) -> None:
    """Two-phase recipes, no epochs, and several data sets are named before anything runs."""
    for option in ("train.epochs=0", "data=digits,elpv", "train.epochs=1,3"):
        ended = run_sweep(*STAGED, option)
        assert ended.status == 2, option
        assert "search=staged" in ended.err
        assert not ended.results.exists()
