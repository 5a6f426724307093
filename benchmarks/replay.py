"""`python -m benchmarks.replay TABLE.csv`: judges the staged search and the ranking on a recorded table, without training anything.

`recorded` reads or simulates the table and says what its columns mean; `strategies` plays the search and what it must beat, `rules` the
recommendation that ships and what it must beat. Each resample draws one repeat of every candidate: that is what the search and the rules see.
The truth is what the table says, else the mean of the other repeats.
Shapes: K candidates, S resamples.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rules, strategies
from benchmarks.kept import add_json, keep
from benchmarks.recorded import ASSUMED_EPOCHS, FloatArray, Recorded, World, read_table, simulate
from benchmarks.rules import BEST, PRICE, SHIPPED, Played, Seen
from benchmarks.strategies import Choice, Draw, Staged, draw, everything, in_order, one_epoch
from harness.cli.command import quit_on_error
from harness.errors import ConfigError, TableError
from harness.search.staged import DEFAULT_SHARE
from harness.select.decision import Option
from harness.select.posterior import POINT, Known

NUM_RESAMPLES = 1000
WIDTH = 1.96
"""Half of a 95 % interval, in standard errors."""

STAGED, GRID = "staged search", "full grid"
RANDOM, PRIOR, PROBE, BOTH, ONE_EPOCH = "random", "prior only", "probe only", "probe and prior", "one-epoch top-k"

Strategy = Callable[[Draw, float], Choice]
"""What to choose in so many seconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One strategy over all resamples. Points are hundredths."""

    name: str
    regret_points: float
    """Mean of what the best candidate truly scores above the chosen one."""
    regret_p90_points: float
    share_frac: float
    """Of what training every candidate in full takes."""
    skill_frac: float | None
    """How much lower its regret is than that of random, which had as much time as the search: 0 is chance, 1 loses nothing. None: random loses nothing."""
    skill_error: float | None
    """Half of its 95 % interval over resamples."""
    staged_less_points: float | None = None
    """Regret of the staged search less this one's."""
    staged_less_error: float | None = None
    """Half of the 95 % interval of that mean over resamples."""

    @property
    def is_better_than_chance(self) -> bool:
        """Whether all of the interval of its skill is above 0."""
        return self.skill_frac is not None and self.skill_error is not None and self.skill_frac > self.skill_error

    @property
    def verdict(self) -> str | None:
        """The staged search against this: `better`, `worse`, or `level` when the resamples cannot tell."""
        if self.staged_less_points is None or self.staged_less_error is None:
            return None
        if abs(self.staged_less_points) <= self.staged_less_error:
            return "level"
        return "better" if self.staged_less_points < 0 else "worse"


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the rules recommend of the full grid, every candidate trained once, over all resamples."""

    played: Played
    stated_less_points: float
    """Expected loss that the shipped rule states, less its regret; mean."""
    stated_less_error: float
    """Half of its 95 % interval over resamples."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Everything that was found on one table."""

    staged: Outcome
    others: tuple[Outcome, ...]
    ranking: Ranking | None
    """None: nothing tells how far scores are off, which the rules must know."""
    not_judged: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a table is judged."""

    num_resamples: int
    seed: int
    share: float
    """Of the full grid's time, what the search may take."""
    num_drawn: int | None
    """Backbones that each resample draws from the table, with all their candidates; None: all of them, always."""


def replay(table: Recorded, setting: Setting) -> Replay:
    """Play everything on many draws of the table."""
    rng, others = np.random.default_rng(setting.seed), _strategies(table)
    noise_E, noise_K = [table.noise(position) for position in range(len(table.epochs or (1,)))], table.noise_K()
    staged = Staged(table, noise_E, setting.share)
    played: dict[str, list[tuple[float, float]]] = defaultdict(list)
    ranked: dict[str, list[rules.Outcome]] = defaultdict(list)
    for _ in range(setting.num_resamples):
        at = list(range(len(table.names))) if setting.num_drawn is None else _some_backbones(table, setting.num_drawn, rng)
        drawn = draw(table.part(at), rng)
        first = (staged if setting.num_drawn is None else Staged(drawn.table, noise_E, setting.share))(drawn)
        choices = {STAGED: first} | {name: other(drawn, first.spent_s) for name, other in others.items()} | {GRID: everything(drawn)}
        for name, choice in choices.items():
            played[name].append(_regret_and_share(drawn, choice))
        for name, outcome in ({} if noise_K is None else ranked_by_rules(drawn, noise_K[at])).items():
            ranked[name].append(outcome)
    found = [_outcome(name, *(np.array(played[each]) for each in (name, STAGED, RANDOM))) for name in played]
    return Replay(found[0], tuple(found[1:]), _ranking(ranked) if ranked else None, tuple(_not_judged(table)))


