"""`python -m benchmarks.replay TABLE.csv`: judges the staged search and the ranking on a recorded table, without training anything.

`recorded` reads or simulates the table and says what its columns mean; `strategies` plays the search and what it must beat. Each resample
draws one repeat of every candidate: that is what the search and the ranking see. The truth is the mean of the other repeats.
Shapes: K candidates, R draws of noise.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import strategies
from benchmarks.corrected import corrected_score
from benchmarks.recorded import ASSUMED_EPOCHS, FloatArray, Recorded, World, read_table, simulate
from benchmarks.strategies import TIE_Z, Choice, Draw, Staged, draw, everything, in_order, one_epoch
from harness.cli import quit_on_error
from harness.errors import ConfigError, TableError
from harness.search.staged import DEFAULT_SHARE
from harness.select.comparison import tied_set

NUM_RESAMPLES, NUM_DRAWS = 1000, 500
CONFIDENCE = 0.95

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
    within_noise_frac: float
    """How often the chosen one is truly so close to the best that single runs of the two are not told apart."""
    staged_less_points: float | None = None
    """Regret of the staged search less this one's."""
    staged_less_error: float | None = None
    """Half of the 95 % interval of that mean over resamples."""

    @property
    def verdict(self) -> str | None:
        """The staged search against this: `better`, `worse`, or `level` when the resamples cannot tell."""
        if self.staged_less_points is None or self.staged_less_error is None:
            return None
        if abs(self.staged_less_points) <= self.staged_less_error:
            return "level"
        return "better" if self.staged_less_points < 0 else "worse"


@dataclass(frozen=True, slots=True)
class RankingOutcome:
    """The ranking of the full grid, each candidate trained once, over all resamples."""

    tied_size: float
    tied_coverage_frac: float
    """How often the true best is in the tied set."""
    staged_in_tied_frac: float
    """How often what the staged search recommends is."""
    naive_curse_points: float
    """Score of the best as it was read, above its truth."""
    corrected_curse_points: float
    """The same after `corrected_score`."""
    num_candidates: float
    """Mean over the resamples."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Everything that was found on one table."""

    staged: Outcome
    others: tuple[Outcome, ...]
    ranking: RankingOutcome | None
    """None: nothing was repeated, so that noise is unknown."""
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
    noise_E = [table.noise(position) for position in range(len(table.epochs or (1,)))]
    chance_RK = noise_E[-1] * rng.normal(size=(NUM_DRAWS, len(table.names)))
    staged = Staged(table, noise_E, setting.share)
    played: dict[str, list[tuple[float, float]]] = defaultdict(list)
    ranked = []
    for _ in range(setting.num_resamples):
        part = table if setting.num_drawn is None else _some_backbones(table, setting.num_drawn, rng)
        drawn = draw(part, rng)
        first = (staged if setting.num_drawn is None else Staged(part, noise_E, setting.share))(drawn)
        choices = {STAGED: first} | {name: other(drawn, first.spent_s) for name, other in others.items()} | {GRID: everything(drawn)}
        full_s = drawn.costs_s_KE[:, -1].sum()
        for name, choice in choices.items():
            regret = table.points * (drawn.truth_K.max() - drawn.truth_K[choice.chosen])
            played[name].append((float(regret), float(choice.spent_s / full_s)))
        if noise_E[-1] > 0:
            ranked.append(_ranked(drawn, chance_RK[:, : len(part.names)], first.chosen))
    limit = TIE_Z * np.sqrt(2) * noise_E[-1] * table.points
    found = [_outcome(name, np.array(own), np.array(played[STAGED]), limit) for name, own in played.items()]
    ranking = (
        RankingOutcome(*(float(value) for value in np.mean(ranked, axis=0) * (1, 1, 1, table.points, table.points, 1))) if ranked else None
    )
    return Replay(found[0], tuple(found[1:]), ranking, tuple(_not_judged(table)))


def _some_backbones(table: Recorded, num: int, rng: np.random.Generator) -> Recorded:
    names = [table.backbones[k] for k in table.firsts]
    chosen = {names[k] for k in rng.choice(len(names), num, replace=False)}
    return table.part([k for k, backbone in enumerate(table.backbones) if backbone in chosen])


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
        f"no column {name}: {name} only could not be judged, and the search had to do without" for name, is_so in lacking.items() if is_so
    ]
    if table.epochs is None or len(table.epochs) == 1:
        found.append("no earlier epochs: one-epoch top-k could not be judged, and the search trains whom it keeps in full at once")
    if table.noise() == 0:
        found.append(
            "no candidate was repeated: the truth is the very score that was seen, and ties and the winner's curse could not be judged"
        )
    return found


def _ranked(drawn: Draw, chance_RK: FloatArray, chosen: int) -> tuple[float, ...]:
    """The ranking of one draw, in the order of `RankingOutcome`; scores as recorded."""
    scores_K = drawn.scores_KE[:, -1]
    draws_RK = scores_K + chance_RK
    tied_K, best = tied_set(scores_K, draws_RK, CONFIDENCE), int(scores_K.argmax())
    naive, ours = float(scores_K[best]), corrected_score(scores_K, draws_RK, best)
    truth = float(drawn.truth_K[best])
    return float(tied_K.sum()), float(tied_K[drawn.truth_K.argmax()]), float(tied_K[chosen]), naive - truth, ours - truth, len(scores_K)


