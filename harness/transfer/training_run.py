"""One training run through its phases: learning rates compared, epochs run, the best of them kept.

Between `train`, which knows all runs of a group, and `loop`, which knows one epoch. Shapes: N images of a split, C classes.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.config import HeadInit, Schedule
from harness.errors import DivergedError
from harness.measure.choice import Selector
from harness.process.progress import track
from harness.transfer.adapter import add_low_rank, merge_low_rank
from harness.transfer.checkpoints import Checkpoints, Snapshot
from harness.transfer.freeze import apply_freeze, set_train_mode
from harness.transfer.heads import HeadFit
from harness.transfer.inputs import Inputs
from harness.transfer.loop import Learner, new_learner, run_epoch
from harness.transfer.mixing import mixed
from harness.transfer.network import Network, Tail, new_head
from harness.transfer.predict import log_probabilities
from harness.transfer.probe import Probe
from harness.transfer.rate_search import RateSearch
from harness.transfer.rungs import short_epochs
from harness.transfer.snapshots import Moment, Snapshots
from harness.transfer.spec import (
    Fitted,
    Phase,
    TrainingSpec,
    as_loaded,
    fixes_batch_norm,
    is_probe,
    learning_rates,
    loss_of,
    num_unchanged,
    objective_of,
)
from harness.transfer.split_inputs import SplitInputs

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_TIMED_BATCHES = 4
"""The first of them is not timed: it makes what the others use again."""


class TrainingRun:
    """A network, and what has been trained and evaluated of it so far."""

    def __init__(self, spec: TrainingSpec, inputs: Inputs, phases: Sequence[Phase]) -> None:
        self.spec = spec
        self.phases = phases
        self.inputs = inputs
        head = new_head(spec.backbone.num_features, spec.dataset.num_classes, spec.cfg, spec.seed)
        self.network = Network(spec.backbone.trunk, head, spec.runtime)
        spec.runtime.place(self.network)
        add_low_rank(self.network.trunk, phases[0].plan.low_rank, spec.cfg.lora_rank, spec.seed)
        frozen = frozenset.intersection(*(phase.plan.frozen for phase in phases))
        self.objective, self.loss = objective_of(spec), loss_of(spec)
        selector = Selector.of(spec.dataset.val.labels, spec.metric, self.objective, spec.dataset.val.groups)
        keeps_any = spec.cfg.schedule is Schedule.constant
        tensors = {f"trunk.{name}" for name in frozen}
        self.checkpoints = Checkpoints(self.network, tensors, selector, keeps_any=keeps_any, settled=spec.settled)
        self.probe: Probe | None = None
        self.error: DivergedError | None = None
        self.lr: float | None = None
        self.lr_losses: dict[float, float | None] = {}
        self.is_complete = True
        self.snapshots = Snapshots(spec.snapshots, self.checkpoints.changing)

    def start_from(self, probe: Probe) -> None:
        """Give the head the solution of the linear probe; epoch 0 is what that says."""
        self.probe = probe
        self.network.head.load_state_dict(probe.state)
        self.evaluate(self.inputs.split("val", self.spec.trunk.last), phase=1)

    def train(self, phase: Phase) -> None:
        """Run one phase through the layers that are free, unless an earlier process of this job has, or an earlier phase came to nothing."""
        if self.error is not None:
            return
        if (left := self.snapshots.left) is not None and self.snapshots.is_past(phase):
            self.lr, self.lr_losses = left.first_lr, dict(left.lr_losses)
            return
        try:
            self._train(phase)
        except DivergedError as error:
            self.error = error

    def _train(self, phase: Phase) -> None:
        self.is_complete = not self.spec.is_short
        if self.spec.is_short:
            self._train_short(phase)
        else:
            self._train_epochs(phase, self._best_rate(phase))

    def _train_short(self, phase: Phase) -> None:
        """One short training at the middle rate; lower ones only where that diverges."""
        rates, start = self.rates(phase), self.checkpoints.snapshot()
        for lr in reversed(rates[: len(rates) // 2 + 1]):
            try:
                self._train_epochs(_short(phase), lr)
            except DivergedError:
                self.lr_losses[lr] = None
                self.checkpoints.go_back(start)
            else:
                self.lr_losses[lr] = self.checkpoints.last_loss
                return
        raise DivergedError(_diverged(self.lr_losses))

    def _best_rate(self, phase: Phase) -> float:
        """Return the peak learning rate that does best in a short training of its own; the network is then as it was.

        A short training has its whole schedule: with the rate still high, scores are low whatever comes of them, and the lowest rate
        would always win.
        """
        rates, short = self.rates(phase), _short(phase)
        if len(rates) == 1 or phase.epochs == 0:
            return rates[0]
        start, search, told = self.checkpoints.snapshot(), RateSearch(rates, self.spec.tried), self.snapshots.told(phase)
        while (lr := search.next()) is not None:
            search.tell(lr, told[lr] if lr in told else self._short_loss(short, lr, start))
            self.lr_losses = search.losses
        if self.lr_losses[search.best] is None:
            raise DivergedError(_diverged(search.losses))
        return search.best

    def _short_loss(self, short: Phase, lr: float, start: Snapshot) -> float | None:
        """What a rate comes to, the network being then as it was; None: it diverges."""
        try:
            self._train_epochs(short, lr)
        except DivergedError:
            loss = None
        else:
            loss = self.checkpoints.last_loss
        self.checkpoints.go_back(start)
        return loss

    def rates(self, phase: Phase) -> list[float]:
        """Peak learning rates that the phase tries, ascending; a later phase has one of its own."""
        return learning_rates(self.spec.cfg) if phase.number == 1 else [phase.lr]

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

    def _new_learner(self, phase: Phase, lr: float) -> Learner:
        spec = self.spec
        return new_learner(
            self.network,
            spec.cfg,
            lr=lr,
            epochs=phase.epochs,
            epoch_steps=self._epoch_steps,
            loss=self.loss,
            blocks=spec.backbone.blocks,
            scaler=spec.runtime.scaler(),
        )

    @property
    def _epoch_images(self) -> int:
        """Images of an epoch: all that count, but for one that would be left over alone and has no batch statistics."""
        num_images = len(self.spec.dataset.train.counted_N)
        return num_images - 1 if num_images > 1 and num_images % self.spec.cfg.batch_size == 1 else num_images

    @property
    def _epoch_steps(self) -> int:
        return -(-self._epoch_images // self.spec.cfg.batch_size)

    def _train_epochs(self, phase: Phase, lr: float) -> None:
        """Train all epochs of a phase at one peak learning rate."""
        spec, boundary = self.spec, num_unchanged(self.spec.backbone, self.phases[: phase.number])
        train, val = self.inputs.train(boundary), self.inputs.split("val", boundary)
        tail, learner = Tail(self.network, spec.trunk, train.boundary), self._new_learner(phase, lr)
        if phase.number == 1:
            self.lr = lr
        for number in range(self._taken_up(phase, lr, learner) + 1, phase.epochs + 1):
            set_train_mode(self.network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(spec))
            self.network.head.train()
            rng = _generator(spec.seed, phase.number, number)
            order_N = rng.permutation(spec.dataset.train.counted_N)[: self._epoch_images]
            batches = train.batches(order_N, spec.cfg.batch_size, seed=int(rng.integers(2**31)))
            if spec.cfg.mixes:
                batches = mixed(batches, spec.cfg, spec.dataset.num_classes, rng)
            what = f"phase {phase.number}, epoch {number} of {phase.epochs}, lr {lr:g}"
            steps = track(batches, what, self._epoch_steps, self._epoch_images)
            seen = run_epoch(tail, steps, learner, self.inputs.pool.micro_batch, self._weights(order_N))
            with learner.average.shown() if learner.average else nullcontext():
                self.evaluate(val, phase=phase.number, lr=lr, train_loss=seen[0], train_accuracy=seen[1])
            if self.snapshots.is_due:
                self.snapshots.write(self._moment(phase, lr, number, learner))
        if learner.average and phase.epochs:
            learner.average.keep()

    def _taken_up(self, phase: Phase, lr: float, learner: Learner) -> int:
        """How many epochs of this training an earlier process has done; everything is then as after these."""
        left = self.snapshots.take(phase, lr)
        if left is None:
            return 0
        self.checkpoints.go_back(left.snapshot)
        learner.go_back(left.learner)
        return left.num_done

    def _moment(self, phase: Phase, lr: float, number: int, learner: Learner) -> Moment:
        return Moment(
            phase=phase.number,
            epochs=phase.epochs,
            lr=lr,
            num_done=number,
            first_lr=self.lr,
            lr_losses=self.lr_losses,
            snapshot=self.checkpoints.now,
            learner=learner.state(),
            spent_s=self.snapshots.spent_s,
        )

    def _weights(self, order_N: IntArray) -> Tensor | None:
        """Of train images in an order, on the device; None: all weigh the same."""
        weights_N = self.spec.dataset.train.weights
        return None if weights_N is None else self.spec.runtime.send(torch.from_numpy(weights_N[order_N]).float())

    def seconds_per_image(self) -> float:
        """Of training in the first phase, by a few steps after a first one, which train the network."""
        spec, phase = self.spec, self.phases[0]
        apply_freeze(self.network.trunk, phase.plan)
        set_train_mode(self.network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(spec))
        train = self.inputs.train(phase.plan.first_changed_block)
        tail, learner = Tail(self.network, spec.trunk, train.boundary), self._new_learner(phase, self.rates(phase)[0])
        order_N = np.arange(min(self._epoch_images, spec.cfg.batch_size * _TIMED_BATCHES))
        batches = train.batches(order_N, spec.cfg.batch_size, seed=0)
        first = next(batches)
        run_epoch(tail, [first], learner, self.inputs.pool.micro_batch)
        rest = list(batches) or [first]
        started = time.perf_counter()
        run_epoch(tail, rest, learner, self.inputs.pool.micro_batch)
        return (time.perf_counter() - started) / sum(len(labels_B) for _, labels_B in rest)

    def evaluate(self, val: SplitInputs, **seen: Any) -> None:
        """Add a point to the curve: val as it is now, beside what the epoch saw of its own training batches."""
        epoch = self.next_epoch
        log_probs_NC = self._log_probabilities(val, f"epoch {epoch}: val")
        self.checkpoints.add(log_probs_NC, **({"epoch": epoch, "lr": None, "train_loss": None, "train_accuracy": None} | seen))

    @property
    def next_epoch(self) -> int:
        """Number of the next point of the curve: 0 is the closed-form head before any step."""
        if self.checkpoints.curve:
            return self.checkpoints.curve[-1].epoch + 1
        return 0 if self.spec.cfg.head_init is HeadInit.closed_form else 1

    def _log_probabilities(self, inputs: SplitInputs, what: str) -> FloatArray:
        return log_probabilities(self.network, self.spec.trunk, inputs, self.loss, pool=self.inputs.pool, what=what)

    def finish(self, shared_s: float) -> Fitted | DivergedError:
        """Put the chosen epoch's weights back, merged, and predict train once more, without augmentation."""
        if self.error is not None:
            return self.error
        started = time.perf_counter()
        choice = self.checkpoints.choose()
        self.checkpoints.put_back(choice.position)
        num_trainable = sum(parameter.numel() for parameter in self.network.parameters() if parameter.requires_grad)
        merge_low_rank(self.network.trunk)
        chosen = self.checkpoints.curve[choice.position]
        gone_through = self.phases[: chosen.phase] if chosen.epoch else []
        unchanged = num_unchanged(self.spec.backbone, gone_through)
        train_log_probs_NC = self._log_probabilities(self.inputs.split("train", unchanged), "predictions on train")
        heat, val_log_probs_NC = choice.temperature, choice.log_probs_NC
        if (
            self.probe is not None and self.spec.settled is None and is_probe(self.spec, self.phases)
        ):  # far more images say how sure it may be
            heat = self.probe.temperature
            val_log_probs_NC = self.objective.log_probs(choice.raw_log_probs_NC, heat)
        settled = self.spec.settled
        if settled is None or settled.thresholds is None:
            unseen_NC = self.probe.log_probs_NC if self.probe is not None and is_probe(self.spec, self.phases) else val_log_probs_NC
            self.objective = self.objective.settled(unseen_NC)
        return Fitted(
            network=self.network,
            trunk=self.spec.trunk,
            blocks=self.spec.backbone.blocks,
            plan=self.phases[-1].plan,
            curve=tuple(self.checkpoints.curve),
            chosen_epoch=chosen.epoch,
            lr=self.lr,
            lr_losses=self.lr_losses,
            is_complete=self.is_complete,
            unchanged=unchanged,
            as_loaded=as_loaded(self.spec.backbone, gone_through),
            num_trainable=num_trainable,
            objective=self.objective,
            loss=self.loss,
            temperature=heat,
            raw_val_log_probs_NC=choice.raw_log_probs_NC,
            val_log_probs_NC=val_log_probs_NC,
            train_log_probs_NC=self.objective.log_probs(train_log_probs_NC, heat),
            probe=self.probe,
            train_s=self.snapshots.earlier_s + shared_s + time.perf_counter() - started,
            earlier_s=self.snapshots.earlier_s,
        )


def _short(phase: Phase) -> Phase:
    return replace(phase, epochs=short_epochs(phase.epochs))


def _diverged(tried: Iterable[float]) -> str:
    return f"the loss is not finite at any learning rate of {', '.join(map(str, sorted(tried)))}; try a lower train.lr."


def _generator(*seeds: int) -> np.random.Generator:
    """Return what an epoch draws from, which does not depend on what was trained before; torch's own generator (dropout) is set too."""
    rng = np.random.default_rng(seeds)
    torch.manual_seed(int(rng.integers(2**63)))
    return rng
