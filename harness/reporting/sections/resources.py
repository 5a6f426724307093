"""Step 2: the machine, the limits, and the time that was used."""

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Section, Table
from harness.reporting.sections.facts import distinct, known_rows, ranked_rows
from harness.select.limits import number, set_limits
from harness.select.ranking import Ranking
from harness.text.counts import counted
from harness.text.language import say, told


def build(ranking: Ranking) -> Section:
    """Where it was measured, what must be respected, how fast it went."""
    blocks: list[Block] = [_machines(ranking), Paragraph(_limits(ranking)), Paragraph(_time(ranking))]
    blocks += [Paragraph(text) for text in (_spent(ranking), _timed(ranking), _throughput(ranking)) if text]
    return Section("resources", say("Assess the resources"), blocks)


def _machines(ranking: Ranking) -> Table:
    columns = [
        *(Column(name) for name in (say("machine"), say("device"), say("accelerator"), say("processor"))),
        *(Column(name, is_number=True) for name in (say("cores"), say("threads used"), say("memory"), say("accelerator memory"))),
        Column(say("arithmetic")),
    ]
    rows = []
    for row in known_rows(ranking):
        found = row.details.machine
        cores, threads = found.get("num_cores"), row.num_threads or found.get("num_threads")
        names = [
            formats.plain(row.host),
            formats.plain(row.device),
            formats.plain(found.get("device_name")),
            formats.plain(found.get("cpu_name")),
        ]
        memory = [formats.gib(found.get("memory_gib")), formats.gib(found.get("accelerator_memory_gib"))]
        rows.append([*names, formats.count(cores), formats.count(threads), *memory, formats.plain(row.precision)])
    return Table(say("Where it was measured"), columns, distinct(rows))


def _limits(ranking: Ranking) -> str:
    asked = [f"rank.{key}={number(value)}" for key, value in set_limits(ranking.rank).items()]
    asked += [f"rank.limits={formats.one_line(text)}" for text in ranking.rank.limits]
    if not asked:
        return say(
            "No limits were given: every candidate may be recommended. Limits such as rank.max_latency_ms or rank.max_params_m are hard filters."
        )
    return say(
        "Limits: {limits}. {number} of {total} candidates meet them.",
        limits=say(", ").join(asked),
        number=len(ranking.eligible),
        total=len(ranking.entries),
    )


def _time(ranking: Ranking) -> str:
    rows = [*ranked_rows(ranking), *ranking.pool.failed, *ranking.pool.pruned]
    known = [row.total_s for row in rows if row.total_s is not None]
    used = formats.duration(sum(known)) if known else say("an unknown time")
    failed, pruned = len(ranking.pool.failed), len(ranking.pool.pruned)
    ended = [
        *([say("{number} failed", number=failed)] if failed else []),
        *([say("{number} not trained to the end", number=pruned)] if pruned else []),
    ]
    jobs = counted(len(rows), "job")
    took = say(
        "{jobs} took {time} in all, the longest {longest}." if len(known) > 1 else "{jobs} took {time} in all.",
        jobs=say("{jobs} ({ended})", jobs=jobs, ended=say(", ").join(ended)) if ended else jobs,
        time=used,
        longest=formats.duration(max(known, default=None)),
    )
    return told(took, _folds(ranking))


def _spent(ranking: Ranking) -> str:
    """The energy of the jobs whose counters could be read, and the cost of those whose machine has a price; those of folds too."""
    folds = [row for entry in ranking.entries for row in entry.candidate.folds]
    rows = [*ranked_rows(ranking), *folds, *ranking.pool.failed, *ranking.pool.pruned]
    chips = {
        "accelerator": say("the accelerator"),
        "processor": say("the processor"),
        "accelerator+processor": say("the accelerator and the processor"),
    }
    energies = {name: [row.energy_wh for row in rows if row.energy_wh is not None and row.energy_of == name] for name in chips}
    metered = [
        say(
            "Energy: {energy}\N{NO-BREAK SPACE}Wh for {jobs}, by counters of {chips}, which also count what others did there meanwhile.",
            energy=f"{sum(energies[name]):,.3g}",
            jobs=counted(len(energies[name]), "job"),
            chips=chip,
        )
        for name, chip in chips.items()
        if energies[name]
    ]
    priced = [row.cost for row in rows if row.cost is not None]
    cost = say(
        "Cost of {jobs} at the price that was given for an hour: {cost}.", jobs=counted(len(priced), "job"), cost=f"{sum(priced):,.2f}"
    )
    return told(*metered, cost if priced else "")


def _folds(ranking: Ranking) -> str:
    """What cross-fitting took, where there was any."""
    folds = [row for entry in ranking.entries for row in entry.candidate.folds]
    seconds = sum(row.total_s or 0.0 for row in folds)
    if not folds:
        return ""
    return say("Cross-fitting fine-tunes took {time} more, {folds}.", time=formats.duration(seconds), folds=counted(len(folds), "fold"))


def _timed(ranking: Ranking) -> str:
    """Where and when inference was timed, and whose was not; nothing where the rows do not say."""
    rows = ranked_rows(ranking)
    timed = {row.latency_key: row for row in rows if row.timed_on is not None and row.latency_ms_p50 is not None}
    last = max((row.timed_at or "" for row in timed.values()), default="")[:16].replace("T", " ")
    where = say(", ").join(sorted({formats.one_line(row.timed_on or "") for row in timed.values()}))
    text = say(
        "Inference was timed on {machines} when the jobs were done ({time} UTC), {models} in turn.",
        machines=where,
        time=formats.one_line(last),
        models=counted(len(timed), "model"),
    )
    reasons = {row.backbone: reason for row in rows if (reason := row.details.undefined.get("latency_ms_p50"))}
    missing = [say("{name} ({reason})", name=formats.one_line(name), reason=formats.one_line(reason)) for name, reason in reasons.items()]
    return told(text if timed else "", say("Not timed: {names}.", names=say("; ").join(missing)) if missing else "")


def _rates(ranking: Ranking) -> list[tuple[float, str]]:
    return sorted((rate, entry.label) for entry in ranking.entries if (rate := entry.cost.throughput_ips) is not None)


def _throughput(ranking: Ranking) -> str:
    rates = _rates(ranking)
    if not rates:
        return ""
    (slow, slow_label), (fast, fast_label) = rates[0], rates[-1]
    if len(rates) == 1:
        return say("Measured throughput: {fast} ({fast_label}).", fast=formats.rate(fast), fast_label=fast_label)
    return say(
        "Measured throughput: from {slow} ({slow_label}) to {fast} ({fast_label}).",
        slow=formats.rate(slow),
        slow_label=slow_label,
        fast=formats.rate(fast),
        fast_label=fast_label,
    )
