"""The shared part of the benchmarks: what it reads from a program, prints and keeps."""

import pytest

from benchmarks.side_by_side import BenchmarkError, Side, last_json, machine_line, ratios, run_module, table, times

SIDES = [Side("harness", [3.0, 2.0, 40.0]), Side("loop", [30.0, 33.0, 36.0])]


def test_last_json_is_the_last_object_among_other_lines() -> None:
    """Progress bars, numbers, lists and earlier objects are passed over."""
    printed = 'epoch 1\n{"val_accuracy": 0.5}\n{"val_accuracy": 0.75}\n[1, 2]\n17\n{broken}\nbye\n'
    assert last_json(printed) == {"val_accuracy": 0.75}


def test_output_without_json_is_an_error_and_not_an_empty_score() -> None:
    """A baseline that printed no scores has none."""
    with pytest.raises(BenchmarkError, match="no line of JSON in 2 lines"):
        last_json("epoch 1\n[0.5]\n")


def test_ratios_are_of_medians_to_the_first_side() -> None:
    """One slow run out of three moves no ratio."""
    assert ratios(SIDES) == [1.0, 11.0]


def test_table_has_a_line_a_side_with_seconds_ratio_and_name() -> None:
    """What is printed is the median, not the mean or the best."""
    assert [line.split() for line in table(SIDES).splitlines()] == [
        ["3.0", "s", "1.00", "x", "harness"],
        ["33.0", "s", "11.00", "x", "loop"],
    ]


def test_the_record_keeps_every_time() -> None:
    """The raw times are kept, so that a reader can judge their spread."""
    assert times(SIDES) == {
        "wall_s": {"harness": [3.0, 2.0, 40.0], "loop": [30.0, 33.0, 36.0]},
        "ratio_to_harness": {"harness": 1.0, "loop": 11.0},
    }


def test_machine_line_says_which_bfloat16_instructions_are_there() -> None:
    """A reader on another processor must see whether the times can carry over."""
    where = {"cpu_name": "A CPU", "num_cores": 4, "num_threads": 2, "load_average_1min": 0.25}
    line = machine_line({**where, "cpu_bfloat16": {"avx512_bf16": True, "amx_bf16": False}})
    assert line == "A CPU, 4 cores, 2 threads, avx512_bf16 yes, amx_bf16 no, load 0.2 at the start"


def test_a_process_is_timed_and_its_output_kept() -> None:
    """The benchmark reads scores from what the process printed."""
    run = run_module("json.tool", "--help")
    assert "usage" in run.stdout
    assert run.wall_s > 0


def test_a_failed_process_is_an_error_that_names_it() -> None:
    """A side that crashed early must not pass for a fast one."""
    with pytest.raises(BenchmarkError, match=r"exit status 2 \(.*--no-such-option\); .*python -m json\.tool --no-such-option"):
        run_module("json.tool", "--no-such-option")
