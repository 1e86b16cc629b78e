"""Calibrate the guard on the traces of finished runs, without training.

    python -m benchmarks.guard_calibration RESULTS [RESULTS ...] [--grid math] [--scale lab]
        [--docs docs]

RESULTS are folders of `study run`: artifacts/distill-*/guard.json holds the trace of a run,
runs/*/record.json its final score (or that of a committed record of the same stage, records/*.json:
a stage has one score, whoever runs it). Thresholds are chosen on base 0 alone; those of
`study/train/guard/detectors.py` are evaluated on the other bases, and if the two differ the page
says so. Writes guard_calibration.csv (one row per run), figures/guard_calibration.png
and the numbers of guard.md, between its two marks. The definitions are in
`study/train/guard/calibration.py`.
"""

import argparse
import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.guard_figure import draw, save
from study.record.store import iterate_records
from study.spec.grid.grid import load_grid
from study.spec.identity import canonical, stage_id
from study.spec.recipe.model import DistilledModel
from study.train.guard.calibration import ANY, Outcome, Watched, choose, ends_low
from study.train.guard.detectors import DETECTORS, Thresholds
from study.train.guard.trace import first_alarm, replay
from study.train.guard.worth import Alarms, Share, Stopped, Worth, stopped, worth

CHOSEN_ON = 0  # the base whose runs set the thresholds
BEGIN, END = "<!-- numbers:begin -->", "<!-- numbers:end -->"
OUTCOMES: tuple[Outcome, ...] = ("healthy", "cut short", "dipped", "collapsed")
SETTINGS = {  # the thresholds of each detector, for its row of the table
    "topk_drain": ("leak_ratio", "leak_floor"), "entropy": ("entropy_ratio", "entropy_floor"),
    "length": ("length_ratio",),
    "truncation": ("truncated_rise",), "repetition": ("repetition_ratio", "repetition_floor"),
    "overlap": ("overlap_ratio",),
    "divergence": ("divergence_ratio", "divergence_floor"), "zero_signal": ("zero_gradient",),
}  # fmt: skip
HEAD = (
    "detector", "threshold", "false alarms on healthy runs", "on cut short", "on dips",
    "collapses seen", "before the fall",
    "lead: median (min to max)",
)  # fmt: skip
Seen = Sequence[tuple[Watched, Alarms]]


@dataclass(frozen=True)
class Planned:
    """A distillation of the grid. recipe: the part that it shares with a longer or shorter run of
    itself.
    """

    cell: str
    base: int
    steps: int
    recipe: str


@dataclass(frozen=True)
class Ending:
    score: float
    low: bool


def planned(grid: str, scale: str) -> dict[str, Planned]:
    """Return the distillations by stage id, in the order of the grid."""
    found: dict[str, Planned] = {}
    for run in load_grid(grid, scale).runs():
        model = run.cell.model
        if isinstance(model, DistilledModel):
            recipe = model.model_copy(
                update={"training": model.training.model_copy(update={"steps": 1})}
            )
            cell = " ".join(run.labels.values())
            found[stage_id(model, run.seed)] = Planned(
                cell, run.seed, model.training.steps, canonical(recipe)
            )
    return found


def endings(folders: Sequence[Path]) -> dict[str, Ending]:
    """Return stage id of a distillation -> how it ended by its record: the final score, and whether
    that is far below the best of its curve.
    """
    found: dict[str, Ending] = {}
    for record in (
        r
        for folder in folders
        for place in ("runs", "records")
        for r in iterate_records(folder / place)
    ):
        score = next(iter(record.scores.values())).mean
        curve = next(
            (values for name, values in record.history.items() if name.startswith("eval/avg@")), []
        )
        known = [float(value) for value in curve if isinstance(value, int | float)]
        if "distill" in record.stages:
            found[record.stages["distill"]] = Ending(score, bool(known) and ends_low(known, score))
    return found


