"""Every key is explained: one line of meaning, its default, and what it takes."""

from dataclasses import fields, is_dataclass

import pytest
from omegaconf import OmegaConf

from harness import config
from harness.key_help import keys, meaning
from harness.typed_text import text_keys

SCHEMAS = [each for each in vars(config).values() if isinstance(each, type) and is_dataclass(each)]


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
    assert "  train.epochs=null\n      null: as many as min_steps takes, from 3 to 20. Takes a whole number, or null." in text
    assert "  study=$${data.name}\n" in text
    assert "constant, one_cycle (rises along half a cosine" in text
    assert "  train.class_weights=false\n" in text
    assert "Takes true or false." in text
    assert text.count("\n  ") > len(text_keys(config.SweepConfig))
    assert not any(line.endswith(" .") for line in text.splitlines())