def _regret_and_share(drawn: Draw, choice: Choice) -> tuple[float, float]:
    """In points, and of the full grid's time."""
    regret = drawn.table.points * (drawn.truth_K.max() - drawn.truth_K[choice.chosen])
    return float(regret), float(choice.spent_s / drawn.costs_s_KE[:, -1].sum())


def _some_backbones(table: Recorded, num: int, rng: np.random.Generator) -> list[int]:
    """Positions of all candidates of so many backbones."""
    names = [table.backbones[k] for k in table.firsts]
    chosen = {names[k] for k in rng.choice(len(names), num, replace=False)}
    return [k for k, backbone in enumerate(table.backbones) if backbone in chosen]


def _strategies(table: Recorded) -> Mapping[str, Strategy]:
    """What the table has the columns for."""
    has_prior, has_probe = not np.isnan(table.prior_K).all(), not np.isnan(table.probe_K).all()

    def ordered(order: strategies.Order, *, is_probing: bool) -> Strategy:
        return lambda drawn, time_s: in_order(order, drawn, time_s, is_probing=is_probing)

    found: dict[str, Strategy] = {RANDOM: ordered(strategies.at_random, is_probing=False)}
    if has_prior:
        found[PRIOR] = ordered(strategies.by_prior, is_probing=False)
    if has_probe:
        found[PROBE] = ordered(strategies.by_probe, is_probing=True)
    if has_prior and has_probe:
        found[BOTH] = ordered(strategies.by_both, is_probing=True)
    if table.epochs is not None and len(table.epochs) > 1:
        found[ONE_EPOCH] = one_epoch
    return found


def _not_judged(table: Recorded) -> list[str]:
    lacking = {"prior": np.isnan(table.prior_K).all(), "probe": np.isnan(table.probe_K).all()}
    found = [
        f"the table has no {name}: {name} only could not be judged, and the search had to do without"
        for name, is_so in lacking.items()
        if is_so
    ]
    if table.epochs is None or len(table.epochs) == 1:
        found.append("no earlier epochs: one-epoch top-k could not be judged, and the search trains whom it keeps in full at once")
    if table.noise_K() is None:
        found.append(
            "no candidate was repeated and the table has no truth: how far scores are off is not known, so the rules could not be judged"
        )
    return found


def ranked_by_rules(drawn: Draw, noise_K: FloatArray) -> dict[str, rules.Outcome]:
    """What each rule recommends when it sees this draw, whose final scores have these standard deviations, and what that comes to."""
    table, frac = drawn.table, POINT * drawn.table.points
    cost_s_K = [float(costs_s[:, -1].mean()) for costs_s in table.costs_s]
    latency_K = cost_s_K if table.latency_ms_K is None else table.latency_ms_K.tolist()
    options = tuple(Option(label=name, latency_ms=ms, train_cost=s) for name, ms, s in zip(table.names, latency_K, cost_s_K, strict=True))
    seen = Seen.of(frac * drawn.scores_KE[:, -1], np.diag((frac * noise_K) ** 2), options, _known(table))
    return {
        name: rules.judge(frac * drawn.truth_K, seen, rule(seen))
        for name, rule in rules.RULES.items()
        if name != rules.PRIOR or not np.isnan(table.prior_K).all()
    }


def _known(table: Recorded) -> tuple[Known, ...]:
    """The prior stands for published accuracy, a latency that was measured for multiply-adds."""
    size_K = [None] * len(table.names) if table.latency_ms_K is None else np.log2(table.latency_ms_K).tolist()
    return tuple(
        Known(backbone=backbone, family=family, top1_frac=None if np.isnan(prior) else prior, log2_cost=size)
        for backbone, family, prior, size in zip(table.backbones, table.families, table.prior_K.tolist(), size_K, strict=True)
    )


