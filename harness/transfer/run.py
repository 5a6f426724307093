"""One task on its way through its phases: learning rates compared, epochs run, the best of them kept, the rest left for later.

Between `train`, which knows all tasks of a group, and `training_run`, which knows one learning rate. Shapes: N images of a split, C classes.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config import HeadInit, Schedule
from harness.errors import DivergedError
from harness.measure.choice import Selector, calibrated
from harness.process.progress import track
from harness.transfer.checkpoints import Checkpoints
from harness.transfer.freeze import apply_freeze, set_train_mode
from harness.transfer.heads import HeadFit
from harness.transfer.loop import new_learner, run_epoch
from harness.transfer.network import Network, Tail, new_head
from harness.transfer.predict import log_probabilities
from harness.transfer.probe import Probe
from harness.transfer.rate_search import RateSearch
from harness.transfer.rungs import short_epochs
from harness.transfer.samples import Samples
from harness.transfer.supply import Supply
from harness.transfer.task import (
    Fitted,
    Phase,
    Task,
    class_weights,
    fixes_batch_norm,
    is_probe,
    learning_rates,
    learnt_prior,
    num_unchanged,
)
from harness.transfer.training_run import TrainingRun

FloatArray = npt.NDArray[np.float32]

_TIMED_BATCHES = 4
"""The first of them is not timed: it makes what the others use again."""


class Run:
    """One task under way."""

    def __init__(self, task: Task, supply: Supply, phases: Sequence[Phase]) -> None:
        self.task = task
        self.phases = phases
        self.supply = supply
        head = new_head(task.backbone.num_features, task.dataset.num_classes, task.cfg, task.seed)
        self.network = Network(task.backbone.trunk, head, task.runtime)
        task.runtime.place(self.network)
        fixed = frozenset.intersection(*(phase.plan.frozen for phase in phases))
        selector = Selector.of(task.dataset.val.labels, task.metric, learnt_prior(task))
        keeps_any = task.cfg.schedule is Schedule.constant
        tensors = {f"trunk.{name}" for name in fixed}
        self.checkpoints = Checkpoints(self.network, tensors, selector, keeps_any=keeps_any, settled=task.settled)
        self.probe: Probe | None = None
        self.error: DivergedError | None = None
        self.lr: float | None = None
        self.lr_losses: dict[float, float | None] = {}
        self.is_complete = True

    def start_from(self, probe: Probe) -> None:
        """Give the head the solution of the linear probe; epoch 0 is what that says."""
        self.probe = probe
        self.network.head.load_state_dict(probe.state)
        self.evaluate(self.supply.split("val", self.supply.trunk.last), phase=1)

    def train(self, phase: Phase) -> None:
        """Run one phase through the layers that are free."""
        try:
            self._train(phase)
        except DivergedError as error:
            self.error = error

    def _train(self, phase: Phase) -> None:
        self.is_complete = not self.task.is_short
        if self.task.is_short:
            self._train_short(phase)
        else:
            self._advance(self._search(phase), phase)

    def _train_short(self, phase: Phase) -> None:
        """One short training at the middle rate; lower ones only where that diverges."""
        rates, start = self.rates(phase), self.checkpoints.snapshot()
        for lr in reversed(rates[: len(rates) // 2 + 1]):
            try:
                self._advance(self._training_run(_short(phase), lr), _short(phase))
            except DivergedError:
                self.lr_losses[lr] = None
                self.checkpoints.go_back(start)
            else:
                self.lr_losses[lr] = self.checkpoints.last_loss
                return
        raise DivergedError(_diverged(self.lr_losses))

    def _search(self, phase: Phase) -> TrainingRun:
        """The phase from its start, at the learning rate that does best in a short training of its own.

        A short training has its whole schedule: with the rate still high, scores are low whatever comes of them, and the lowest rate
        would always win.
        """
        rates, short = self.rates(phase), _short(phase)
        if len(rates) == 1 or phase.epochs == 0:
            return self._training_run(phase, rates[0])
        start, search = self.checkpoints.snapshot(), RateSearch(rates, self.task.tried)
        while (lr := search.next()) is not None:
            try:
                self._advance(self._training_run(short, lr), short)
                search.tell(lr, self.checkpoints.last_loss)
            except DivergedError:
                search.tell(lr, None)
            self.checkpoints.go_back(start)
        self.lr_losses = search.losses
        if self.lr_losses[search.best] is None:
            raise DivergedError(_diverged(search.losses))
        return self._training_run(phase, search.best)

    def rates(self, phase: Phase) -> list[float]:
        """Peak learning rates that the phase tries, ascending; a later phase has one of its own."""
        return learning_rates(self.task.cfg) if phase.number == 1 else [phase.lr]

    def adopt(self, search: "RateSearch", fits: Mapping[float, HeadFit], phase: Phase) -> None:
        """Take the head of the best learning rate; all of them are trained to the end, as that costs next to nothing."""
        lr = search.best
        if phase.number == 1:
            self.lr, self.lr_losses = lr, search.losses if len(search.losses) > 1 else {}
        self.network.head.load_state_dict(fits[lr].last)
        try:
            self.checkpoints.adopt(fits[lr])
        except DivergedError as error:
            self.error = error

    def _training_run(self, phase: Phase, lr: float) -> TrainingRun:
        task = self.task
        learner = new_learner(
            self.network,
            task.cfg,
            lr=lr,
            epochs=phase.epochs,
            epoch_steps=self._epoch_steps,
            class_weights_C=class_weights(task),
            blocks=task.backbone.blocks,
        )
        if phase.number == 1:
            self.lr = lr
        return TrainingRun(learner, lr, seeds=(task.seed, phase.number))

    @property
    def _epoch_images(self) -> int:
        """Images of an epoch: all, but for one that would be left over alone and has no batch statistics."""
        num_images = len(self.task.dataset.train)
        return num_images - 1 if num_images > 1 and num_images % self.task.cfg.batch_size == 1 else num_images

    @property
    def _epoch_steps(self) -> int:
        return -(-self._epoch_images // self.task.cfg.batch_size)

    def _advance(self, run: TrainingRun, phase: Phase) -> None:
        """Train all epochs of the phase."""
        task, boundary = self.task, num_unchanged(self.task.backbone, self.phases[: phase.number])
        train, val = self.supply.train(boundary), self.supply.split("val", boundary)
        tail = Tail(self.network, self.supply.behind(train))
        while run.num_epochs < phase.epochs:
            set_train_mode(self.network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(task))
            self.network.head.train()
            rng = run.generator()
            order_N = rng.permutation(len(train.labels_N))[: self._epoch_images]
            batches = train.batches(order_N, task.cfg.batch_size, seed=int(rng.integers(2**31)))
            what = f"phase {phase.number}, epoch {run.num_epochs + 1} of {phase.epochs}, lr {run.lr:g}"
            seen = run_epoch(tail, track(batches, what, self._epoch_steps), run.learner, self.supply.pool.micro_batch)
            self.evaluate(val, phase=phase.number, lr=run.lr, train_loss=seen[0], train_accuracy=seen[1])
            run.num_epochs += 1

    def seconds_per_image(self) -> float:
        """Of training in the first phase, by a few steps after a first one, which train the network."""
        task, phase = self.task, self.phases[0]
        apply_freeze(self.network.trunk, phase.plan)
        set_train_mode(self.network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(task))
        train = self.supply.train(phase.plan.num_frozen_blocks)
        tail, learner = (
            Tail(self.network, self.supply.behind(train, self.network.trunk)),
            self._training_run(phase, self.rates(phase)[0]).learner,
        )
        order_N = np.arange(min(self._epoch_images, task.cfg.batch_size * _TIMED_BATCHES))
        batches = train.batches(order_N, task.cfg.batch_size, seed=0)
        first = next(batches)
        run_epoch(tail, [first], learner, self.supply.pool.micro_batch)
        rest = list(batches) or [first]
        started = time.perf_counter()
        run_epoch(tail, rest, learner, self.supply.pool.micro_batch)
        return (time.perf_counter() - started) / sum(len(labels_B) for _, labels_B in rest)

    def evaluate(self, val: Samples, **seen: Any) -> None:
        """Add a point to the curve: val as it is now, beside what the epoch saw of its own training batches."""
        epoch = self.next_epoch
        log_probs_NC = look(self.network, self.supply, val, f"epoch {epoch}: val")
        self.checkpoints.add(log_probs_NC, **({"epoch": epoch, "lr": None, "train_loss": None, "train_accuracy": None} | seen))

    @property
    def next_epoch(self) -> int:
        """Number of the next point of the curve: 0 is a solved head before any step."""
        if self.checkpoints.curve:
            return self.checkpoints.curve[-1].epoch + 1
        return 0 if self.task.cfg.head_init is HeadInit.solved else 1

    def finish(self, shared_s: float) -> Fitted | DivergedError:
        """Put the chosen epoch's weights back and look at train once more, without augmentation."""
        if self.error is not None:
            return self.error
        started = time.perf_counter()
        choice = self.checkpoints.choose()
        self.checkpoints.put_back(choice.position)
        chosen = self.checkpoints.curve[choice.position]
        unchanged = num_unchanged(self.task.backbone, self.phases[: chosen.phase] if chosen.epoch else [])
        train_log_probs_NC = look(self.network, self.supply, self.supply.split("train", unchanged), "predictions on train")
        heat, val_log_probs_NC = choice.temperature, choice.log_probs_NC
        if self.probe is not None and is_probe(self.task, self.phases):  # far more images say how sure it may be
            heat = self.probe.temperature
            val_log_probs_NC = calibrated(choice.raw_log_probs_NC, heat)
        return Fitted(
            network=self.network,
            blocks=self.task.backbone.blocks,
            plan=self.phases[-1].plan,
            curve=tuple(self.checkpoints.curve),
            chosen_epoch=chosen.epoch,
            lr=self.lr,
            lr_losses=self.lr_losses,
            is_complete=self.is_complete,
            unchanged=unchanged,
            temperature=heat,
            raw_val_log_probs_NC=choice.raw_log_probs_NC,
            val_log_probs_NC=val_log_probs_NC,
            train_log_probs_NC=calibrated(train_log_probs_NC, heat),
            probe=self.probe,
            train_s=shared_s + time.perf_counter() - started,
        )


def _short(phase: Phase) -> Phase:
    return replace(phase, epochs=short_epochs(phase.epochs))


def _diverged(tried: Iterable[float]) -> str:
    return f"the loss is not finite at any learning rate of {', '.join(map(str, sorted(tried)))}; try a lower train.lr."


def look(network: Network, supply: Supply, samples: Samples, what: str) -> FloatArray:
    """Log-probabilities of samples at whatever boundary they are, shape N x C."""
    return log_probabilities(Tail(network, supply.behind(samples)), samples, supply.pool, what)