def _outcome(name: str, own: FloatArray, staged: FloatArray, limit: float) -> Outcome:
    regrets, less = own[:, 0], staged[:, 0] - own[:, 0]
    is_baseline = name not in (STAGED, GRID)
    return Outcome(
        name=name,
        regret_points=float(regrets.mean()),
        regret_p90_points=float(np.quantile(regrets, 0.9)),
        share_frac=float(own[:, 1].mean()),
        within_noise_frac=float((regrets <= limit + 1e-9).mean()),
        staged_less_points=float(less.mean()) if is_baseline else None,
        staged_less_error=float(1.96 * less.std() / np.sqrt(len(less))) if is_baseline else None,
    )


def describe(table: Recorded, found: Replay, setting: Setting) -> str:
    """The whole report as text."""
    lines = [*_header(table, setting), "", *_strategy_lines(found), "", *_sentences(found)]
    if found.ranking is not None:
        lines += ["", *_ranking_lines(found.ranking)]
    return "\n".join([*lines, *(f"Not judged: {text}." for text in found.not_judged)])


def _header(table: Recorded, setting: Setting) -> list[str]:
    repeats = table.num_repeats
    several = f"{min(repeats)}" if min(repeats) == max(repeats) else f"{min(repeats)} to {max(repeats)}"
    known = {True: "the mean of the repeats that the search did not see", False: "known, as the table has it"}[table.truth_K is None]
    alone = sum(count == 1 for count in repeats) if table.truth_K is None else 0
    lines = [
        f"{len(table.names)} candidates of {len(table.firsts)} backbones, {several} repeats each, epochs {', '.join(map(str, table.epochs)) if table.epochs else 'not recorded'}",
        f"Truth: {known}. Repeats differ by {table.points * table.noise():.2f} points (standard deviation).",
        f"{setting.num_resamples:,} resamples, seed {setting.seed}, each of {_drawn(setting)}.",
    ]
    if alone:
        lines.append(f"{alone} candidates have one repeat: for them the truth is the very score that the search saw.")
    if not np.isnan(table.probe_K).all() and not table.is_probe_timed:
        epochs = f"{table.epochs[-1]}" if table.epochs else f"an assumed {ASSUMED_EPOCHS}"
        lines.append(
            f"No column probe_s: a probe is taken to cost one pass without gradients, estimated from a full training of {epochs} epochs."
        )
    return lines


def _drawn(setting: Setting) -> str:
    if setting.num_drawn is None:
        return "all candidates: what follows is about these, and --drawn N tells about others like them"
    return f"{setting.num_drawn} backbones drawn at random, with all their candidates"


def _strategy_lines(found: Replay) -> list[str]:
    lines = ["regret   90 % of them   share of   inside the noise", "points   stay below     full grid  of the true best"]
    for one in (found.staged, *found.others):
        numbers = f"{one.regret_points:7.3f}  {one.regret_p90_points:9.2f}      {one.share_frac:7.1%}    {one.within_noise_frac:7.1%}"
        lines.append(f"{numbers}         {one.name}{'' if one.verdict is None else f' (staged search: {one.verdict})'}")
    return lines


def _sentences(found: Replay) -> list[str]:
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
    grid = next(other for other in found.others if other.name == GRID)
    lines.append(
        f"Training everything once leaves a regret of {grid.regret_points:.3f} points: that is what the noise of single runs costs."
    )
    return lines


def _ranking_lines(ranking: RankingOutcome) -> list[str]:
    return [
        f"Ranking of the full grid, every candidate trained once, {CONFIDENCE:.0%} confidence, noise taken as normal:",
        f"  the tied set holds {ranking.tied_size:.1f} of {ranking.num_candidates:.0f} candidates and contains the true best in {ranking.tied_coverage_frac:.1%} of draws,",
        f"  and what the staged search recommends in {ranking.staged_in_tied_frac:.1%}",
        f"  winner's curse: the best score as it was read is {ranking.naive_curse_points:+.2f} points off its truth; corrected, {ranking.corrected_curse_points:+.2f}",
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def as_record(table: Recorded, found: Replay, setting: Setting) -> dict[str, Any]:
    """Plain JSON of the same."""
    outcomes = [asdict(one) | {"verdict": one.verdict} for one in (found.staged, *found.others)]
    ranking = None if found.ranking is None else asdict(found.ranking)
    about = {"num_candidates": len(table.names), "num_repeats": table.num_repeats, "epochs": table.epochs, "noise": table.noise()}
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
    parser.add_argument("--json", action="store_true", help="write TABLE.json beside the table")
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
            judge(path, setting)
    elif args.simulate:
        write_simulated(args.simulate, args)
        print(f"wrote {args.simulate}: {args.candidates} candidates, {args.repeats} repeats, truth known")
    elif args.table is None:
        raise ConfigError("no table given; give TABLE.csv, or --simulate FILE.csv to write one.")
    else:
        record = judge(args.table, setting)
        if args.json:
            args.table.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    with quit_on_error():
        run(_parser().parse_args(argv))


if __name__ == "__main__":
    main()
