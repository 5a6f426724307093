"""Composing once what jobs share changes no configuration, and costs Hydra one composition where values of single keys are swept."""

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from harness import config
from harness.cli import command
from harness.cli.compose import Composer, to_config
from harness.config import SweepConfig
from harness.errors import ConfigError


class Hydra:
    """Composes as a sweep does, and counts."""

    def __init__(self) -> None:
        self.num_composed = 0

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        self.num_composed += 1
        return compose("sweep", ["hydra.mode=RUN", *overrides], return_hydra_config=True)

    def is_group(self, key: str) -> bool:
        return bool(GlobalHydra.instance().config_loader().get_group_options(key))


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hydra]:
    """The real `conf/`."""
    config.register()
    for name in ("pid", "choices", "runnable", "keys"):
        OmegaConf.register_new_resolver(name, lambda *_: "", replace=True)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(command.conf_dir()), version_base="1.3"):
        yield Hydra()


def _jobs(*swept: str) -> list[list[str]]:
    """Every combination of `key=a,b` and the like; `;` stands for a comma within a value."""
    choices = [
        [f"{key}={value.replace(';', ',')}" for value in values.split(",")] for key, _, values in (each.partition("=") for each in swept)
    ]
    return [["backbone=test_resnet", "data=digits", *parts] for parts in itertools.product(*choices)]


SWEEPS = {
    "seeds and rates": (_jobs("seed=0,1,2", "train.lr=0.1,1,1e-3"), 1),
    "every kind of value": (_jobs("freeze=all,-4,0.5", "device=cpu,cuda", "train.class_weights=true,false", "train.epochs=null,3"), 1),
    "names with weights of their own": (
        [["backbone=a@random", "data=digits"], ["backbone=b", "data=digits"], ["backbone=c@f.pt", "data=digits"]],
        1,
    ),
    "names in quotes": (_jobs("train.name='1_1',true,\"a b\"", "weights='null',pretrained"), None),
    "a section with a value made of another": (_jobs("data.root=/at/${seed},/there", "seed=0,1", "train.lr=0.1,0.2"), 1),
    "a section that refers for all jobs": ([[*job, "++data.root=/at/${seed}"] for job in _jobs("seed=0,1", "data.val_frac=0.2,0.3")], 1),
    "a value made of another": (_jobs("study=${data.name}-${seed},x", "seed=0,1"), 1),
    "a list": (_jobs("train.lr_search=[1],[0.3;1]", "seed=0,1"), 2),
    "files of a group": (_jobs("train=short,tutorial", "train.batch_size=8,16"), 2),
    "a whole mapping, then one of its keys": (_jobs("train={lr:0.5}", "train.lr=0.1,0.2"), 2),
    "one key, then a mapping over it": (_jobs("train.lr=0.1,0.2", "train={lr:0.5}"), 2),
    "experiments": (_jobs("experiment=finetune_top,retrain_all", "seed=0,1"), 2),
    "an option of one source": ([["backbone=test_resnet", "data=elpv", f"data.task={task}"] for task in ("binary", "levels")], 2),
    "added and removed keys": (_jobs("++train.lr=0.1,0.2", "seed=0,1"), 2),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_shared_and_whole_compositions_agree(hydra: Hydra, name: str) -> None:
    """Each job's configuration is what Hydra composes for it alone, in either order of the jobs."""
    jobs, num_composed = SWEEPS[name]
    for ordered in (jobs, jobs[::-1]):
        whole = [to_config(_without_hydra(hydra(job))) for job in ordered]
        hydra.num_composed = 0
        composer = Composer(hydra, hydra.is_group)
        assert [composer.config(job) for job in ordered] == whole
        assert num_composed is None or hydra.num_composed == num_composed
    assert len({repr(each) for each in whole}) > 1 or len(jobs) == 1 or "mapping over" in name


def test_jobs_own_their_configurations(hydra: Hydra) -> None:
    """What one job's configuration holds does not change when the next is composed. Sections that jobs have in common are one object."""
    composer = Composer(hydra, hydra.is_group)
    first, second, third, fourth = (composer.config(job) for job in _jobs("train.lr=0.1,0.2", "seed=0,1"))
    assert [(each.seed, each.train.lr) for each in (first, second, third, fourth)] == [(0, 0.1), (1, 0.1), (0, 0.2), (1, 0.2)]
    assert third.train is fourth.train
    assert second.data is third.data
    assert second.train is not third.train


@pytest.mark.parametrize("wrong", ["train.epochs=many", "device=gpu", "seed=-1", "study=???", "study=${nothing}", "seed=" + "1" * 5000])
def test_a_wrong_value_is_refused_as_if_alone(hydra: Hydra, wrong: str) -> None:
    """By the same error, whatever was composed before; the next job is not touched by it."""
    key = wrong.partition("=")[0]
    good = {"train.epochs": "3", "device": "cpu", "seed": "1", "study": "x"}[key]
    composer = Composer(hydra, hydra.is_group)
    before = composer.config(_jobs(f"{key}={good}")[0])
    assert _refused(composer, _jobs(wrong)[0]) == _refused(Composer(hydra, hydra.is_group), _jobs(wrong)[0])
    assert composer.config(_jobs(f"{key}={good}")[0]) == before


def _refused(composer: Composer, overrides: Sequence[str]) -> list[str]:
    with pytest.raises(Exception) as refused:  # noqa: PT011  Hydra's, OmegaConf's or the harness's own
        composer.config(overrides)
    return command.explain(refused.value, SweepConfig)


def test_a_key_without_a_value_is_named(hydra: Hydra) -> None:
    """The required one that is missing, with what to add."""
    with pytest.raises(ConfigError, match="backbone: no value given; add backbone="):
        Composer(hydra, hydra.is_group).config(["data=digits"])


def _without_hydra(cfg: DictConfig) -> DictConfig:
    OmegaConf.set_struct(cfg, value=False)
    OmegaConf.set_readonly(cfg, value=False)
    del cfg["hydra"]
    OmegaConf.set_struct(cfg, value=True)
    return cfg
