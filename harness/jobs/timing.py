"""The models of a study timed after its jobs, in turn in one process, when nothing else of the study runs.

Torch-free; the models are built and timed in a child (`measure.latency`). A row knows enough to build its model with random weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from hashlib import blake2b
from platform import node
from statistics import median

from harness.config import Device, MeasureConfig
from harness.errors import ConfigError
from harness.jobs.identity import now
from harness.process.isolate import Limits, machine_memory_mib, run_isolated
from harness.status import Status
from harness.study.claims import claimed
from harness.study.row import Row
from harness.study.store import Study
from harness.study.timing import Timing
from harness.text.counts import counted

_BUILD_S = 1.0
"""Of one model, about: building it and first calls."""
_TELL_S = 3.0
"""What takes longer is announced."""
_LONGER = 1.2
"""Times that are so many times as long as before are not noise."""
_MEMORY_FRAC = 0.4
"""Of the machine's memory, what the weights of models that take turns may fill together."""


def time_models(
    study: Study,
    cfg: MeasureConfig,
    limits: Limits,
    *,
    protocols: Set[str] | None = None,
    device: str = Device.auto.value,
    say: Callable[[str], None],
) -> list[str]:
    """Time the models of a study's good rows on this machine and keep the times beside the rows.

    Only models that took turns compare well, so if one is missing, all are timed. Times that a busy machine made longer than those it replaces are
    dropped, as disturbances only add; not if variants are asked for, of which there may be no times yet.

    Args:
        study: the folder.
        cfg: how long each is timed.
        limits: of the child.
        protocols: whose rows count, and only if one of them has no times of this machine yet; None: all, in any case.
        device: that the sweep was asked for, of several accelerators with its index.
        say: prints a line.

    Returns:
        Why models could not be timed, a clause each; their rows say so too.

    Raises:
        ConfigError: the device of the jobs is not on this machine.
        StoreError: the folder cannot be written.
    """
    with claimed(study.root, f"timing-{blake2b(node().encode(), digest_size=8).hexdigest()}"):
        rows = _models(study, protocols)
        if protocols is not None and _all_known(study, rows):
            return []
        seconds = expected_s(len(rows), cfg)
        if seconds >= _TELL_S:
            say(f"timing {counted(len(rows), 'model')} in turn, about {seconds:.0f} s")
        before = {timing.latency_key: timing for timing in study.timings()[0] if timing.timed_on == node()}
        found = [pair for together in _batches(rows) for pair in zip(together, _timed(together, cfg, limits, device), strict=True)]
        if not cfg.variants and (factor := _disturbed(before, [timing for _, timing in found])):
            say(f"the machine is busy: these times are {factor:.1f} times those from before, which are kept; run it again when it is quiet")
            return []
        for _, timing in found:
            study.write_timing(timing)
        return [f"{row.backbone} was not timed: {timing.error}" for row, timing in found if timing.error]


def _disturbed(before: Mapping[str, Timing], after: Sequence[Timing]) -> float | None:
    """How many times as long models took at their quietest, by the median, if a busy machine may be why; None: take the new times."""
    pairs = [(before.get(timing.latency_key), timing) for timing in after]
    ratios = [
        timing.latency_ms_min / old.latency_ms_min
        for old, timing in pairs
        if old and old.latency_ms_min and timing.latency_ms_min and not timing.latency_steady
        if (old.num_threads, old.torch_version) == (timing.num_threads, timing.torch_version)
    ]
    factor = median(ratios) if ratios and len(ratios) == len(pairs) else 0.0
    return factor if factor > _LONGER else None


def expected_s(num_models: int, cfg: MeasureConfig) -> float:
    """About how long timing takes, of single images and of batches."""
    return num_models * (_BUILD_S + cfg.warm_up_s / 2 + 2 * cfg.timing_s)


def _models(study: Study, protocols: Set[str] | None) -> list[Row]:
    """The newest good row of each model, in the order of the rows."""
    good = (row for row in study.rows() if row.status == Status.ok and (protocols is None or row.protocol in protocols))
    return list({row.latency_key: row for row in good if row.latency_key is not None}.values())


def _all_known(study: Study, rows: Sequence[Row]) -> bool:
    return {row.latency_key for row in rows} <= {timing.latency_key for timing in study.timings()[0] if timing.timed_on == node()}


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Models of one device whose weights fit into memory together."""
    most_mib = _MEMORY_FRAC * machine_memory_mib()
    for device in dict.fromkeys(row.device for row in rows):
        batch: list[Row] = []
        for row in (row for row in rows if row.device == device):
            if batch and sum(each.weights_mib or 0.0 for each in (*batch, row)) > most_mib:
                yield batch
                batch = []
            batch.append(row)
        yield batch


def _timed(rows: Sequence[Row], cfg: MeasureConfig, limits: Limits, device: str) -> list[Timing]:
    """Times of models that take turns; one that could not be timed with the others is timed alone."""
    outcome = run_isolated("harness.jobs.latency:time_together", rows, cfg, device, limits=limits)
    if outcome.status is Status.failed:
        raise ConfigError(outcome.error or "no reason given")
    if len(rows) > 1:
        found: list[Timing | None] = list(outcome.value or [None] * len(rows))
        return [
            timing if timing and timing.error is None else _timed([row], cfg, limits, device)[0]
            for row, timing in zip(rows, found, strict=True)
        ]
    return list(outcome.value or [_failed(rows[0], outcome.error or outcome.status.value)])


def _failed(row: Row, error: str) -> Timing:
    """What is kept of a model that could not be timed."""
    assert row.latency_key is not None
    return Timing(latency_key=row.latency_key, timed_on=node(), timed_at=now(), error=error)