def _ranking(ranked: Mapping[str, Sequence[rules.Outcome]]) -> Ranking:
    less_S = np.array([outcome.expected_loss - outcome.regret for outcome in ranked[SHIPPED]])
    return Ranking(Played.of(ranked), float(less_S.mean()), _half_width(less_S))


def _half_width(values_S: FloatArray) -> float:
    """Half of the 95 % interval of their mean."""
    return float(WIDTH * values_S.std() / np.sqrt(len(values_S)))


def skill(regret_S: FloatArray, chance_S: FloatArray) -> tuple[float | None, float | None]:
    """1 less mean regret over that of chance on the same resamples, and half of its 95 % interval (delta method); None where chance loses nothing."""
    chance = float(chance_S.mean())
    if chance <= 0:
        return None, None
    ratio = float(regret_S.mean()) / chance
    return 1 - ratio, _half_width(regret_S - ratio * chance_S) / chance


def _outcome(name: str, own: FloatArray, staged: FloatArray, random: FloatArray) -> Outcome:
    regrets_S, less_S = own[:, 0], staged[:, 0] - own[:, 0]
    is_baseline = name not in (STAGED, GRID)
    return Outcome(
        name,
        float(regrets_S.mean()),
        float(np.quantile(regrets_S, 0.9)),
        float(own[:, 1].mean()),
        *skill(regrets_S, random[:, 0]),
        staged_less_points=float(less_S.mean()) if is_baseline else None,
        staged_less_error=_half_width(less_S) if is_baseline else None,
    )


def describe(table: Recorded, found: Replay, setting: Setting) -> str:
    """The whole report as text."""
    lines = [*_header(table, setting), "", *_strategy_lines(found), "", *_sentences(table, found)]
    if found.ranking is not None:
        lines += ["", *_ranking_lines(table, found.ranking)]
    return "\n".join([*lines, *(f"Not judged: {text}." for text in found.not_judged)])


def _header(table: Recorded, setting: Setting) -> list[str]:
    few, many = min(table.num_repeats), max(table.num_repeats)
    repeats = "one repeat" if many == 1 else f"{many} repeats" if few == many else f"{few} to {many} repeats"
    epochs = f"epochs {', '.join(map(str, table.epochs))}" if table.epochs else "epochs not recorded"
    lines = [
        f"{len(table.names)} candidates of {len(table.firsts)} backbones, {repeats} each, {epochs}",
        f"Truth: {_truth(table)}.",
        *_noise_lines(table),
        f"{setting.num_resamples:,} resamples, seed {setting.seed}, each of {_drawn(setting)}.",
    ]
    if not np.isnan(table.probe_K).all() and not table.is_probe_timed:
        total = f"{table.epochs[-1]}" if table.epochs else f"an assumed {ASSUMED_EPOCHS}"
        lines.append(
            f"Where probe_s is not given, a probe is taken to cost one pass without gradients, estimated from a full training of {total} epochs."
        )
    return lines


def _truth(table: Recorded) -> str:
    alone = table.num_repeats.count(1)
    if table.truth_K is not None:
        return "as the table has it"
    if not table.is_repeated:
        return "the very score that the search sees, as no candidate was repeated: the full grid has no regret by definition"
    others = "the mean of the repeats that were not drawn, whose own error is in every regret"
    return others + (f"; of {alone} with one repeat, the very score that the search sees" if alone else "")


def _noise_lines(table: Recorded) -> list[str]:
    noise_K = table.noise_K()
    if noise_K is None:
        return []
    low, high = (f"{table.points * value:.2f}" for value in (noise_K.min(), noise_K.max()))
    if not table.is_repeated:
        return [f"Scores are {high} points off their truth (root mean square); the rules are told this of every candidate."]
    pooled = f"Repeats of a candidate differ by {table.points * table.noise():.2f} points (standard deviation, pooled)"
    return [f"{pooled}; the rules are told {low} to {high}, each candidate's own moved towards that."]


def _drawn(setting: Setting) -> str:
    if setting.num_drawn is None:
        return "all candidates: what follows is about these, and --drawn N tells about others like them"
    return f"{setting.num_drawn} backbones drawn at random, with all their candidates"


