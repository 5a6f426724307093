"""Which folds are run, in which order and until when, on rows that are made up; nothing is trained."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.backbones.backbone import BackboneSpec, Weights, WeightsSource
from harness.config import DataConfig, Device, EvidenceConfig, Precision, RankConfig, SweepConfig, TrainConfig
from harness.data.dataset import Dataset, Split
from harness.data.profile import Profile
from harness.jobs.identity import failed_row
from harness.jobs.sharing import head_group_key
from harness.jobs.spec import JobSpec
from harness.process.place import EVERYWHERE
from harness.search import cross_fit
from harness.search.cross_fit import Clock, Room, Rounds, Work, folds_jobs, training_s
from harness.search.pull import Crew
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Predictions, Study
from harness.transfer.depth import parse_freeze
from harness.transfer.held_out import folds_of, hold_out
from tests.unit.select.planted import make_details, make_row, write_job
from tests.unit.tiny import split

NUM_TRAIN, NUM_VAL = 240, 60
FOLD_S = 10.0
"""What a fold takes."""


def a_dataset() -> Dataset:
    """Three classes; nobody opens an image."""
    profile = Profile(source="test", root=None, num_found=300, num_used=300, class_counts={}, imbalance_ratio=1.0, split_origin={})
    return Dataset("made up", ("a", "b", "c"), split(0, NUM_TRAIN), split(1000, NUM_VAL), split(5000, 0), "f1", profile)


@dataclass
class World:
    """A study whose fine-tunes err at random with a given probability, and a clock."""

    root: Path
    dataset: Dataset = field(default_factory=a_dataset)
    error: dict[str, float] = field(default_factory=dict)
    """Of a backbone at a depth."""
    now: float = 0.0
    ran: list[tuple[str, int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    breaks: Callable[[JobSpec], bool] = lambda _: False

    @property
    def study(self) -> Study:
        return Study(self.root / "s")

    def add(self, backbone: str, freeze: str, error: float, seed: int = 0, **changes: Any) -> JobSpec:
        """A job with its row: like it, and with as many errors as are to be expected."""
        job = self.job(backbone, freeze, seed)
        self.error[f"{backbone} {freeze}"] = error
        self._write(job, self.dataset.val, model_blake2b=job.job_id, lr=3e-4, lrs_tried="0.0001 0.0003 0.001", **changes)
        return job

    def job(self, backbone: str, freeze: str, seed: int = 0) -> JobSpec:
        return JobSpec(
            config=SweepConfig(
                backbone=backbone,
                freeze=freeze,
                seed=seed,
                data=DataConfig(name="made up"),
                train=TrainConfig(epochs=3),
                study="s",
                results_dir=str(self.root),
            ),
            dataset=self.dataset,
            backbone=BackboneSpec("own", backbone, None, backbone, backbone),
            weights=Weights(WeightsSource.file, None, "a1_in1k", f"sha-{backbone}", None, None),
            depth=parse_freeze(freeze),
            device=Device.cpu,
            precision=Precision.float32,
            protocol={"metric": "accuracy"},
            command=(f"backbone={backbone}", f"freeze={freeze}", f"seed={seed}"),
            asked_at="2025-01-01T00:00:00.000+00:00",
        )

    def run(self, job: JobSpec) -> Row:
        """Instead of training: a row, and the clock goes on."""
        assert job.fold is not None
        self.ran.append((f"{job.config.backbone} {job.depth}", job.fold.number))
        self.now += FOLD_S
        if self.breaks(job):
            row = failed_row(job, Status.oom, "out of memory")
            self.study.write_row(row)
            return row
        held = hold_out(self.dataset, job.fold.number, job.config.seed)
        return self._write(job, held.dataset.val, fold=job.fold.number, oof_folds=folds_of(self.dataset), lr=job.fold.lr, total_s=FOLD_S)

    def cross_fit(self, jobs: Iterable[JobSpec], limit_s: float = 1e6) -> None:
        self.rounds(list(jobs), Clock(limit_s))

    def rounds(self, jobs: list[JobSpec], room: Room) -> None:
        sweep: Any = SimpleNamespace(run=lambda jobs, *_, **__: self.run(jobs[0]), patience_s=None)
        Crew(sweep, Rounds(jobs, room, self.said.append), [EVERYWHERE]).run()

    def _write(self, job: JobSpec, of: Split, **changes: Any) -> Row:
        cfg = job.config
        given: dict[str, Any] = {
            "protocol": job.protocol_hash,
            "primary_metric": "accuracy",
            "is_trained": cfg.freeze != "all",
            "chosen_epoch": 3,
            "epochs": 3,
            "temperature": 1.0,
            "train_s": 2 * FOLD_S,
            "latency_ms_p50": None,
            "details": make_details(3),
        }
        row = make_row(job.job_id, cfg.backbone, cfg.freeze, cfg.seed, **(given | changes))
        found = self._said(of, self.error[f"{cfg.backbone} {cfg.freeze}"], cfg.backbone)
        return write_job(self.study, row, found)

    def _said(self, of: Split, error: float, name: str) -> Predictions:
        """The same of an image whoever says it; wrong on about that share of the images."""
        wrong = [np.random.default_rng([int(image.id), *name.encode()]).random() < error for image in of.images]
        called = np.where(wrong, (of.labels + 1) % 3, of.labels)
        log_probs = np.log(np.where(np.arange(3) == called[:, None], 0.9, 0.05)).astype(np.float32)
        return Predictions(log_probs, of.labels, [image.id for image in of.images])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Whose clock is the one that cross-fitting looks at."""
    made = World(tmp_path)
    monkeypatch.setattr(cross_fit, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is good enough."""
    monkeypatch.setattr(cross_fit, "ENOUGH_POINTS", -1.0)


def close_race(world: World) -> list[JobSpec]:
    """Two fine-tunes alike, a head that is worse, a fine-tune that is hopeless."""
    errors = {("a", "none"): 0.20, ("b", "none"): 0.21, ("a", "all"): 0.3, ("c", "none"): 0.7}
    return [world.add(backbone, freeze, error) for (backbone, freeze), error in errors.items()]


def test_imports_no_torch() -> None:
    """The sweep's own process has none."""
    code = "import sys, harness.search.cross_fit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("endless")
def test_the_fewest_folds_first(world: World) -> None:
    """Fold 0 of each that may be the best, then fold 1 of each; who cannot be, or has no weights of its own, gets none."""
    world.cross_fit(close_race(world), limit_s=4.5 * FOLD_S + 4)
    assert [name for name, _ in world.ran[:2]] in (["a none", "b none"], ["b none", "a none"])
    assert [number for _, number in world.ran] == [0, 0, 1, 1]
    assert {name for name, _ in world.ran} == {"a none", "b none"}


@pytest.mark.usefixtures("endless")
def test_candidates_with_the_fewest_folds_come_first(world: World) -> None:
    """With fold 0 of one done before, the other's comes first."""
    jobs = close_race(world)
    row = world.study.read_row(jobs[0].job_id)
    assert row is not None
    world.run(folds_jobs(jobs[0], row)[0])
    world.cross_fit(jobs, limit_s=FOLD_S + 5)
    assert world.ran == [("a none", 0), ("b none", 0)]


@pytest.mark.usefixtures("endless")
def test_no_fold_is_begun_that_would_not_end_in_time(world: World) -> None:
    """The first takes what the candidate's own training did, and a start; later ones what the first took."""
    jobs = close_race(world)
    world.cross_fit(jobs, limit_s=FOLD_S + 3)
    assert world.ran == []
    world.cross_fit(jobs, limit_s=FOLD_S + 5)
    assert len(world.ran) == 1
    world.now = 0.0
    world.cross_fit(jobs, limit_s=5.5 * FOLD_S)
    assert world.now <= 5.5 * FOLD_S
    assert len(world.ran) == 6


def test_it_ends_when_the_answer_is_good_enough(world: World) -> None:
    """A winner whose expected loss is small needs no fold; a race is run until one of them is, or no fold is left."""
    clear = [world.add("a", "none", 0.1), world.add("b", "none", 0.7), world.add("a", "all", 0.7)]
    world.cross_fit(clear)
    assert world.ran == []
    race = [*clear, world.add("d", "none", 0.11)]
    world.cross_fit(race)
    study, rank = world.study, race[0].config.rank
    assert 0 < len(world.ran) < 2 * folds_of(world.dataset)
    assert cross_fit.may_be_best(study, rank, race[0].protocol_hash) == []


@pytest.mark.usefixtures("endless")
def test_all_folds_and_no_more(world: World) -> None:
    """With time enough each fold is run once at most; the next sweep finds nothing to do; no test prediction is opened."""
    jobs = close_race(world)
    world.cross_fit(jobs)
    assert len(world.ran) == len(set(world.ran)) > 4
    assert {number for _, number in world.ran} <= set(range(folds_of(world.dataset)))
    before = list(world.ran)
    world.cross_fit(jobs)
    assert world.ran == before
    assert world.study.opened() == set()


@pytest.mark.usefixtures("endless")
def test_candidates_that_are_not_cross_fitted(world: World) -> None:
    """Fine-tunes that ended as their start, or were stopped early, and those of another sweep."""
    untrained = world.add("a", "none", 0.20, is_trained=False)
    stopped = world.add("b", "none", 0.20, status="pruned", rung=1)
    world.add("c", "none", 0.20)
    world.cross_fit([untrained, stopped, world.add("d", "all", 0.21)])
    assert world.ran == []


@pytest.mark.usefixtures("endless")
def test_what_goes_wrong_costs_its_candidate_further_folds(world: World) -> None:
    """The others go on; a line says so, a row keeps it, and neither is it tried again."""
    jobs = close_race(world)
    world.breaks = lambda job: job.config.backbone == "b"
    world.cross_fit(jobs)
    assert [name for name, _ in world.ran].count("b none") == 1
    assert [name for name, _ in world.ran].count("a none") == folds_of(world.dataset)
    assert any("b freeze=none" in line and "OOM: out of memory; it gets no more folds" in line for line in world.said)
    assert [row.fold for row in world.study.rows() if row.status == "oom"] == [0]


@pytest.mark.usefixtures("endless")
def test_every_seed_gets_its_fold(world: World) -> None:
    """A candidate of two seeds is trained twice for each fold."""
    jobs = [world.add("a", "none", 0.20, seed) for seed in (0, 1)] + [world.add("b", "none", 0.25)]
    world.cross_fit(jobs, limit_s=3 * (FOLD_S + 5))
    assert world.ran.count(("a none", 0)) == 2


@pytest.mark.usefixtures("endless")
def test_a_latency_limit_excludes_no_candidate_before_timing(world: World) -> None:
    """Models are timed when folds are done; other limits hold."""
    jobs = close_race(world)
    limited = [replace(job, config=replace(job.config, rank=RankConfig(max_latency_ms=5.0))) for job in jobs]
    world.cross_fit(limited, limit_s=FOLD_S + 5)
    assert len(world.ran) == 1
    small = [replace(job, config=replace(job.config, rank=RankConfig(max_params_m=5.0))) for job in jobs]
    world.cross_fit(small)
    assert len(world.ran) == 1


def test_a_fold_is_another_job(world: World) -> None:
    """Ids differ by fold and by what was chosen; the candidate's own id does not depend on folds; it runs in a group of its own."""
    own = world.add("a", "none", 0.2)
    row = world.study.read_row(own.job_id)
    assert row is not None
    folds = folds_jobs(own, row)
    assert len({own.job_id, *(job.job_id for job in folds)}) == 1 + folds_of(world.dataset)
    assert replace(folds[0], fold=None).job_id == own.job_id
    assert folds_jobs(own, replace(row, lr=1e-3))[0].job_id != folds[0].job_id
    assert replace(own, config=replace(own.config, evidence=EvidenceConfig(7.0))).job_id == own.job_id
    assert head_group_key(folds[0]) == folds[0].job_id
    assert failed_row(folds[2], Status.oom, "x").fold == 2


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"lrs_tried": None, "epochs": 9}, 90.0),
        ({"lrs_tried": "1 2 3", "epochs": 9}, 45.0),
        ({"lrs_tried": "1 2 3 4", "epochs": 3}, 90 * 3 / 7),
        ({"lrs_tried": "1 2 3", "epochs": 9, "rung": 2}, 54.0),
    ],
)
def test_training_is_told_from_the_search_of_rates(changes: dict[str, Any], seconds: float) -> None:
    """Each rate that was tried took a third of the epochs; a staged search may have tried one before."""
    assert training_s(replace(make_row("x", train_s=90.0), **changes)) == pytest.approx(seconds)


