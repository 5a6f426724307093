"""Fit a network in one or two phases, keep the epoch that is best on val, and prove that the frozen part did not move.

Shapes: N images of a split, C classes.
"""

import copy
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from harness.config import Adapter, HeadInit
from harness.data.dataset import joined
from harness.errors import DivergedError
from harness.measure.choice import Selector
from harness.transfer.depth import FreezeDepth
from harness.transfer.freeze import apply_freeze, check_frozen, frozen_digests
from harness.transfer.heads import HeadData, HeadFit, HeadSpec, train_heads
from harness.transfer.inputs import Inputs
from harness.transfer.predict import log_probabilities
from harness.transfer.probe import linear_probe
from harness.transfer.rate_search import RateSearch
from harness.transfer.spec import Fitted, Phase, TrainingSpec, is_probe, phases_of, trains_head_only
from harness.transfer.training_run import FloatArray, TrainingRun


def fit(specs: Sequence[TrainingSpec], inputs: Inputs) -> list[Fitted | DivergedError]:
    """Train a new head, and what the freeze depth leaves free, on train; choose the epoch on val; never touch test.

    Args:
        specs: one, or several that differ in seed, learning rate and weight decay only and train nothing but a head on kept
            features (`sharing.head_group_key`); what comes of each does not depend on the others.
        inputs: activations and images of the data set under the backbone as it was loaded.

    Raises:
        FrozenChangedError: something frozen was different after training.
    """
    first, started = specs[0], time.perf_counter()
    phases = phases_of(first.backbone, first.depth, first.cfg, first.adapter)
    runs = [TrainingRun(spec, inputs, phases) for spec in specs]
    if first.cfg.head_init is HeadInit.closed_form:
        _start_in_closed_form(runs, inputs)
    for phase in phases:
        before = frozen_digests(first.backbone.trunk, phase.plan)
        apply_freeze(first.backbone.trunk, phase.plan)
        if not is_probe(first, phases):
            _train(runs, inputs, phase)
        check_frozen(first.backbone.trunk, phase.plan, before)
    shared_s = (time.perf_counter() - started) / len(runs)
    return [run.finish(shared_s) for run in runs]


def seconds_per_image(spec: TrainingSpec, depths: Iterable[FreezeDepth], inputs: Inputs) -> dict[str, float]:
    """How long training takes at other depths: depth -> seconds per image and epoch. A copy of the network is trained, a little at each.

    A depth at which the loss is not finite is left out.
    """
    found: dict[str, float] = {}
    for depth in depths:
        backbone = replace(spec.backbone, trunk=copy.deepcopy(spec.backbone.trunk))
        there = replace(spec, backbone=backbone, depth=depth, adapter=Adapter.none, snapshots=None)
        with suppress(DivergedError):
            found[str(depth)] = TrainingRun(there, inputs, phases_of(there.backbone, depth, there.cfg)).seconds_per_image()
    return found


def predict(fitted: Fitted, inputs: Inputs, split: str) -> FloatArray:
    """Return the calibrated log-probabilities of a split under a fitted network, from the nearest cached activations that are still its own."""
    split_inputs = inputs.split(split, fitted.unchanged)
    log_probs_NC = log_probabilities(
        fitted.network, fitted.trunk, split_inputs, fitted.loss, pool=inputs.pool, what=f"predictions on {split}"
    )
    return fitted.objective.log_probs(log_probs_NC, fitted.temperature)


def _start_in_closed_form(runs: Sequence[TrainingRun], inputs: Inputs) -> None:
    """The probe depends on the seed, which deals the folds, and on nothing else in which runs differ: one for each seed.

    It knows train and val, but for a fold that is held out.
    """
    spec, weights_C = runs[0].spec, runs[0].loss.class_weights_C
    splits = ("train", "val") if spec.settled is None else ("train",)
    whole = joined(*(getattr(spec.dataset, name) for name in splits))
    probes = {
        seed: linear_probe(
            [inputs.features(name) for name in splits],
            [getattr(spec.dataset, name).labels for name in splits],
            metric=spec.metric,
            class_weights_C=np.ones(spec.dataset.num_classes) if weights_C is None else weights_C.cpu().numpy(),
            objective=runs[0].objective,
            seed=seed,
            groups_N=whole.groups,
            weights_N=whole.weights,
        )
        for seed in {run.spec.seed for run in runs}
    }
    for run in runs:
        run.start_from(probes[run.spec.seed])


def _train(runs: Sequence[TrainingRun], inputs: Inputs, phase: Phase) -> None:
    """One phase of all runs: heads together, or the one run that trains more than its head or sees every image anew."""
    spec, phases = runs[0].spec, runs[0].phases
    if trains_head_only(phases[: phase.number]) and not spec.cfg.shows_new_images:
        _run_heads(runs, inputs, phase)
    else:
        (run,) = runs
        run.train(phase)


def _run_heads(runs: Sequence[TrainingRun], inputs: Inputs, phase: Phase) -> None:
    """One phase in which nothing but heads learns: all of them at once, on cached features."""
    spec = runs[0].spec
    train, train_VND = spec.dataset.train, inputs.augmented_features() if inputs.views else inputs.features("train")[None]
    if train.weights is not None:
        train, train_VND = train.take(train.counted_N), train_VND[:, train.counted_N]
    data = HeadData(train_VND, train.labels, inputs.features("val"), runs[0].loss, train_weights_N=train.weights)
    searches = [RateSearch(run.rates(phase)) for run in runs]
    fits: list[dict[float, HeadFit]] = [{} for _ in runs]
    while wanted := [(number, lr) for number, search in enumerate(searches) for lr in iter(search.next, None)]:
        heads = [
            HeadSpec(runs[number].spec.seed, lr, runs[number].spec.cfg.weight_decay, runs[number].network.head) for number, lr in wanted
        ]
        selector = Selector.of(spec.dataset.val.labels, spec.metric, runs[0].objective, spec.dataset.val.groups)
        found = train_heads(heads, data, spec.cfg, selector, epochs=phase.epochs, phase=phase.number, first_epoch=runs[0].next_epoch)
        for (number, lr), fit in zip(wanted, found, strict=True):
            fits[number][lr] = fit
            searches[number].tell(lr, None if fit.error or not fit.evaluations else -fit.evaluations[-1].value[1])
    for run, search, tried in zip(runs, searches, fits, strict=True):
        run.adopt(search, tried, phase)