def _strategy_lines(found: Replay) -> list[str]:
    lines = ["regret   90 % of them   share of   skill", "points   stay below     full grid"]
    for one in (found.staged, *found.others):
        skill_text = "not known" if one.skill_frac is None else f"{one.skill_frac:6.1%} +- {one.skill_error:.1%}"
        numbers = f"{one.regret_points:7.3f}  {one.regret_p90_points:9.2f}      {one.share_frac:7.1%}   {skill_text:15}"
        lines.append(f"{numbers}   {one.name}{_notes(one)}")
    return lines


def _notes(one: Outcome) -> str:
    chance = ["no better than chance"] if one.skill_frac is not None and not one.is_better_than_chance else []
    against = [f"staged search: {one.verdict}"] if one.verdict is not None else []
    return f" ({'; '.join(chance + against)})" if chance or against else ""


def _sentences(table: Recorded, found: Replay) -> list[str]:
    """What it comes to, plainly."""
    judged = [other for other in found.others if other.verdict is not None]
    names = {verdict: [other.name for other in judged if other.verdict == verdict] for verdict in ("better", "level", "worse")}
    lines = [f"Each baseline had the time that the staged search took, {found.staged.share_frac:.1%} of the full grid's in the mean."]
    if names["better"]:
        lines.append(f"Staged search has lower regret than {_listed(names['better'])}.")
    if names["level"]:
        lines.append(f"Staged search is level with {_listed(names['level'])}: over these resamples the difference is within its error.")
    for other in judged:
        if other.verdict == "worse":
            both = f"{found.staged.regret_points:.3f} against {other.regret_points:.3f} points"
            lines.append(f"Staged search is WORSE than {other.name} on this table: a regret of {both} at equal cost.")
    if found.staged.skill_frac is None:
        lines.append("Random loses nothing on this table, so that nobody can be better than chance.")
    else:
        lines.append("Skill is how much lower the regret is than that of random: 0 is chance, 100 % loses nothing.")
    if table.truth_K is not None or table.is_repeated:
        grid = next(other for other in found.others if other.name == GRID)
        lines.append(
            f"Training everything once leaves a regret of {grid.regret_points:.3f} points: that is what the noise of single runs costs."
        )
    return lines


def _ranking_lines(table: Recorded, ranking: Ranking) -> list[str]:
    means, errors = ranking.played.means, ranking.played.errors
    stand_in = [] if table.latency_ms_K is not None else ["The table has no latency_ms: seconds of training stand in for latency."]
    shipped, off = means[SHIPPED], f"{ranking.stated_less_points:+.3f} +- {ranking.stated_less_error:.3f}"
    return [
        "What each rule recommends of the full grid, every candidate trained once:",
        "regret   latency over  utility   less that of      expected loss",
        f"points   the fastest   points    {BEST:16}  stated (points)",
        *(_rule_line(name, one, one.utility - means[BEST].utility, errors[name]) for name, one in means.items()),
        f"Utility: 0, which is perfect, less the regret, less {PRICE:g} points for each doubling of latency above the lowest.",
        *stand_in,
        f"The rule that ships ({SHIPPED}) states an expected loss of {shipped.expected_loss:.3f} points and has a regret of {shipped.regret:.3f}: a difference of {off}.",
    ]


def _rule_line(name: str, one: rules.Outcome, less: float, error: float) -> str:
    """Latency is a geometric mean."""
    against = f"{less:+.3f} +- {WIDTH * error:.3f}"
    return f"{one.regret:7.3f}  {2**one.doublings:9.2f} x {one.utility:9.3f}   {against:16}  {one.expected_loss:6.3f}   {name}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def as_record(table: Recorded, found: Replay, setting: Setting) -> dict[str, Any]:
    """Plain JSON of the same."""
    outcomes = [
        asdict(one) | {"verdict": one.verdict, "is_better_than_chance": one.is_better_than_chance} for one in (found.staged, *found.others)
    ]
    ranking, noise_K = None if found.ranking is None else asdict(found.ranking), table.noise_K()
    about = {
        "num_candidates": len(table.names),
        "num_repeats": table.num_repeats,
        "epochs": table.epochs,
        "noise": table.noise(),
        "noise_of_each": None if noise_K is None else noise_K.tolist(),
    }
    return {**asdict(setting), **about, "strategies": outcomes, "ranking": ranking, "not_judged": list(found.not_judged)}


