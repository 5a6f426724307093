"""The benchmark `adapters`: its table says of each depth and adapter what the rows and the test predictions say."""

import numpy as np

from benchmarks.adapters import Round, Setting, line, table
from benchmarks.paired import Answers
from tests.unit.reporting.fake_study import make_row


def test_the_table_has_a_line_for_each_depth_and_adapter() -> None:
    """Score on test, share of the parameters, seconds, and points above the head alone."""
    labels_N = np.arange(100) % 4
    hits = {"all": 60, "all lora": 80, "none": 90}
    predicted = {name: np.where(np.arange(100) < num, labels_N, labels_N + 1) for name, num in hits.items()}
    rows = {
        name: make_row(
            name,
            freeze=name.split()[0],
            adapter="lora" if "lora" in name else None,
            val_accuracy=0.5,
            primary_metric="accuracy",
            params_m=4.0,
            trainable_params_m=0.1,
            train_s=7.0,
        )
        for name in hits
    }
    rounds = [Round(rows, Answers([str(number) for number in range(100)], labels_N, predicted))]
    lines = [line(rounds, name) for name in rows]
    assert [each["test_score"] for each in lines] == [0.6, 0.8, 0.9]
    assert np.allclose([each["over_all"][0] for each in lines], [0, 20, 30])
    found = table(Setting("toy", 100, 64, 1), rounds, lines).splitlines()
    assert found[-2].split() == ["0.800", "0.500", "2.50%", "7.0", "s", "+20.0", "[", *found[-2].split()[7:9], "all", "lora"]
