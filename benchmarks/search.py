"""`python -m benchmarks.search`: a staged search against the grid it spares, on photographs of solar cells, seed by seed.

Pretrained networks from packages and random ones of other families, at three depths. For every seed the whole grid is trained, and then, in
folders of its own, a search with its default budget. Both are whole commands with an empty cache.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.side_by_side import Side, describe_machine, machine_line, run_module, software, table, times
from benchmarks.sweeps import places
from harness.cli.command import quit_on_error
from harness.study.store import Study

PRETRAINED = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
RANDOM = ("resnet18", "mobilenetv3_small_050", "regnetx_002", "shufflenet_v2_x0_5", "squeezenet1_1")
DEPTHS = "all,0.5,none"
MAX_OFF_FRAC, MAX_SHARE, MIN_HITS_FRAC = 0.1, 0.4, 0.8
"""What this benchmark must show: how far a search may end from its prediction, its share of the grid, and how often it must hit the tied set."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One seed."""

    seed: int
    grid_s: float
    search_s: float
    jobs_grid_s: float
    """Of the grid's jobs alone, without imports, preparing and report."""
    jobs_search_s: float
    predicted_s: float
    recommended: str
    is_tied: bool
    """Whether the grid's tied set holds what the search recommends."""
    num_tied: int
    behind: float
    """How far the grid's score of it lies below the grid's best (fraction)."""

    @property
    def off_frac(self) -> float:
        return abs(self.jobs_search_s / self.predicted_s - 1)

    @property
    def share(self) -> float:
        return self.jobs_search_s / self.jobs_grid_s


def compare(seed: int, options: Sequence[str]) -> Compared:
    """The grid, the search, and what the one says about the other."""
    jobs = [*options, f"seed={seed}", f"freeze={DEPTHS}", "evidence.minutes=0"]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        grid = run_module("harness.sweep", *jobs, *places(Path(one), "grid"))
        searched = run_module("harness.sweep", *jobs, "search=staged", *places(Path(other), "search"))
        whole, found = Study(Path(one) / "results" / "grid"), Study(Path(other) / "results" / "search")
        table_, ranked = _ranking(whole), _ranking(found)
        (record,) = found.searches()
        jobs_grid_s = sum(row.total_s or 0.0 for row in whole.rows())
    name = str(ranked.index[ranked["recommended"]][0])
    return Compared(
        seed=seed,
        grid_s=grid.wall_s,
        search_s=searched.wall_s,
        jobs_grid_s=jobs_grid_s,
        jobs_search_s=record["spent_s"],
        predicted_s=record["predicted_s"],
        recommended=name,
        is_tied=bool(table_.loc[name, "tied"]),
        num_tied=int(table_["tied"].sum()),
        behind=float(table_["score"].max() - table_.loc[name, "score"]),
    )


def _ranking(study: Study) -> pd.DataFrame:
    frame = pd.read_csv(study.report_dir / "ranking.csv", dtype={"freeze": str})
    return frame.set_index(frame["backbone"] + " " + frame["freeze"])


def _line(found: Compared) -> str:
    hit = "tied with" if found.is_tied else "NOT tied with"
    return (
        f"seed {found.seed}: grid {found.grid_s:.0f} s, search {found.search_s:.0f} s; jobs alone {found.share:.0%} of the grid's, "
        f"{found.jobs_search_s / found.predicted_s - 1:+.0%} of what was predicted; recommends {found.recommended}, {hit} the grid's best "
        f"({found.num_tied} tied), {100 * found.behind:.1f} points behind it"
    )


def figures_of(found: Sequence[Compared]) -> list[Figure]:
    """What must be shown, over all seeds."""
    return [
        Figure(max(each.share for each in found), "", "largest share of the grid's time, jobs alone", at_most=MAX_SHARE),
        Figure(max(each.search_s / each.grid_s for each in found), "", "the same of the whole commands"),
        Figure(max(each.off_frac for each in found), "", "largest distance from what was predicted after the probes", at_most=MAX_OFF_FRAC),
        Figure(
            sum(each.is_tied for each in found) / len(found),
            "",
            "of the seeds: recommended is in the grid's tied set",
            at_least=MIN_HITS_FRAC,
        ),
    ]


def main() -> None:
    """Run all seeds, print the table, write `benchmarks/search.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description="A staged search against the whole grid.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", type=int, default=96, help="side of the images (pixels)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--short", action="store_true", help="1 seed, 150 images, 4 networks, whatever else is given; no file beside the module"
    )
    add_json(parser)
    args = parser.parse_args()
    num_seeds, num_images, num_random = (1, 150, 2) if args.short else (args.seeds, args.images, len(RANDOM))
    names = [*PRETRAINED[: 2 if args.short else None], *(f"{name}@random" for name in RANDOM[:num_random])]
    options = [f"backbone={','.join(names)}", "data=elpv", f"data.max_images={num_images}", f"data.image_size={args.size}"]
    options.append(f"train.epochs={args.epochs}")
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        print(f"{len(names)} backbones x {DEPTHS}, {num_images} images of elpv at {args.size} pixels, {args.epochs} epochs", flush=True)
        found = []
        for seed in range(num_seeds):
            found.append(compare(seed, options))
            print(_line(found[-1]), flush=True)
        sides = [Side("grid", [each.grid_s for each in found]), Side("search", [each.search_s for each in found])]
        figures = figures_of(found)
        print(f"\n{table(sides)}\n\n{figure_table(figures)}")
        record = {"machine": where, **software(), "options": options, "seeds": [asdict(each) for each in found]}
        keep(record | times(sides) | {"figures": as_records(figures)}, args, __file__)


if __name__ == "__main__":
    main()
