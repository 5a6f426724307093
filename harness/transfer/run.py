"""One task on its way through its phases: learning rates compared, epochs run, the best of them kept, the rest left for later.

Between `train`, which knows all tasks of a group, and `course`, which knows one learning rate. Shapes: N images of a split, C classes.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config import HeadInit
from harness.errors import DivergedError
from harness.measure.choice import Judge
from harness.measure.quality import primary_metric, quality
from harness.progress import track
from harness.study.row import Epoch
from harness.transfer.course import Course, Snapshot, load_snapshot, save_snapshot
from harness.transfer.freeze import apply_freeze, set_train_mode
from harness.transfer.heads import HeadFit
from harness.transfer.keeper import Keeper
from harness.transfer.loop import new_learner, run_epoch
from harness.transfer.network import Network, Tail, new_head
from harness.transfer.predict import log_probabilities
from harness.transfer.rungs import rungs
from harness.transfer.samples import Samples
from harness.transfer.supply import Supply
from harness.transfer.task import Fitted, Phase, Task, class_weights, fixes_batch_norm, learning_rates, num_unchanged

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
        self.keeper = Keeper(self.network, {f"trunk.{name}" for name in fixed})
        self.error: DivergedError | None = None
        self.lr = task.cfg.lr
        self.lr_losses: dict[float, float | None] = {}
        self.is_complete = True

    def train(self, phase: Phase) -> None:
        """Run one phase through the layers that are free."""
        try:
            self._train(phase)
        except DivergedError as error:
            self.error = error

    def _train(self, phase: Phase) -> None:
        stop = self.task.stop
        found = load_snapshot(stop.path) if stop else None
        course = self._search(phase) if found is None else self._go_on(phase, found)
        self._advance(course, phase, phase.epochs if stop is None else min(stop.epochs, phase.epochs))
        self.is_complete = course.num_epochs == phase.epochs
        if stop and not self.is_complete:
            save_snapshot(course.snapshot() | {"lr_losses": self.lr_losses}, stop.path)

    def _search(self, phase: Phase) -> Course:
        """The phase at the learning rate that does best on val in the epochs before the first rung."""
        rates = self.rates(phase)
        if len(rates) == 1 or phase.epochs == 0:
            return self._course(phase, rates[0])
        start, best, last = self.keeper.snapshot(), None, len(self.keeper.curve)
        for lr in rates:
            self.keeper.go_back(start)
            course = self._course(phase, lr)
            try:
                self._advance(course, phase, rungs(phase.epochs)[0])
            except DivergedError:
                self.lr_losses[lr] = None
                continue
            self.lr_losses[lr] = loss = min(point.val_loss for point in self.keeper.curve[last:])
            if best is None or loss < best[0]:
                best = loss, course.snapshot()
        if best is None:
            raise DivergedError(f"the loss is not finite at any learning rate of {', '.join(map(str, rates))}; try a lower train.lr.")
        return self._go_on(phase, best[1])

    def rates(self, phase: Phase) -> list[float]:
        """Peak learning rates that the phase tries, ascending; a later phase has one of its own."""
        return learning_rates(self.task.cfg) if phase.number == 1 else [phase.lr]

    def adopt_best(self, tried: Sequence[tuple[float, HeadFit]], phase: Phase) -> None:
        """Take the head whose learning rate did best on val; all of them are trained to the end, as that costs next to nothing."""
        losses = {lr: None if fit.error else min((point.val_loss for point in fit.curve), default=math.inf) for lr, fit in tried}
        lr, found = min(tried, key=lambda pair: (losses[pair[0]] is None, losses[pair[0]] or 0.0))
        if phase.number == 1:
            self.lr, self.lr_losses = lr, losses if len(losses) > 1 else {}
        self.network.head.load_state_dict(found.last)
        try:
            self.keeper.adopt(found)
        except DivergedError as error:
            self.error = error

    def _go_on(self, phase: Phase, snapshot: Snapshot) -> Course:
        course = self._course(phase, snapshot["lr"])
        course.go_on_from(snapshot)
        self.lr_losses |= snapshot.get("lr_losses", {})
        return course

    def _course(self, phase: Phase, lr: float) -> Course:
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
        return Course(self.keeper, learner, lr, seeds=(task.seed, phase.number))

    @property
    def _epoch_images(self) -> int:
        """Images of an epoch: all, but for one that would be left over alone and has no batch statistics."""
        num_images = len(self.task.dataset.train)
        return num_images - 1 if num_images > 1 and num_images % self.task.cfg.batch_size == 1 else num_images

    @property
    def _epoch_steps(self) -> int:
        return -(-self._epoch_images // self.task.cfg.batch_size)

    def _advance(self, course: Course, phase: Phase, epochs: int) -> None:
        """Train until so many epochs of the phase are done."""
        task, boundary = self.task, num_unchanged(self.task.backbone, self.phases[: phase.number])
        train, val = self.supply.train(boundary), self.supply.split("val", boundary)
        tail = Tail(self.network, self.supply.behind(train))
        while course.num_epochs < epochs:
            set_train_mode(self.network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(task))
            self.network.head.train()
            rng = course.generator()
            order_N = rng.permutation(len(train.labels_N))[: self._epoch_images]
            batches = train.batches(order_N, task.cfg.batch_size, seed=int(rng.integers(2**31)))
            what = f"phase {phase.number}, epoch {course.num_epochs + 1} of {phase.epochs}, lr {course.lr:g}"
            seen = run_epoch(tail, track(batches, what, self._epoch_steps), course.learner, self.supply.team.micro_batch)
            self.evaluate(val, phase=phase.number, lr=course.lr, train_loss=seen[0], train_accuracy=seen[1])
            course.num_epochs += 1

    def seconds_per_image(self) -> float:
        """Of training in the first phase, by a few steps after a first one. The network is not what it was afterwards."""
        task, phase = self.task, self.phases[0]
        apply_freeze(self.network.trunk, phase.plan)
        set_train_mode(self.network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(task))
        train = self.supply.train(phase.plan.num_frozen_blocks)
        tail, learner = Tail(self.network, self.supply.behind(train)), self._course(phase, self.rates(phase)[0]).learner
        order_N = np.arange(min(self._epoch_images, task.cfg.batch_size * _TIMED_BATCHES))
        batches = train.batches(order_N, task.cfg.batch_size, seed=0)
        first = next(batches)
        run_epoch(tail, [first], learner, self.supply.team.micro_batch)
        rest = list(batches) or [first]
        started = time.perf_counter()
        run_epoch(tail, rest, learner, self.supply.team.micro_batch)
        return (time.perf_counter() - started) / sum(len(labels_B) for _, labels_B in rest)

    def evaluate(self, val: Samples, **seen: Any) -> None:
        """Add a point to the curve: val as it is now, beside what the epoch saw of its own training batches."""
        epoch = self.next_epoch
        log_probs_NC = look(self.network, self.supply, val, f"epoch {epoch}: val")
        values, _ = quality(log_probs_NC, val.labels_N)
        loss, accuracy = values["log_loss"], values["accuracy"]
        assert loss is not None
        assert accuracy is not None
        measured = {"epoch": epoch, "lr": None, "train_loss": None, "train_accuracy": None} | seen
        self.keeper.add(
            Epoch(**measured, val_loss=loss, val_accuracy=accuracy, val_score=judge_of(self.task).look(log_probs_NC).value[0]), log_probs_NC
        )

    @property
    def next_epoch(self) -> int:
        """Number of the next point of the curve: 0 is a solved head before any step."""
        if self.keeper.curve:
            return self.keeper.curve[-1].epoch + 1
        return 0 if self.task.cfg.head_init is HeadInit.solved else 1

    def finish(self, shared_s: float) -> Fitted | DivergedError:
        """Put the chosen epoch's weights back and look at train once more, without augmentation."""
        if self.error is not None:
            return self.error
        started = time.perf_counter()
        self.keeper.put_back()
        assert self.keeper.val_log_probs_NC is not None
        chosen = next(point for point in self.keeper.curve if point.epoch == self.keeper.chosen_epoch)
        unchanged = num_unchanged(self.task.backbone, self.phases[: chosen.phase] if chosen.epoch else [])
        train = self.supply.split("train", unchanged)
        return Fitted(
            network=self.network,
            blocks=self.task.backbone.blocks,
            plan=self.phases[-1].plan,
            curve=tuple(self.keeper.curve),
            chosen_epoch=self.keeper.chosen_epoch,
            lr=self.lr,
            lr_losses=self.lr_losses,
            is_complete=self.is_complete,
            unchanged=unchanged,
            val_log_probs_NC=self.keeper.val_log_probs_NC,
            train_log_probs_NC=look(self.network, self.supply, train, "predictions on train"),
            train_s=shared_s + time.perf_counter() - started,
        )


def judge_of(task: Task) -> Judge:
    """Of the task's looks at val: by the metric that the data calls for, knowing the class shares that the loss lets a network learn."""
    counts_C = np.bincount(task.dataset.train.labels, minlength=task.dataset.num_classes)
    known_C = np.ones(len(counts_C)) if task.cfg.class_weights else counts_C
    return Judge.of(task.dataset.val.labels, primary_metric(counts_C.tolist()), known_C / known_C.sum())


def look(network: Network, supply: Supply, samples: Samples, what: str) -> FloatArray:
    """Log-probabilities of samples at whatever boundary they are, shape N x C."""
    return log_probabilities(Tail(network, supply.behind(samples)), samples, supply.team, what)