def judge(path: Path, setting: Setting) -> dict[str, Any]:
    """Replay one table, print the report and return its record.

    Raises:
        TableError: the table is missing, wrong, or has fewer candidates than are to be drawn.
    """
    table = read_table(path)
    if setting.num_drawn is not None and not 2 <= setting.num_drawn <= len(table.firsts):
        raise ConfigError(f"--drawn {setting.num_drawn}: not allowed; give 2 to {len(table.firsts)}, the backbones of {path}.")
    found = replay(table, setting)
    print(describe(table, found, setting))
    return as_record(table, found, setting)


def write_simulated(path: Path, args: argparse.Namespace) -> None:
    """Simulate a table and write it.

    Raises:
        TableError: the file cannot be written.
    """
    world = World(depths=args.depths, num_rates=args.rates, tau_prior=args.tau_prior, tau_probe=args.tau_probe)
    frame = simulate(world, args.candidates, args.repeats, args.seed)
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error}); give a file in a folder that is there.") from error


def _parser() -> argparse.ArgumentParser:
    world = World()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description="Judge search and ranking on a recorded table.")
    parser.add_argument(
        "table", nargs="?", type=Path, metavar="TABLE.csv", help="candidate,repeat,score,cost_s[,backbone,epoch,prior,probe,...]"
    )
    parser.add_argument("--resamples", type=int, default=NUM_RESAMPLES)
    parser.add_argument("--drawn", type=int, metavar="N", help="backbones in each resample, drawn at random; left out: all of them")
    parser.add_argument("--share", type=float, default=DEFAULT_SHARE, help="of the full grid's time that the search may take")
    add_json(parser)
    parser.add_argument("--simulate", type=Path, metavar="FILE.csv", help="write a table whose truth is known, and judge nothing")
    parser.add_argument("--candidates", type=int, default=20, help="of the simulated table")
    parser.add_argument("--depths", type=int, default=world.depths, help="candidates of each backbone of the simulated table")
    parser.add_argument("--repeats", type=int, default=5, help="of the simulated table")
    parser.add_argument("--rates", type=int, default=world.num_rates, help="learning rates tried up to the first rung of a simulated run")
    parser.add_argument("--tau-prior", type=float, default=world.tau_prior, help="rank correlation of simulated priors with the truth")
    parser.add_argument("--tau-probe", type=float, default=world.tau_probe, help="rank correlation of simulated probes with the truth")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation, or of the resamples")
    parser.add_argument("--short", action="store_true", help="simulate a table in a temporary folder and judge it on 100 resamples")
    return parser


def _check(args: argparse.Namespace) -> None:
    for name, least in (("resamples", 2), ("candidates", 2), ("depths", 1), ("repeats", 1), ("rates", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} {getattr(args, name)}: not allowed; give {least} or more.")
    for name in ("tau_prior", "tau_probe"):
        if not -1 <= getattr(args, name) <= 1:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(args, name)}: not allowed; give -1 to 1.")
    if not 0 < args.share <= 1:
        raise ConfigError(f"--share {args.share}: not allowed; give a fraction above 0, at most 1.")


def run(args: argparse.Namespace) -> None:
    """What was asked for.

    Raises:
        ConfigError: an argument is out of its range.
        TableError: the table is missing or wrong.
    """
    _check(args)
    setting = Setting(num_resamples=100 if args.short else args.resamples, seed=args.seed, share=args.share, num_drawn=args.drawn)
    if args.short:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            write_simulated(path, args)
            keep(judge(path, setting), args)
    elif args.simulate:
        write_simulated(args.simulate, args)
        print(f"wrote {args.simulate}: {args.candidates} candidates, {args.repeats} repeats, truth known")
    elif args.table is None:
        raise ConfigError("no table given; give TABLE.csv, or --simulate FILE.csv to write one.")
    else:
        keep(judge(args.table, setting), args)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    with quit_on_error():
        run(_parser().parse_args(argv))


if __name__ == "__main__":
    main()
