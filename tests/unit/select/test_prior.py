"""Priors: published figures for exactly these weights or their architecture, size, and ranks on other data sets only."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.select.prior import OwnRank, OwnRanks, log_params, mean_ranks, own_ranks, prior, weights_prior
from harness.study.row import Row
from harness.study.store import Study
from tests.unit.select.planted import make_row

LITE0 = ("tf_efficientnet_lite0", "efficientnet-lite0-57934424")


def row(model: str, score: float | None = 0.5, **changes: Any) -> Row:
    """A good row of another data set."""
    given = {"primary_metric": "accuracy", "dataset": "other", "data_fingerprint": "f-other", "val_accuracy": score} | changes
    name = "-".join(str(part) for part in (model, score, *changes.values()))
    return replace(make_row(name, model), model=model, weights="w", **given)


def test_imports_no_torch() -> None:
    """Neither the table of published figures nor the audit loads torch or timm."""
    code = "import sys, harness.select.prior, harness.select.audit; print([name for name in ('torch', 'timm') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_prior_is_that_of_the_weights() -> None:
    """A row's own figure first, then the exact weights, then the architecture's; random weights have none."""
    assert prior(row("resnet50", imagenet_top1_frac=0.7)) == 0.7
    assert weights_prior("resnet50", "a1_in1k") == pytest.approx(0.80382)
    assert weights_prior(*LITE0) == pytest.approx(0.74846)
    assert prior(replace(row(LITE0[0]), weights=LITE0[1], imagenet_top1_frac=None)) == pytest.approx(0.74846)
    assert weights_prior("resnet50", "random") is None
    assert weights_prior("never_published", "w.pt") is None
    assert weights_prior("resnet50", None) is None


def test_unnamed_weights_have_the_median_of_their_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's figure lies in the middle of the architecture's published ones, and other architectures do not count."""
    table = {"net.a": 0.7, "net.b": 0.8, "net.c": 0.81, "net.d": 0.9, "net2.a": 0.1}
    from harness.backbones import imagenet

    imagenet.published_top1s.cache_clear()
    monkeypatch.setattr(imagenet, "_table", lambda: table)
    assert weights_prior("net", "mine.pt") == pytest.approx(0.805)
    assert weights_prior("net", "b") == 0.8
    imagenet.published_top1s.cache_clear()


def test_log_params() -> None:
    """Natural logarithm of the count; empty when the count is."""
    assert log_params(row("a", params_m=1.5)) == pytest.approx(math.log(1_500_000))
    assert log_params(row("a", params_m=None)) is None


def test_mean_rank_by_hand() -> None:
    """Three backbones on two data sets: best candidate, mean over seeds, tied ranks shared, mean over data sets."""
    rows = [
        row("a", 0.9),
        *(row("b", score, seed=seed) for seed, score in enumerate((0.7, 0.9))),  # mean 0.8
        row("c", 0.6),
        row("c", 0.8, freeze="none"),  # best candidate: 0.8, level with b
        row("a", 0.5, dataset="third", data_fingerprint="f3"),
        row("b", 0.7, dataset="third", data_fingerprint="f3"),
    ]
    found = mean_ranks(rows)
    assert found[("a", "w")] == OwnRank(0.5, 2)  # 0 of "other", 1 of "third"
    assert found[("b", "w")] == OwnRank(0.375, 2)
    assert found[("c", "w")] == OwnRank(0.75, 1)


def test_a_data_set_counts_once() -> None:
    """Two protocols of one data set are averaged before data sets are; a protocol with one backbone says nothing."""
    rows = [row("a", 0.9), row("b", 0.8), row("a", 0.1, protocol="p2"), row("b", 0.8, protocol="p2"), row("a", 0.9, protocol="p3")]
    rows += [row("a", 0.9, dataset="third", data_fingerprint="f3"), row("b", 0.8, dataset="third", data_fingerprint="f3")]
    assert mean_ranks(rows)[("a", "w")] == OwnRank(0.25, 2)  # (0 + 1) / 2 of "other", 0 of "third"


def test_ranks_follow_the_metric_of_the_data() -> None:
    """Where the data call for balanced accuracy, accuracy does not decide."""
    changes = {"primary_metric": "balanced_accuracy"}
    rows = [row("a", 0.9, val_balanced_accuracy=0.2, **changes), row("b", 0.1, val_balanced_accuracy=0.3, **changes)]
    assert mean_ranks(rows)[("a", "w")].mean == 1.0


def test_only_good_rows_of_other_data_sets_count() -> None:
    """Failed and pruned rows, folds of a fine-tune, the same name, the same images under another name: all left out."""
    rows = [row("a", 0.9), row("b", 0.8)]
    assert mean_ranks(rows, here=[row("z", dataset="other", data_fingerprint="elsewhere")]) == {}
    assert mean_ranks(rows, here=[row("z", dataset="elsewhere")]) == {}
    assert mean_ranks([rows[0], replace(rows[1], status="pruned")]) == {}
    assert mean_ranks([*rows, replace(rows[1], val_accuracy=1.0, fold=0)]) == mean_ranks(rows)
    assert mean_ranks([rows[0], replace(rows[1], val_accuracy=None)]) == {}
    assert mean_ranks(rows, here=[row("z", dataset="elsewhere", data_fingerprint=None)]) != {}
    assert mean_ranks([replace(each, data_fingerprint=None) for each in rows], here=[row("z", dataset="x", data_fingerprint=None)]) != {}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_ranks_are_in_range(scores: list[float]) -> None:
    """Ranks lie in [0, 1], their mean is a half, and the best has the lowest."""
    found = mean_ranks([row(f"net{i}", score) for i, score in enumerate(scores)])
    ranks = [found[(f"net{i}", "w")].mean for i in range(len(scores))]
    assert all(0 <= rank <= 1 for rank in ranks)
    assert sum(ranks) == pytest.approx(len(ranks) / 2)
    assert ranks[scores.index(max(scores))] == min(ranks)


def test_own_ranks_reads_the_studies_beside(tmp_path: Path) -> None:
    """Siblings in the results folder count, this study does not, and one that cannot be read is named."""
    for name in ("a", "b"):
        Study(tmp_path / "sibling").write_row(row(name, 0.9 if name == "a" else 0.1))
        Study(tmp_path / "here").write_row(row(name, 0.1, dataset="here", data_fingerprint="f-here"))
    Study(tmp_path / "broken").write_row(row("a"))
    next((tmp_path / "broken" / "rows").glob("*.json")).write_text("{", encoding="utf-8")
    (tmp_path / "no study").mkdir()
    found = own_ranks(Study(tmp_path / "here"))
    assert found == OwnRanks({("a", "w"): OwnRank(0.0, 1), ("b", "w"): OwnRank(1.0, 1)}, ("broken",))
    assert found.of(row("a")) == OwnRank(0.0, 1)
    assert found.of(row("c")) is None
    assert own_ranks(Study(tmp_path / "sibling")).by_model[("b", "w")].mean == 0.5
