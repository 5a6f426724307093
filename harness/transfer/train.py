"""Fit a network in one or two phases, keep the epoch that is best on val, and prove that the frozen part stayed fixed.

Shapes: N images of a split, C classes.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from harness.config import Augment, HeadInit
from harness.errors import DivergedError
from harness.measure.logistic import solve
from harness.transfer.depth import FreezeDepth
from harness.transfer.freeze import apply_freeze, check_frozen, frozen_digests
from harness.transfer.heads import Arm, HeadData, train_heads
from harness.transfer.run import FloatArray, Run, judge_of, look
from harness.transfer.supply import Supply
from harness.transfer.task import Fitted, Phase, Task, class_weights, num_unchanged, phases_of


def fit(tasks: Sequence[Task], supply: Supply) -> list[Fitted | DivergedError]:
    """Train a new head, and what the freeze depth leaves free, on train; choose the epoch on val; never touch test.

    Args:
        tasks: one, or several that differ in seed, learning rate and weight decay only and train nothing but a head on kept
            features (`JobSpec.group`); what comes of each does not depend on the others.
        supply: rows and images of the data set under the backbone as it was loaded.

    Raises:
        FrozenChangedError: something frozen was different after training.
    """
    first, started = tasks[0], time.perf_counter()
    phases = phases_of(first.backbone, first.depth, first.cfg)
    runs = [Run(task, supply, phases) for task in tasks]
    if first.cfg.head_init is HeadInit.solved:
        _start_solved(runs, supply)
    for phase in phases:
        before = frozen_digests(first.backbone.trunk, phase.plan)
        apply_freeze(first.backbone.trunk, phase.plan)
        if num_unchanged(first.backbone, phases[: phase.number]) == len(first.backbone.blocks) and (
            first.cfg.augment is Augment.none or supply.views
        ):
            _run_heads(runs, supply, phase)
        else:
            (run,) = runs
            run.train(phase)
        check_frozen(first.backbone.trunk, phase.plan, before)
    shared_s = (time.perf_counter() - started) / len(runs)
    return [run.finish(shared_s) for run in runs]


def seconds_per_image(task: Task, depths: Iterable[FreezeDepth], supply: Supply) -> dict[str, float]:
    """How long training takes at other depths: depth -> seconds per image and epoch. The last use of a network, which it trains a little.

    A depth at which the loss is not finite is left out.
    """
    found: dict[str, float] = {}
    for depth in depths:
        there = replace(task, depth=depth)
        with suppress(DivergedError):
            found[str(depth)] = Run(there, supply, phases_of(there.backbone, depth, there.cfg)).seconds_per_image()
    return found


def predict(fitted: Fitted, supply: Supply, split: str) -> FloatArray:
    """Log-probabilities of a split under a fitted network, from the nearest kept rows that are still the network's own."""
    return look(fitted.network, supply, supply.split(split, fitted.unchanged), f"predictions on {split}")


def _start_solved(runs: Sequence[Run], supply: Supply) -> None:
    """The solution depends on no seed and no learning rate: one for all."""
    task, weights_C = runs[0].task, class_weights(runs[0].task)
    with threadpool_limits(1, user_api="blas"):  # as for all small products of numpy beside torch's own threads
        solution = solve(
            supply.features("train"),
            task.dataset.train.labels,
            supply.features("val"),
            task.dataset.val.labels,
            np.ones(task.dataset.num_classes) if weights_C is None else weights_C.cpu().numpy(),
        )
    state = {"weight": torch.from_numpy(solution.weight_CD), "bias": torch.from_numpy(solution.bias_C)}
    val = supply.split("val", supply.trunk.last)
    for run in runs:
        run.network.head.load_state_dict(state)
        run.evaluate(val, phase=1)


def _run_heads(runs: Sequence[Run], supply: Supply, phase: Phase) -> None:
    """One phase in which nothing but heads learns: all of them at once, on kept features."""
    task = runs[0].task
    data = HeadData(
        train_VND=np.stack([bank.final() for bank in supply.views]) if supply.views else supply.features("train")[None],
        train_labels_N=task.dataset.train.labels,
        val_MD=supply.features("val"),
        class_weights_C=class_weights(task),
    )
    arms = [Arm(run.task.seed, lr, run.task.cfg.weight_decay, run.network.head) for run in runs for lr in run.rates(phase)]
    fits = train_heads(arms, data, task.cfg, judge_of(task), epochs=phase.epochs, phase=phase.number, first_epoch=runs[0].next_epoch)
    for run, tried in zip(runs, np.array_split(np.arange(len(arms)), len(runs)), strict=True):
        run.adopt_best([(arms[j].lr, fits[j]) for j in tried], phase)