@pytest.mark.usefixtures("endless")
def test_without_a_time_it_is_a_third_of_the_work(world: World) -> None:
    """Work is multiply-adds trained, whatever the clock says: after four fine-tunes whose rates took as long as they did, two folds; rows from before count nothing."""
    jobs = [world.add(name, "none", 0.2, gmacs=1.0, frozen_macs_frac=0.0, n_train=NUM_TRAIN) for name in ("a", "b", "c", "d")]
    world.now = 1e9
    world.rounds(jobs, Work(jobs))
    assert len(world.ran) == 2
    assert world.said[0] == "cross-fitting fine-tunes that may be the best, for a third of the work of the jobs at most"
    later = [replace(job, asked_at="2030-01-01T00:00:00.000+00:00") for job in jobs]
    assert folds_that_fit(later[0], Work(later)) == 0


def folds_that_fit(job: JobSpec, room: Work) -> int:
    """How many folds of one fine-tune there is room for, if it has as many as are wanted."""
    row = Study(job.config.study_dir).read_row(job.job_id)
    assert row is not None
    return len(room.fitting([(folds_jobs(job, row)[0], row)] * 100))


def test_rates_that_were_tried_are_work_of_the_sweep(world: World) -> None:
    """Three short trainings of a third of the epochs are as much as the whole: the folds of twice the work, and of fine-tunes of half the work as many."""
    one = world.add("a", "none", 0.2, gmacs=1.0, frozen_macs_frac=0.0, n_train=3 * NUM_TRAIN)
    other = world.add("b", "none", 0.2, gmacs=1.0, frozen_macs_frac=0.5, n_train=3 * NUM_TRAIN)
    num_images = NUM_TRAIN + NUM_VAL
    of_a_fold = num_images - num_images // folds_of(world.dataset)
    assert folds_that_fit(one, Work([one])) == folds_that_fit(other, Work([other])) == 2 * NUM_TRAIN // of_a_fold
    assert folds_that_fit(one, Work([one, other])) == 3 * NUM_TRAIN // of_a_fold


@pytest.mark.usefixtures("endless")
def test_folds_that_were_run_are_work_that_is_gone(world: World) -> None:
    """Whoever asks next, in another process say, has what they have left."""
    one = world.add("a", "none", 0.2, gmacs=1.0, frozen_macs_frac=0.0, n_train=3 * NUM_TRAIN)
    row = world.study.read_row(one.job_id)
    assert row is not None
    before = folds_that_fit(one, Work([one]))
    world.run(folds_jobs(one, row)[0])
    assert folds_that_fit(one, Work([one])) == before - 1
