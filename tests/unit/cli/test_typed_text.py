"""Names typed are names used: what Hydra reads of a text key is what was typed."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from harness.cli.typed_text import as_text, comma_hint, text_keys
from harness.config import LogConfig, ReportConfig, SweepConfig
from tests.unit.fuzzing import examples

PARSER = OverridesParser.create()
NAMES = (
    "1_1",
    "2024_11_28",
    "1e3",
    "1e5",
    "0x10",
    "007",
    "true",
    "null",
    "nan",
    "inf",
    "-0",
    "病理",
    "/data/中文",
    "a b",
    "it's",
    '"',
    "a=b",
    "[x]",
    "{",
    "\\",
    "x\\",
)


def read(argument: str, *, sweeps: bool = False, schema: type = SweepConfig) -> list[object]:
    """The values that Hydra reads."""
    (text,) = as_text([argument], schema, sweeps=sweeps)
    override = PARSER.parse_override(text)
    if override.is_sweep_override():
        return [PARSER.parse_override(f"k={part}").value() for part in override.sweep_string_iterator()]
    return [override.value()]


@examples(200)
@given(st.text(min_size=1, max_size=8))
@example("2024_11_28")
@example('\\"')
def test_any_text_is_itself(value: str) -> None:
    """But for quotes around the whole of it, which are Hydra's, its functions, and what it puts in place of `${`."""
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not is_quoted and "${" not in value and value != "null":
        assert str(read(f"study={value}")[0]) == value


@pytest.mark.parametrize("name", NAMES)
def test_folders_of_any_name(name: str) -> None:
    """Numbers, booleans, null, other alphabets, and what looks like syntax."""
    assert [str(value) for value in read(f"data.root={name}", sweeps=True)] == [name]


def test_commas_sweep() -> None:
    """Each value is itself; one in quotes keeps its comma. Where nothing can be swept a comma is a letter."""
    assert read("data.root=/a_1/中,1e3,'b,c'", sweeps=True) == ["/a_1/中", "1e3", "b,c"]
    assert read("results_dir=a,1_1", schema=ReportConfig) == ["a,1_1"]


def test_what_is_read_right_stays_as_it_was_typed() -> None:
    """No quotes in commands that need none; other keys are Hydra's."""
    typed = ["backbone=resnet50,vit*", "freeze=all,0.5,-4", "train.epochs=1_0", "study=plain", "train.release=null", "--help", "seed=1,2"]
    typed += ["backbone=choice(a,b)", "backbone=a,", 'study="quoted"', "data=folder"]
    assert as_text(typed, SweepConfig, sweeps=True) == typed


def test_which_keys_are_text() -> None:
    """Those of the types, nested ones included."""
    assert text_keys(ReportConfig) == {"study", "results_dir", "table", "protocol", "rank.metric", "rank.costs"}
    assert {"backbone", "freeze", "weights", "data.root", "train.release", "study", "cache_dir"} < text_keys(SweepConfig)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("recall:a b>=0.9", ["recall:a b>=0.9"]),
        ("recall:a>=0.9,f1:b>=0.5", ["recall:a>=0.9", "f1:b>=0.5"]),
        ("'recall:a,b>=0.9'", ["recall:a,b>=0.9"]),
        ('["recall:a>=0.9"]', ["recall:a>=0.9"]),
        ("[]", []),
    ],
)
def test_a_list_of_texts_needs_no_brackets(typed: str, value: list[str]) -> None:
    """Signs that Hydra does not read are read; a comma separates texts, unless they are in quotes."""
    assert read(f"rank.limits={typed}", sweeps=True, schema=ReportConfig) == [value]


def test_metrics_with_parameters_and_classes_are_read_as_typed() -> None:
    """Colons, signs and all."""
    for typed in ("sensitivity@specificity=0.95:malignant", "recall:Löwe 1", "fbeta@beta=2"):
        assert read(f"rank.metric={typed}", sweeps=True) == [typed]


def test_an_error_about_half_a_path_says_why() -> None:
    """What a comma does, and what to type for one in a name."""
    said = comma_hint(["data.root=/data/a,b"], "/data/a: no such folder.")
    assert said == """ A comma separates values that are swept, here 2; for one path with a comma type 'data.root="/data/a,b"'."""
    assert comma_hint(["data.root=/data/a,b"], "other") == comma_hint(["seed=1,2"], "1") == ""


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("mlflow", ["mlflow"]),
        ("mlflow,wandb", ["mlflow", "wandb"]),
        ("[mlflow,wandb]", ["mlflow", "wandb"]),
        ("none", []),
        ("[]", []),
    ],
)
@pytest.mark.parametrize("sweeps", [True, False])
def test_lists_of_choices_need_no_brackets(typed: str, value: list[str], sweeps: bool) -> None:
    """Several trackers are one list, which is not swept; none is the empty one. Lists of numbers stay as they are typed."""
    assert read(f"track={typed}", sweeps=sweeps) == [value]
    assert read(f"to={typed}", sweeps=sweeps, schema=LogConfig) == [value]
    assert as_text(["train.lr_search=1,3", "track=null", "track="], SweepConfig, sweeps=sweeps) == [
        "train.lr_search=1,3",
        "track=null",
        "track=",
    ]
