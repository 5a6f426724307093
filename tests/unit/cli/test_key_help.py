"""Every key is explained: one line of meaning, its default, and what it takes."""

from dataclasses import fields, is_dataclass
from itertools import pairwise

import pytest
from omegaconf import OmegaConf

from harness import config
from harness.cli.key_help import keys, meaning
from harness.cli.typed_text import text_keys
from harness.errors import ConfigError

SCHEMAS = [each for each in vars(config).values() if isinstance(each, type) and is_dataclass(each) and each.__module__ == config.__name__]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_has_its_line(schema: type) -> None:
    """A sentence below each field that is a value of its own."""
    unexplained = [field.name for field in fields(schema) if not is_dataclass(field.type) and not meaning(schema, field.name)]
    assert unexplained == []


def test_help_names_defaults_and_allowed_values() -> None:
    """Values as the command line takes them; choices with what they mean; missing ones are said to be."""
    composed = OmegaConf.structured(config.SweepConfig)
    composed.data = config.DataConfig(name="n", source="s")
    text = keys(config.SweepConfig, composed)
    assert "  train.epochs=null\n      null: as many as min_steps takes, from 3 to 20. Takes a whole number: 0 or more, or null" in text
    assert "  study=$${data.name}\n" in text
    assert "constant, one_cycle (rises along half a cosine" in text
    assert "  train.class_weights=false\n" in text
    assert "Takes true or false." in text
    assert "Takes a list, each one of bfloat16, compile." in text
    assert text.count("\n  ") > len(text_keys(config.SweepConfig))
    assert not any(line.endswith(" .") for line in text.splitlines())


def test_help_states_the_range_of_numbers() -> None:
    """What a value out of range is told is what the help says beforehand, for every limit that depends on no other key."""
    composed = OmegaConf.structured(config.SweepConfig)
    composed.data = config.DataConfig(name="n", source="s")
    text = keys(config.SweepConfig, composed)
    for key, value in (
        ("train.batch_size", 1),
        ("rank.max_latency_ms", -1.0),
        ("job.memory_gib", 0.0),
        ("data.val_frac", 1.5),
        ("evidence.minutes", -1.0),
    ):
        group, name = key.split(".")
        owner = {
            "train": config.TrainConfig,
            "rank": config.RankConfig,
            "job": config.JobConfig,
            "data": config.DataConfig,
            "evidence": config.EvidenceConfig,
        }
        with pytest.raises(ConfigError) as caught:
            owner[group](**{name: value})
        allowed = str(caught.value).partition("give ")[2]
        line = next(after for before, after in pairwise(text.splitlines()) if before.startswith(f"  {key}="))
        assert line.endswith(allowed)
