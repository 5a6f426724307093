"""Step 2: the machine, the limits, and the time that was used."""

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Section, Table
from harness.reporting.sections.facts import distinct, known_rows, ranked_rows
from harness.select.limits import number, set_limits
from harness.select.ranking import Ranking
from harness.text.counts import counted

TITLE = "Assess the resources"


def build(ranking: Ranking) -> Section:
    """Where it was measured, what must be respected, how fast it went."""
    blocks: list[Block] = [_machines(ranking), Paragraph(_limits(ranking)), Paragraph(_time(ranking))]
    blocks += [Paragraph(text) for text in (_timed(ranking), _throughput(ranking)) if text]
    return Section("resources", TITLE, blocks)


def _machines(ranking: Ranking) -> Table:
    columns = ["machine", "device", "accelerator", "processor", "cores", "threads used", "memory", "accelerator memory", "arithmetic"]
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
    is_number = {"cores", "threads used", "memory", "accelerator memory"}
    return Table("Where it was measured", [Column(name, is_number=name in is_number) for name in columns], distinct(rows))


def _limits(ranking: Ranking) -> str:
    asked = [f"rank.{key}={number(value)}" for key, value in set_limits(ranking.rank).items()]
    asked += [f"rank.limits={formats.one_line(text)}" for text in ranking.rank.limits]
    if not asked:
        return "No limits were given: every candidate may be recommended. Limits such as rank.max_latency_ms or rank.max_params_m are hard filters."
    return f"Limits: {', '.join(asked)}. {len(ranking.eligible)} of {len(ranking.entries)} candidates meet them."


def _time(ranking: Ranking) -> str:
    rows = [*ranked_rows(ranking), *ranking.pool.failed, *ranking.pool.pruned]
    known = [row.total_s for row in rows if row.total_s is not None]
    used = formats.duration(sum(known)) if known else "an unknown time"
    longest = f", the longest {formats.duration(max(known))}" if len(known) > 1 else ""
    ended = [
        f"{len(group)} {word}"
        for group, word in ((ranking.pool.failed, "failed"), (ranking.pool.pruned, "not trained to the end"))
        if group
    ]
    among = f" ({', '.join(ended)})" if ended else ""
    return f"{len(rows)} {'job' if len(rows) == 1 else 'jobs'}{among} took {used} in all{longest}.{_folds(ranking)}"


def _folds(ranking: Ranking) -> str:
    """What cross-fitting took, where there was any."""
    folds = [row for entry in ranking.entries for row in entry.candidate.folds]
    seconds = sum(row.total_s or 0.0 for row in folds)
    return f" Cross-fitting fine-tunes took {formats.duration(seconds)} more, {counted(len(folds), 'fold')}." if folds else ""


def _timed(ranking: Ranking) -> str:
    """Where and when inference was timed, and whose was not; nothing where the rows do not say."""
    rows = ranked_rows(ranking)
    timed = {row.latency_key: row for row in rows if row.timed_on is not None and row.latency_ms_p50 is not None}
    last = max((row.timed_at or "" for row in timed.values()), default="")[:16].replace("T", " ")
    where = ", ".join(sorted({formats.one_line(row.timed_on or "") for row in timed.values()}))
    text = (
        f"Inference was timed on {where} when the jobs were done ({formats.one_line(last)} UTC), {counted(len(timed), 'model')} in turn."
        if timed
        else ""
    )
    reasons = {row.backbone: reason for row in rows if (reason := row.details.undefined.get("latency_ms_p50"))}
    missing = "; ".join(f"{formats.one_line(name)} ({formats.one_line(reason)})" for name, reason in reasons.items())
    return f"{text} Not timed: {missing}.".strip() if missing else text


def _rates(ranking: Ranking) -> list[tuple[float, str]]:
    return sorted((rate, entry.label) for entry in ranking.entries if (rate := entry.cost.throughput_ips) is not None)


def _throughput(ranking: Ranking) -> str:
    rates = _rates(ranking)
    if not rates:
        return ""
    (slow, slow_label), (fast, fast_label) = rates[0], rates[-1]
    if len(rates) == 1:
        return f"Measured throughput: {formats.rate(fast)} ({fast_label})."
    return f"Measured throughput: from {formats.rate(slow)} ({slow_label}) to {formats.rate(fast)} ({fast_label})."
