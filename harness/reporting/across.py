"""Several studies side by side, as pages, a table and a few lines on the terminal.

Beside the report of one study: the same document types, another question. Which candidate is best on average, and where do the studies disagree?
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid

from harness.config import RankConfig, SweepConfig
from harness.files import as_typed
from harness.reporting import formats
from harness.reporting.build import write_csv, write_text
from harness.reporting.document import Block, Bullets, Column, Command, Document, Fact, Paragraph, Section, Table, Tone
from harness.reporting.question import ask
from harness.reporting.render import to_html, to_markdown
from harness.reporting.terminal import longest_word, print_board, shown
from harness.reporting.wording import metric_name
from harness.select.across import Agreement, Asked, Compared, Comparison, RankedStudy, compare
from harness.select.across_csv import comparison_frame
from harness.study.store import Study
from harness.text.counts import counted
from harness.text.language import ENGLISH, listed, say, speaking, told
from harness.text.untrusted import shell_word

SURE, LIKELY = 0.95, 0.5
"""Probabilities of the lowest mean rank from which on the answer is called clear, and probable."""

_LONGEST_NAME = 200
"""Bytes; file systems take 255."""
_TOP = 10


def compare_studies(studies: Sequence[Study], cfg: RankConfig | None = None, given: Collection[str] | None = None) -> Comparison:
    """Compare studies, each by the protocol and the settings of its last sweep.

    Args:
        studies: two or more.
        cfg: settings of the ranking that replace their own; None: none.
        given: which of its fields do; None: those that are not as they are by default.

    Raises:
        ConfigError: fewer than two studies, or one is given twice.
        TableError: a study cannot be ranked, or nothing is in two of them.
    """
    questions = [ask(study, cfg or RankConfig(), given) for study in studies]
    return compare([Asked(study, each.cfg, each.protocol) for study, each in zip(studies, questions, strict=True)])


def report_comparison(
    studies: Sequence[Study], cfg: RankConfig | None = None, given: Collection[str] | None = None, console: Console | None = None
) -> Comparison:
    """Compare studies, write `compare-<a>-<b>/` beside the first and print a summary. Raises like `compare_studies`, and StoreError."""
    found = compare_studies(studies, cfg, given)
    folder = studies[0].root.parent / folder_name([study.name for study in studies])
    document = describe(found)
    with speaking(ENGLISH):  # a table is for programs
        write_csv(folder / "comparison.csv", comparison_frame(found))
    write_text(folder / "report.md", to_markdown(document))
    write_text(folder / "index.html", to_html(document))
    _print(console or Console(), found, document, folder / "index.html")
    return found


def folder_name(names: Sequence[str]) -> str:
    """`compare-<a>-<b>`; a hash stands for names that no file system would take together."""
    whole = f"compare-{'-'.join(names)}"
    return whole if len(whole.encode()) <= _LONGEST_NAME else f"compare-{hashlib.sha256(','.join(names).encode()).hexdigest()[:16]}"


def describe(found: Comparison) -> Document:
    """The comparison as a document."""
    return Document(
        title=say("{studies} compared", studies=listed([study.name for study in found.studies])),
        verdict=_verdict(found),
        tone=Tone.plain if _prob(found) >= SURE else Tone.note,
        headline=_headline(found),
        facts=_facts(found),
        next_steps=[Command(say("To reproduce it"), _command(found))],
        leaderboard=_leaderboard(found),
        sections=[_studies(found), _agreement(found), *_left_out(found), _reading(found)],
    )


def _verdict(found: Comparison) -> str:
    if not found.ranked:
        return say("no mean ranks")
    if _prob(found) >= SURE:
        return say("clearly the best on average")
    return say("probably the best on average" if _prob(found) >= LIKELY else "not settled")


def _prob(found: Comparison) -> float:
    return (found.ranked[0].prob_best or 0.0) if found.ranked else 0.0


def _headline(found: Comparison) -> str:
    if not found.ranked:
        return say(
            "No mean ranks: fewer than two candidates are in every one of {studies} within its limits.",
            studies=counted(len(found.studies), "study", "studies"),
        )
    return say(
        "{label} has the lowest mean rank over {studies}: {rank}.",
        label=found.ranked[0].label,
        studies=listed([study.name for study in found.studies]),
        rank=_mean_rank(found, found.ranked[0]),
    )


def _mean_rank(found: Comparison, each: Compared) -> str:
    return say(
        "{rank} of {number} ({confidence} interval {ends}), the best on average with probability {odds}",
        rank=_averages(each)[0],
        number=len(found.ranked),
        confidence=formats.confidence(found.confidence),
        ends=_range(each),
        odds=formats.odds(each.prob_best),
    )


def _range(each: Compared) -> str:
    return formats.span(formats.ratio(each.interval.low), formats.ratio(each.interval.high)) if each.interval else formats.EMPTY


def _tau_range(each: Agreement) -> str:
    if each.interval is None:
        return formats.EMPTY
    return formats.span(formats.correlation(each.interval.low), formats.correlation(each.interval.high))


def _facts(found: Comparison) -> list[Fact]:
    facts = [
        Fact(say("Next best"), _next_best(found)),
        Fact(say("Best in each"), _best_in_each(found)),
        Fact(say("Do they agree"), told(*map(_agreed, found.agreements[:3]))),
        Fact(say("Metrics"), _metrics(found)),
        Fact(say("Not independent"), _same_images(found)),
        Fact(say("Left out"), _num_left_out(found)),
    ]
    return [fact for fact in facts if fact.answer]


def _next_best(found: Comparison) -> str:
    if not found.ranked:
        return ""
    return say("{label}: mean rank {rank}.", label=found.ranked[1].label, rank=_mean_rank(found, found.ranked[1]))


def _best_in_each(found: Comparison) -> str:
    best = []
    for s, study in enumerate(found.studies if found.ranked else ()):
        prob, label = max((cell.prob_best or 0.0, each.label) for each in found.ranked if (cell := each.cells[s]) is not None)
        best.append(say("{study}: {label} (with {odds})", study=study.name, label=label, odds=formats.odds(prob)))
    return say("{clauses}.", clauses=say("; ").join(best)) if best else ""


def _agreed(each: Agreement) -> str:
    first, second = each.studies
    if each.tau is None or each.interval is None:
        return say("{first} and {second} cannot be compared: one of them expects the same of all.", first=first, second=second)
    return say(
        "{first} and {second} order {candidates} alike (Kendall's tau {tau}, in draws {ends})."
        if each.interval.low > 0
        else "{first} and {second} order {candidates} in opposite ways (Kendall's tau {tau}, in draws {ends})."
        if each.interval.high < 0
        else "It is not sure that {first} and {second} order {candidates} alike (Kendall's tau {tau}, in draws {ends}).",
        first=first,
        second=second,
        candidates=counted(each.num_candidates, "candidate"),
        tau=formats.correlation(each.tau),
        ends=_tau_range(each),
    )


def _metrics(found: Comparison) -> str:
    if len(found.metrics) == 1:
        return ""
    named = [say("{metric} in {study}", metric=metric_name(study.metric), study=study.name) for study in found.studies]
    return say(
        "The studies are scored by different metrics ({metrics}): ranks compare between them, scores do not.", metrics=say(", ").join(named)
    )


def _same_images(found: Comparison) -> str:
    """Studies that share a data set, of which independent draws know too much."""
    by_dataset: dict[str, list[str]] = {}
    for study in found.studies:
        by_dataset.setdefault(study.row.data_fingerprint or study.row.dataset, []).append(study.name)
    shared = [listed(names) for names in by_dataset.values() if len(names) > 1]
    if not shared:
        return ""
    return say(
        "{studies} are about the same images, so that their errors are alike; the intervals here take them for independent.",
        studies=say("; ").join(shared),
    )


def _num_left_out(found: Comparison) -> str:
    unranked, alone = len(found.candidates) - len(found.ranked), sum(map(len, found.only_in.values()))
    if not unranked and not alone:
        return ""
    return say(
        "{candidates} without a mean rank; the last sections say which and why."
        if not alone
        else "{number} in one study only; the last sections say which and why."
        if not unranked
        else "{candidates} without a mean rank and {number} in one study only; the last sections say which and why.",
        candidates=counted(unranked, "candidate"),
        number=f"{alone:,}",
    )


def _leaderboard(found: Comparison) -> list[Block]:
    names = [say("mean rank"), say("interval"), say("best with")]
    for study in found.studies:
        names += [
            say("{study}: {metric}, expected", study=study.name, metric=metric_name(study.metric)),
            say("interval"),
            say("rank in {study}", study=study.name),
            say("best in {study} with", study=study.name),
        ]
    columns = [Column(say("candidate"), is_name=True), *(Column(name, is_number=True) for name in names)]
    rows = [[each.label, *_averages(each), *_cells(found, each)] for each in found.candidates]
    return [Table(say("Candidates in two studies or more"), columns, rows, frozenset({0} if found.ranked else ()))]


def _averages(each: Compared) -> list[str]:
    rank = formats.EMPTY if each.mean_rank is None else formats.ratio(each.mean_rank)
    return [rank, _range(each), formats.odds(each.prob_best)]


def _cells(found: Comparison, each: Compared) -> Iterator[str]:
    for study, cell in zip(found.studies, each.cells, strict=True):
        if cell is None:
            yield from [formats.EMPTY] * 4
        else:
            yield formats.score(study.metric, cell.expected)
            yield formats.score_range(study.metric, cell.interval)
            yield formats.EMPTY if cell.mean_rank is None else formats.ratio(cell.mean_rank)
            yield formats.odds(cell.prob_best)


def _studies(found: Comparison) -> Section:
    columns = [
        Column(say("study")),
        Column(say("data set")),
        Column(say("labelled images"), is_number=True),
        Column(say("candidates"), is_number=True),
        Column(say("metric")),
        Column(say("unlike {study}", study=found.studies[0].name)),
    ]
    rows = [
        [
            study.name,
            formats.one_line(study.row.dataset),
            formats.count(study.contest.pool.num_images),
            formats.count(len(study.contest.pool.candidates)),
            metric_name(study.metric),
            _difference(found.studies[0], study),
        ]
        for study in found.studies
    ]
    return Section("studies", say("The studies"), [Table(say("What each study rests on"), columns, rows)])


def _difference(first: RankedStudy, other: RankedStudy) -> str:
    one, two = (next(each for each in study.contest.pool.protocols if each.name == study.contest.pool.protocol) for study in (first, other))
    return formats.one_line(two.difference(one)) or formats.EMPTY


def _agreement(found: Comparison) -> Section:
    columns = [
        Column(say("studies")),
        Column(say("candidates"), is_number=True),
        Column(say("Kendall's tau"), is_number=True),
        Column(say("in draws"), is_number=True),
    ]
    rows = [
        [listed(each.studies), formats.count(each.num_candidates), formats.correlation(each.tau), _tau_range(each)]
        for each in found.agreements
    ]
    blocks: list[Block] = [Table(say("How far the studies order their candidates alike"), columns, rows)] if rows else []
    text = say(
        "1 is the same order, -1 the opposite one, 0 no relation. The first number is that of the expected scores. Draws also know how unsure each "
        "order is, so that they agree less than the expected scores where candidates lie close. A model that leads in one study and trails in another is "
        "best chosen on the data that it is for."
    )
    return Section("agreement", say("Where they agree"), [*blocks, Paragraph(text)])


def _left_out(found: Comparison) -> list[Section]:
    unranked = [say("{label}: {reason}.", label=each.label, reason=each.left_out) for each in found.candidates if each.left_out]
    alone = [say("Only in {study}: {labels}.", study=name, labels=say(", ").join(labels)) for name, labels in found.only_in.items()]
    return [Section("left-out", say("Without a mean rank"), [Bullets([*unranked, *alone])])] if unranked or alone else []


def _reading(found: Comparison) -> Section:
    text = say(
        "A candidate is a backbone with its weights at a freeze depth; recipes, image sizes and machines may differ between studies. Each study is ranked by "
        "the settings of its last sweep, or those that were typed, and by its own images alone: here, unlike in its own report, no study "
        "knows how a backbone did in another. Ranks are those among the candidates that every study has within its limits, drawn from the posterior of each study, "
        "independently between studies; equal scores share a rank. A mean rank weighs every study alike, whatever its size. No test predictions were opened."
    )
    ends = say("Intervals hold {confidence} of the draws.", confidence=formats.confidence(found.confidence))
    return Section("reading", say("How to read this"), [Paragraph(text), Paragraph(ends)])


def _command(found: Comparison) -> str:
    folder = found.studies[0].study.root.parent
    elsewhere = [f"results_dir={as_typed(folder)}"] * (folder != Path(SweepConfig.results_dir))
    words = (f"study={','.join(study.name for study in found.studies)}", *elsewhere)
    return " ".join(["python -m harness.report", *map(shell_word, words)])


def _print(console: Console, found: Comparison, document: Document, path: Path) -> None:
    print_board(console, _grid(found, is_plain=not console.is_terminal), _lines(found))
    console.print(shown(document.headline, style="bold"))
    for fact in document.facts:
        console.print(shown(say("{question}: {answer}", question=fact.question, answer=fact.answer)))
    console.print(shown(say("Report: {path}", path=path)), soft_wrap=True)


def _grid(found: Comparison, *, is_plain: bool) -> Grid:
    top = found.candidates[:_TOP]
    grid = Grid(box=None if is_plain else SIMPLE_HEAD, pad_edge=False)
    grid.add_column(say("candidate"), min_width=longest_word(each.label for each in top))
    cells = [[*_averages(each), *_places(each)] for each in top]
    in_each = [say("rank in {study}", study=study.name) for study in found.studies]
    for place, name in enumerate((say("mean rank"), say("interval"), say("best with"), *in_each)):
        widest = max(cell_len(each[place]) for each in cells)
        grid.add_column(name, justify="right", width=max(widest, longest_word([name])))  # the header wraps, numbers do not
    for place, (each, numbers) in enumerate(zip(top, cells, strict=True)):
        style = "bold green" if place == 0 and found.ranked else ""
        grid.add_row(*map(shown, [each.label, *numbers]), style=style)
    return grid


def _places(each: Compared) -> list[str]:
    return [formats.EMPTY if cell is None or cell.mean_rank is None else formats.ratio(cell.mean_rank) for cell in each.cells]


def _lines(found: Comparison) -> Iterator[tuple[str, str, str]]:
    """The same in words."""
    for place, each in enumerate(found.candidates[:_TOP]):
        ranks = [say("{rank} in {study}", rank=rank, study=study.name) for rank, study in zip(_places(each), found.studies, strict=True)]
        rank, ends, prob = _averages(each)
        numbers = say("mean rank {rank} ({ends}), best with {odds}; {ranks}", rank=rank, ends=ends, odds=prob, ranks=say(", ").join(ranks))
        yield each.label, numbers, "bold green" if place == 0 and found.ranked else ""