def watched(folders: Sequence[Path], stages: Mapping[str, Planned]) -> list[Watched]:
    """Return the finished runs below results folders, in the order of the grid.

    A run without a record has no outcome yet and is left out.
    """
    known, found = endings(folders), list[Watched]()
    low = [plan for stage, plan in stages.items() if stage in known and known[stage].low]
    for stage, plan in stages.items():
        path = next(
            (
                p
                for folder in folders
                if (p := folder / "artifacts" / stage / "guard.json").is_file()
            ),
            None,
        )
        if path is None or stage not in known:
            continue
        guard = json.loads(path.read_text(encoding="utf-8"))
        if guard["policy"] == "observe":  # the outcome of a stopped run without the stop is unknown
            longer = any(
                (other.recipe, other.base) == (plan.recipe, plan.base) and other.steps > plan.steps
                for other in low
            )
            found.append(Watched(plan.cell, plan.base, guard["trace"], known[stage].score, longer))
    return found


def per_run(seen: Seen) -> str:
    """Return the CSV with one row per run. Empty = never. All values are steps, except the
    accuracies.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    names = [*DETECTORS]
    head = [
        "run",
        "base",
        "steps",
        "outcome",
        "accuracy_start",
        "accuracy_best",
        "accuracy_end",
        "score",
    ]
    writer.writerow([*head, "fell_from_start", "fell_from_best", "fell", "first_alarm", *names])
    for run, alarms in seen:
        accuracies = [
            f"{value:.4f}" for value in (run.means[0], max(run.means), run.means[-1], run.score)
        ]
        steps = [
            run.fell_from_start,
            run.fell_from_best,
            run.fell,
            first_alarm(alarms),
            *(alarms.get(name) for name in names),
        ]
        writer.writerow(
            [
                run.cell,
                run.base,
                len(run.trace["step"]),
                run.outcome,
                *accuracies,
                *("" if s is None else s for s in steps),
            ]
        )
    return lines.getvalue()


def numbers(seen: Seen, chosen: Thresholds) -> str:
    """Return the part of guard.md between its marks."""
    first, others = (
        [s for s in seen if s[0].base == CHOSEN_ON],
        [s for s in seen if s[0].base != CHOSEN_ON],
    )
    bases = " and ".join(str(base) for base in sorted({run.base for run, _ in others}))
    differing = {
        name: value
        for name, value in asdict(chosen).items()
        if value != getattr(Thresholds(), name)
    }
    note = (
        f"The rule would now choose others than those in force: {differing}."
        if differing
        else "The rule gives the thresholds in force."
    )
    parts = [
        counts(seen),
        note,
        f"**Bases {bases}**, on which nothing was chosen:",
        table(others),
        f"**Base {CHOSEN_ON}**, on which the thresholds were chosen (no evidence of their worth):",
        table(first),
        (
            "**Collapses, and what came first.** Steps. The first falls are confirmed ones; a run"
            " may come back from them."
        ),
        collapses(seen),
        f"**Other rules**, chosen on base {CHOSEN_ON} too, any detector on bases {bases}:",
        rules(first, others),
        f"**What `stop` would have done** on bases {bases}, at the first alarm of any detector:",
        costs(stopped(others)),
    ]
    return "\n\n".join(parts)


def missing(plans: Iterable[Planned], runs: Iterable[Watched]) -> str:
    """Return the missing runs, by cell."""
    there, absent = {(run.cell, run.base) for run in runs}, dict[str, list[str]]()
    for plan in plans:
        if (plan.cell, plan.base) not in there:
            absent.setdefault(plan.cell, []).append(str(plan.base))
    named = "; ".join(f"{cell} ({', '.join(bases)})" for cell, bases in absent.items())
    return f" Not among them (bases): {named}." if named else ""


def counts(seen: Seen) -> str:
    tally = Counter((run.base, run.outcome) for run, _ in seen)
    rows = [
        [f"base {base}", *(tally[base, outcome] for outcome in OUTCOMES)]
        for base in sorted({run.base for run, _ in seen})
    ]
    return markdown(
        ["runs", *OUTCOMES],
        [*rows, ["all", *(sum(n for (_, of), n in tally.items() if of == o) for o in OUTCOMES)]],
    )


def table(seen: Seen) -> str:
    return markdown(HEAD, [row(worth(name, seen)) for name in (*DETECTORS, ANY)])


def row(of: Worth) -> list[str]:
    limits = ", ".join(
        f"{name} {getattr(Thresholds(), name):g}" for name in SETTINGS.get(of.detector, ())
    )
    others = map(plain, (of.on_cut_short, of.on_dips, of.seen))
    return [of.detector, limits, str(of.false_alarms), *others, str(of.before), spread(of.leads)]


def rules(first: Seen, others: Seen) -> str:
    """Return the first alarm of any detector under the thresholds in use and under those of two
    more sensitive rules.
    """
    base = [run for run, _ in first]
    eager = {
        "healthy runs and dips, no level of margin": choose(base, margin=0),
        "healthy runs alone": choose(base, ("healthy",)),
    }
    pairs = {"in force": others} | {
        name: [(run, replay(run.trace, limits)) for run, _ in others]
        for name, limits in eager.items()
    }
    return markdown(
        ["silent on base 0 for", *HEAD[2:]],
        [[name, *row(worth(ANY, seen))[2:]] for name, seen in pairs.items()],
    )


def plain(share: Share) -> str:
    return f"{share.k}/{share.n}"


def spread(steps: Sequence[int]) -> str:
    return f"{median(steps):+g} ({min(steps):+d} to {max(steps):+d})" if steps else "-"


def collapses(seen: Seen) -> str:
    rows = [_collapse(run, alarms) for run, alarms in seen if run.outcome == "collapsed"]
    head = [
        "run",
        "base",
        "start",
        "best",
        "score",
        "first fall from start",
        "from best",
        "fell",
        "first alarm",
        "lead",
    ]
    return markdown(head, rows)


def _collapse(run: Watched, alarms: Alarms) -> list[str]:
    at, falls = first_alarm(alarms), (run.fell_from_start, run.fell_from_best, run.fell)
    accuracies = (run.means[0], max(run.means), run.score)
    return [
        run.cell, str(run.base), *(f"{value:.2f}" for value in accuracies),
        *("-" if fell is None else str(fell) for fell in falls),
        "none" if at is None else f"{at} ({first_names(alarms)})",
        "-" if at is None or run.fell is None else f"{run.fell - at:+d}",
    ]  # fmt: skip


def first_names(alarms: Alarms) -> str:
    at = first_alarm(alarms)
    return ", ".join(name for name, step in alarms.items() if step == at)


def costs(found: Sequence[Stopped]) -> str:
    """Return one row per outcome: runs stopped, steps not taken, accuracy at the stop compared with
    the final score.
    """
    rows: list[list[str]] = []
    for outcome in OUTCOMES:
        stops = [stop for stop in found if stop.run.outcome == outcome]
        if stops:
            gained = [stop.gained for stop in stops]
            rows.append([
                outcome, str(len(stops)), spread([stop.steps for stop in stops]),
                f"{median(gained):+.2f} ({min(gained):+.2f} to {max(gained):+.2f})",
            ])  # fmt: skip
    return markdown(
        [
            "outcome if left alone",
            "runs stopped",
            "steps not taken",
            "accuracy at the stop - final score",
        ],
        rows,
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def rewrite(page: Path, content: str) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{page} needs {BEGIN} and {END} on lines of their own")
    page.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}", encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--grid", default="math")
    parser.add_argument("--scale", default="lab")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    stages = planned(options.grid, options.scale)
    ordered = watched(options.results, stages)
    if not ordered:
        sys.exit(
            f"no finished run of the grid {options.grid} with a guard.json below"
            f" {', '.join(map(str, options.results))}"
        )
    chosen = choose(run for run in ordered if run.base == CHOSEN_ON)
    seen = [(run, replay(run.trace)) for run in ordered]
    text = per_run(seen)
    (options.docs / "guard_calibration.csv").write_text(text, encoding="utf-8", newline="\n")
    save(
        draw([s for s in seen if s[0].base != CHOSEN_ON]),
        options.docs / "figures" / "guard_calibration.png",
        text,
    )
    share = (
        f"{len(ordered)} of the {len(stages)} runs of grid {options.grid}, scale"
        f" {options.scale}.{missing(stages.values(), ordered)}"
    )
    content = f"{share}\n\n{numbers(seen, chosen)}"
    rewrite(options.docs / "guard.md", content)
    print(content)


if __name__ == "__main__":
    main()
