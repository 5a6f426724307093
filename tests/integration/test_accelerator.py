"""What only an accelerator can show; skipped where there is none. `python -m pytest -m gpu` runs these alone."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from harness.compute.runtime import resolve_runtime
from harness.config import Device, Precision
from harness.study.row import COLUMNS
from tests.integration.commands import TINY, Command

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here")]


def test_float32_is_float32() -> None:
    """Convolutions and matrix products are as exact as float32 allows: TF32, the default of convolutions, is a thousand times coarser."""
    runtime = resolve_runtime(Device.cuda, Precision.float32)
    torch.manual_seed(0)
    convolution, product = nn.Conv2d(256, 64, 3), nn.Linear(4096, 64)
    for module, inputs in ((convolution, torch.rand(4, 256, 16, 16)), (product, torch.rand(8, 4096))):
        with torch.no_grad():
            exact = module.double()(inputs.double())
            found = runtime.place(module.float())(runtime.send(inputs)).cpu().double()
        assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5


def test_tf32_is_there_for_those_who_ask(run_sweep: Command) -> None:
    """It is what the rows say, training and passes alike, and its answers are near those of float32 but not the same."""
    found = {}
    for precision in ("float32", "tf32"):
        ended = run_sweep(*TINY, "device=cuda", f"precision={precision}", "backbone=test_resnet", "freeze=none", results=precision)
        assert ended.status == 0, ended.err
        (row,) = ended.rows()
        assert (row.precision, row.train_precision) == (precision, precision)
        found[precision] = ended.study().val_predictions(row.job_id).log_probs_NC
    assert 0 < np.abs(found["tf32"] - found["float32"]).max() < 1


def test_the_same_command_gives_the_same_quality(run_sweep: Command) -> None:
    """Training on the accelerator repeats to the bit: two empty folders, one command, identical quality columns."""
    options = (*TINY, "device=cuda", "precision=float32", "backbone=test_resnet,test_vit", "freeze=all,none", "train.augment=light")
    tables = []
    for results in ("one", "other"):
        ended = run_sweep(*options, results=results)
        assert ended.status == 0, ended.err
        tables.append(pd.read_csv(ended.study().root / "results.csv").sort_values("job_id", ignore_index=True))
    quality = [name for name in COLUMNS if name.startswith(("val_", "train_accuracy", "train_log_loss", "last_val"))]
    pd.testing.assert_frame_equal(tables[0][["job_id", *quality]], tables[1][["job_id", *quality]], check_exact=True)


def test_it_decides_as_the_processor_does(run_sweep: Command) -> None:
    """Heads on the same frozen layers: the same class for every val image, log-probabilities within a hundredth of a nat."""
    rows = {}
    for device in ("cuda", "cpu"):
        ended = run_sweep(*TINY, f"device={device}", "backbone=test_resnet,test_vit", "freeze=all", results=device)
        assert ended.status == 0, ended.err
        rows[device] = {row.backbone: ended.study().val_predictions(row.job_id).log_probs_NC for row in ended.rows()}
        assert {row.device for row in ended.rows()} == {device}
    for backbone, mine_NC in rows["cuda"].items():
        theirs_NC = rows["cpu"][backbone]
        assert (mine_NC.argmax(axis=1) == theirs_NC.argmax(axis=1)).all()
        np.testing.assert_allclose(mine_NC, theirs_NC, atol=0.01)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "mixed"])
def test_lower_precisions_train(run_sweep: Command, precision: str) -> None:
    """Layers and heads; the row says what `mixed` came to, and log losses are near those of float32."""
    found = {}
    for asked in (precision, "float32"):
        options = ("device=cuda", f"precision={asked}", "backbone=test_resnet,test_vit", "freeze=0.5,all", "train.augment=light")
        ended = run_sweep(*TINY, *options, results=asked)
        assert ended.status == 0, ended.err
        rows = {(row.backbone, row.freeze): row for row in ended.rows()}
        assert {row.train_precision for row in rows.values()} <= ({"bfloat16", "float16"} if asked == "mixed" else {asked})
        found[asked] = {name: row.val_log_loss for name, row in rows.items()}
    for name, loss in found[precision].items():
        assert loss == pytest.approx(found["float32"][name], abs=0.2), name


def test_an_index_is_where_and_not_what(run_sweep: Command) -> None:
    """`cuda:0` finds the rows of `cuda` done; an index beyond those that are here is refused with their names."""
    first = run_sweep(*TINY, "device=cuda", "backbone=test_resnet", "freeze=all")
    ids = [row.job_id for row in first.rows()]
    again = run_sweep(*TINY, "device=cuda:0", "backbone=test_resnet", "freeze=all")
    assert again.status == 0, again.err
    assert "1 already done" in again.out
    assert [row.job_id for row in again.rows()] == ids
    refused = run_sweep(*TINY, f"device=cuda:{torch.cuda.device_count()}", "backbone=test_resnet", "freeze=all")
    assert refused.status == 2
    assert "not on this machine; give cuda:0" in refused.err


def test_energy_is_counted(run_sweep: Command) -> None:
    """By NVML where it is installed: more than nothing, less than the accelerator could draw; else the row says why there is none."""
    ended = run_sweep(*TINY, "device=cuda", "backbone=test_resnet", "freeze=none", "job.price_per_hour=3.6")
    (row,) = ended.rows()
    assert row.total_s is not None
    assert row.cost == pytest.approx(row.total_s / 1000)
    if find_spec("pynvml") is None:
        assert row.energy_of != "accelerator"
    else:
        assert row.energy_of in {"accelerator", "accelerator+processor"}
        assert row.energy_wh is not None
        assert 0 < row.energy_wh < 3000 * row.total_s / 3600


def test_memory_that_runs_out_makes_smaller_pieces(run_sweep: Command) -> None:
    """With 2 GiB of the accelerator free, a batch of 64 photographs does not fit: the job is done in smaller pieces, and its row says so."""
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - 2 * 2**30, dtype=torch.uint8, device="cuda")
    options = ("freeze=none", "data.image_size=224", "train.batch_size=64", "data.max_images=160")
    ended = run_sweep(*TINY, "device=cuda", "backbone=resnet50", *options)
    del taken
    assert ended.status == 0, ended.err
    (row,) = ended.rows()
    assert row.peak_mem_mib is not None
    assert row.peak_mem_mib < 2048
    assert row.micro_batch is not None
    assert row.micro_batch < 64
