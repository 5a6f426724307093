"""Jobs made exact: every problem of a sweep is told at once, and each data set is read once."""

from dataclasses import replace
from threading import Barrier

import pytest

from harness.backbones.backbone import BackboneSpec, Weights
from harness.config import DataConfig, JobConfig, SweepConfig
from harness.data.early import Loaded, key_of
from harness.errors import DataError
from harness.jobs import prepare
from tests.unit.tiny import RANDOM, colours


def _config(backbone: str, data: str, freeze: str = "all") -> SweepConfig:
    return SweepConfig(backbone=backbone, weights="random", freeze=freeze, data=DataConfig(name=data, source="folder"), study="tried")


@pytest.fixture(autouse=True)
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has prepared nothing, and must read no data set itself."""
    monkeypatch.setattr(prepare, "_seen", {})
    monkeypatch.setattr(prepare, "load_dataset", lambda cfg, *_: pytest.fail(f"{cfg.name} was read again"))


def test_what_was_read_early_is_used_and_its_errors_are_told_once() -> None:
    """Data sets and their errors come from the process that read them; jobs on good ones are prepared, in the order asked for."""
    wanted = [
        _config("resnet18", "good"),
        _config("resnet18", "bad"),
        _config("resnet34", "bad", "0.5"),
        _config("resnet34", "good", "0.5"),
    ]
    found: Loaded = {"good": colours(), "bad": DataError("photos/cat: no images.")}
    loaded = {key_of(cfg.data, cfg.cache_dir, cfg.results_dir): found[cfg.data.name] for cfg in wanted}
    jobs, problems = prepare.prepare_all([(cfg, ()) for cfg in wanted], loaded)
    assert [(job.backbone.model, job.config.freeze) for job in jobs] == [("resnet18", "all"), ("resnet34", "0.5")]
    assert problems == ["photos/cat: no images."]


def test_every_mistake_is_reported() -> None:
    """A wrong depth, a wrong name and a data set that is not there: one message each, whichever jobs have them."""
    cfg = _config("no_such_network", "bad", "most")
    jobs, problems = prepare.prepare_all(
        [(cfg, ()), (cfg, ())], {key_of(cfg.data, cfg.cache_dir, cfg.results_dir): DataError("photos/cat: no images.")}
    )
    assert jobs == []
    assert [problem.split(":")[0] for problem in problems] == ["freeze=most", "photos/cat", "backbone=no_such_network"]


def test_what_is_asked_for_twice_is_one_job() -> None:
    """Depths written in two ways and settings that decide no outcome make no second job; another seed, depth or study does."""
    one = _config("resnet18", "good")
    same = [_config("resnet18", "good", "1.0"), replace(one, job=JobConfig(timeout_minutes=3.0))]
    others = [replace(one, seed=1), replace(one, freeze="none"), replace(one, study="other")]
    loaded: Loaded = {key_of(one.data, one.cache_dir, one.results_dir): colours()}
    jobs, problems = prepare.prepare_all([(cfg, ()) for cfg in (one, *same, *others)], loaded)
    assert not problems
    assert [job.config for job in jobs] == [replace(cfg, train=jobs[0].config.train) for cfg in (one, *others)]


def test_weights_are_found_for_several_networks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network's once, however many jobs it has; all wait for each other here, so that one after the other would never end."""
    names, asked, together = ["resnet18", "resnet34", "resnet50"], [], Barrier(3, timeout=60)

    def find(spec: BackboneSpec, *_: object, **__: object) -> Weights:
        asked.append(spec.model)
        together.wait()
        return RANDOM

    monkeypatch.setattr(prepare, "find_weights", find)
    wanted = [replace(_config(name, "good", freeze), weights="pretrained") for name in names for freeze in ("all", "0.5")]
    jobs, problems = prepare.prepare_all([(cfg, ()) for cfg in wanted], _good(wanted[0]))
    assert (len(jobs), problems) == (6, [])
    assert sorted(asked) == names


def test_what_jobs_have_in_common_is_one_object() -> None:
    """Ten thousand jobs hold one recipe and one protocol, and so does what is handed to the sweep."""
    one = _config("resnet18", "good")
    first, second = prepare.prepare_all([(one, ()), (replace(one, seed=1), ())], _good(one))[0]
    assert first.config.train is second.config.train
    assert first.protocol is second.protocol


def test_the_models_of_very_many_networks_have_no_predicted_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for that; of a few it is said."""
    wanted = [_config(name, "good") for name in ("resnet18", "resnet34")]
    (few, _), _ = prepare.prepare_all([(cfg, ()) for cfg in wanted], _good(wanted[0]))
    assert few.model_mib is not None
    monkeypatch.setattr(prepare, "_MAX_OUTLINES", 1)
    (many, _), _ = prepare.prepare_all([(cfg, ()) for cfg in wanted], _good(wanted[0]))
    assert many.model_mib is None


def _good(cfg: SweepConfig) -> Loaded:
    return {key_of(cfg.data, cfg.cache_dir, cfg.results_dir): colours()}
