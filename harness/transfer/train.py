"""Fit a network in one or two phases, keep the epoch that is best on val, and prove that the frozen part stayed fixed.

Shapes: N images of a split, C classes.
"""

import copy
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from harness.config import Augment, HeadInit
from harness.errors import DivergedError
from harness.measure.choice import Selector, calibrated
from harness.transfer.depth import FreezeDepth
from harness.transfer.freeze import apply_freeze, check_frozen, frozen_digests
from harness.transfer.heads import Arm, HeadData, HeadFit, train_heads
from harness.transfer.probe import linear_probe
from harness.transfer.rate_search import RateSearch
from harness.transfer.run import FloatArray, Run, look
from harness.transfer.supply import Supply
from harness.transfer.task import Fitted, Phase, Task, class_weights, is_probe, learnt_prior, phases_of, trains_head_only


def fit(tasks: Sequence[Task], supply: Supply) -> list[Fitted | DivergedError]:
    """Train a new head, and what the freeze depth leaves free, on train; choose the epoch on val; never touch test.

    Args:
        tasks: one, or several that differ in seed, learning rate and weight decay only and train nothing but a head on kept
            features (`sharing.head_group_key`); what comes of each does not depend on the others.
        supply: rows and images of the data set under the backbone as it was loaded.

    Raises:
        FrozenChangedError: something frozen was different after training.
    """
    first, started = tasks[0], time.perf_counter()
    phases = phases_of(first.backbone, first.depth, first.cfg)
    runs = [Run(task, supply, phases) for task in tasks]
    if first.cfg.head_init is HeadInit.closed_form:
        _start_solved(runs, supply)
    for phase in phases:
        before = frozen_digests(first.backbone.trunk, phase.plan)
        apply_freeze(first.backbone.trunk, phase.plan)
        if not is_probe(first, phases):
            _train(runs, supply, phase)
        check_frozen(first.backbone.trunk, phase.plan, before)
    shared_s = (time.perf_counter() - started) / len(runs)
    return [run.finish(shared_s) for run in runs]


def seconds_per_image(task: Task, depths: Iterable[FreezeDepth], supply: Supply) -> dict[str, float]:
    """How long training takes at other depths: depth -> seconds per image and epoch. A copy of the network is trained, a little at each.

    A depth at which the loss is not finite is left out.
    """
    found: dict[str, float] = {}
    for depth in depths:
        backbone = replace(task.backbone, trunk=copy.deepcopy(task.backbone.trunk))
        there = replace(task, backbone=backbone, depth=depth)
        with suppress(DivergedError):
            found[str(depth)] = Run(there, supply, phases_of(there.backbone, depth, there.cfg)).seconds_per_image()
    return found


def predict(fitted: Fitted, supply: Supply, split: str) -> FloatArray:
    """Calibrated log-probabilities of a split under a fitted network, from the nearest cached activations that are still its own."""
    return calibrated(look(fitted.network, supply, supply.split(split, fitted.unchanged), f"predictions on {split}"), fitted.temperature)


def _start_solved(runs: Sequence[Run], supply: Supply) -> None:
    """The probe depends on the seed, which deals the folds, and on nothing else in which runs differ: one for each seed.

    It knows train and val, but for a fold that is held out.
    """
    task, weights_C = runs[0].task, class_weights(runs[0].task)
    splits = ("train", "val") if task.settled is None else ("train",)
    probes = {
        seed: linear_probe(
            [supply.features(name) for name in splits],
            [getattr(task.dataset, name).labels for name in splits],
            metric=task.metric,
            class_weights_C=np.ones(task.dataset.num_classes) if weights_C is None else weights_C.cpu().numpy(),
            prior_C=learnt_prior(task),
            seed=seed,
        )
        for seed in {run.task.seed for run in runs}
    }
    for run in runs:
        run.start_from(probes[run.task.seed])


def _train(runs: Sequence[Run], supply: Supply, phase: Phase) -> None:
    """One phase of all runs: heads together, or the one run that trains more than its head or sees every image anew."""
    task, phases = runs[0].task, runs[0].phases
    if trains_head_only(phases[: phase.number]) and (task.cfg.augment is Augment.none or supply.views):
        _run_heads(runs, supply, phase)
    else:
        (run,) = runs
        run.train(phase)


def _run_heads(runs: Sequence[Run], supply: Supply, phase: Phase) -> None:
    """One phase in which nothing but heads learns: all of them at once, on cached features."""
    task = runs[0].task
    data = HeadData(
        train_VND=supply.augmented_features() if supply.views else supply.features("train")[None],
        train_labels_N=task.dataset.train.labels,
        val_MD=supply.features("val"),
        class_weights_C=class_weights(task),
    )
    searches = [RateSearch(run.rates(phase)) for run in runs]
    fits: list[dict[float, HeadFit]] = [{} for _ in runs]
    while wanted := [(number, lr) for number, search in enumerate(searches) for lr in iter(search.next, None)]:
        arms = [Arm(runs[number].task.seed, lr, runs[number].task.cfg.weight_decay, runs[number].network.head) for number, lr in wanted]
        selector = Selector.of(task.dataset.val.labels, task.metric, learnt_prior(task))
        found = train_heads(arms, data, task.cfg, selector, epochs=phase.epochs, phase=phase.number, first_epoch=runs[0].next_epoch)
        for (number, lr), fit in zip(wanted, found, strict=True):
            fits[number][lr] = fit
            searches[number].tell(lr, None if fit.error or not fit.evaluations else -fit.evaluations[-1].value[1])
    for run, search, tried in zip(runs, searches, fits, strict=True):
        run.adopt(search, tried, phase)
