"""`study compare`: show A minus B with everything that a reader needs to judge it, or refuse and
say why.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from analysis.compare.arms import labelled
from analysis.compare.compare import Row, Sighted, compared, differing
from analysis.compare.curve_files import compare_curves, curves_of, is_metrics
from analysis.compare.pairing import matched
from analysis.compare.selectors import Place, arms_of
from analysis.compare.sentences import as_data, costs, gathered, points, ratio, sentence, summary
from study.cli import console
from study.errors import SpecError
from study.record.store import atomic_write
from study.stats.intervals import Interval

_T = TypeVar("_T")
LISTED = 40  # differing settings shown; the JSON file has all


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help=(
                "A cell of --grid, a run, a grid, a results folder, an evaluation, graded JSONL or"
                " CSV."
            ),
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B", help="The other one. Several files of one arm are joined by commas."
        ),
    ],
    grid: Annotated[str, typer.Option("--grid", "-g", help="The grid of the cells.")] = "math",
    scale: Annotated[str, typer.Option(help="The scale of the grid.")] = "lab",
    results: Annotated[Path, typer.Option(help="The results folder, for cells and runs.")] = Path(
        "results"
    ),
    seeds: Annotated[str | None, typer.Option(help="Only these bases: 0,1,2.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    label_a: Annotated[
        str | None, typer.Option(help="What to call A, an arm of another framework for instance.")
    ] = None,
    label_b: Annotated[str | None, typer.Option(help="What to call B.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metrics CSV: a column, or column of A=column of B. Repeatable."),
    ] = None,
    step_field: Annotated[
        str | None, typer.Option(help="Metrics CSV: the step column, where it cannot be guessed.")
    ] = None,
    relaxed: Annotated[
        bool,
        typer.Option(
            "--relaxed", help="Graded files: their relaxed outcomes, answers without a box too."
        ),
    ] = False,
    allow_differences: Annotated[
        bool,
        typer.Option(
            "--allow-differences", help="Compare although grader, decoding or problems differ."
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--json", help="Write everything to this file.")
    ] = None,
) -> None:
    """Compare arm A with arm B, paired by problem and by base.

    Shows A minus B with its interval, the smallest detectable difference, costs, and every
    setting that differs.
    """
    place = Place(grid, scale, results, _seeds(seeds), relaxed)
    names = (label_a or a, label_b or b)
    if is_metrics(a) or is_metrics(b):
        page = _compare_curves((a, b), names, place, metric or [], step_field)
    else:
        page = _compare_arms((a, b), (label_a, label_b), place, task, allow_differences)
    if output is not None:
        atomic_write(
            output,
            (json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        )
        console.say(f"all of it: {output}", "dim")
    else:
        command = f"study compare {shlex.quote(a)} {shlex.quote(b)}"
        console.say(f"next: {command} --json compared.json, with the options above: every number")


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise SpecError(f"--seeds {text!r} is not a list of whole numbers", hint="--seeds 0,1,2")
    return tuple(int(part) for part in parts)


def _compare_arms(
    sides: tuple[str, str],
    labels: tuple[str | None, str | None],
    place: Place,
    task: str | None,
    allow: bool,
) -> dict[str, Any]:
    arms = [
        labelled(arms_of(side, place), label) for side, label in zip(sides, labels, strict=True)
    ]
    pairs, alone = matched(arms[0], arms[1], task)
    rows = [compared(one, other, allow=allow) for one, other in pairs]
    _show(rows, labels)
    for line in alone[:10]:
        console.warn(f"not compared, {line}")
    if len(alone) > 10:
        console.warn(f"not compared: {len(alone) - 10} more")
    return {"rows": [as_data(row) for row in rows], "not_compared": alone}


def _show(rows: Sequence[Row], labels: tuple[str | None, str | None]) -> None:
    if len(rows) == 1 or len({row.a.key for row in rows}) == 1:
        for side, arm, label in (("A", rows[0].a, labels[0]), ("B", rows[0].b, labels[1])):
            labels_text = f"  ({arm.labels})" if arm.labels else ""
            origin = "  external" if arm.external else ""
            console.say(f"{side}  {label or arm.name}{labels_text}{origin}")
        console.say()
    heads = (
        "arm",
        "task",
        "A",
        "B",
        "A - B, points [95 %]",
        "over",
        "detectable, power .8",
        "bases",
        "problems",
        "k",
    )
    least = ("k", "problems", "over", "bases", "detectable, power .8")
    console.table(heads, [_line(row) for row in rows], drop=least)
    console.say()
    for row in rows if len(rows) == 1 else ():
        _details(row)
    console.say(sentence(rows[0]) if len(rows) == 1 else summary(rows))
    _show_settings(rows)


def _line(row: Row) -> tuple[str, ...]:
    seen = row.headline
    return (
        row.a.name if row.a.name == row.b.name else "A / B", row.task, f"{100 * row.mean_a:.1f}",
        f"{100 * row.mean_b:.1f}",
        points(seen.interval), seen.over, _missed(seen), str(len(row.by_base)), str(row.problems),
        _k(row),
    )  # fmt: skip


def _missed(seen: Sighted) -> str:
    return "-" if seen.detectable is None else f"{100 * seen.detectable:.1f}"


def _k(row: Row) -> str:
    sizes = [
        ",".join(dict.fromkeys("mixed" if s.k is None else str(s.k) for s in arm.bases))
        for arm in (row.a, row.b)
    ]
    return sizes[0] if sizes[0] == sizes[1] else " / ".join(sizes)


def _details(row: Row) -> None:
    """Print the other interval, every base, lengths and costs."""
    seen = row.over_problems
    if row.bases is not None:
        console.say(f"over problems: {points(seen.interval)}, detectable {_missed(seen)}")
        console.say(
            "by base: "
            + ", ".join(f"{seed}: {100 * value:+.1f}" for seed, value in row.by_base.items())
        )
        console.say()
    if row.lengths is not None:
        low, high = row.lengths.difference.low, row.lengths.difference.high
        limits = "" if low is None or high is None else f" [{low:+.1f}, {high:+.1f}]"
        what = (
            f"{row.lengths.a:.1f} and {row.lengths.b:.1f}, A - B"
            f" {row.lengths.difference.mean:+.1f}{limits}"
        )
        console.say(
            f"tokens of correct completions, on the {row.lengths.problems} problems that both"
            f" solve: {what}"
        )
        console.say()
    lines = [
        (name, _shown(one), _shown(other), ratio(one, other)) for name, one, other in costs(row)
    ]
    if lines:
        console.table(("cost, mean of a base", "A", "B", "A / B"), lines, right=(1, 2, 3))
        console.say()


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _show_settings(rows: Sequence[Row]) -> None:
    """Print the settings that differ in all of several rows; the JSON file has those of each
    row.
    """
    lines = [
        [f"compared in spite of it: {name} {one} / {other}" for name, one, other in row.allowed]
        for row in rows
    ]
    lines = [
        [*some, *row.notes, *(f"cannot be checked: {line}" for line in row.unchecked)]
        for some, row in zip(lines, rows, strict=True)
    ]
    for line in _shared(lines):
        console.warn(line)
    unknown = [side for side, arm in (("A", rows[0].a), ("B", rows[0].b)) if not arm.recipe]
    if unknown:
        console.say(f"not in what was given: how {' and '.join(unknown)} came about", "dim")
    else:
        _show_recipes([gathered(row.a.recipe, row.b.recipe) for row in rows])
    made = _shared(
        [differing(row.a.made, row.b.made) if row.a.made and row.b.made else [] for row in rows]
    )
    if made:
        console.say(
            "made under, A -> B: "
            + "; ".join(f"{name} {one} -> {other}" for name, one, other in made),
            "dim",
        )


def _show_recipes(found: Sequence[Sequence[tuple[str, str, str]]]) -> None:
    shared = _shared(found)
    console.say()
    if shared:
        console.table(("setting that differs", "A", "B"), shared[:LISTED])
    elif not any(found):
        console.say("the same settings")
    more = max(len(each) for each in found) - min(len(shared), LISTED)
    if more:
        console.say(
            f"{'settings that differ in some rows only' if len(found) > 1 else f'and {more} more'}:"
            " --json FILE",
            "dim",
        )


def _shared(lists: Sequence[Sequence[_T]]) -> list[_T]:
    """Return the items that are in all lists."""
    return [each for each in dict.fromkeys(lists[0]) if all(each in other for other in lists[1:])]


def _compare_curves(
    sides: tuple[str, str],
    names: tuple[str, str],
    place: Place,
    metric: Sequence[str],
    step: str | None,
) -> dict[str, Any]:
    a, b = (curves_of(side, place, step) for side in sides)
    rows = compare_curves(a, b, metric)
    for side, name in zip("AB", names, strict=True):
        console.say(f"{side}  {name}")
    console.say()
    heads = (
        "metric",
        "last step",
        "A",
        "B",
        "A - B there",
        "A - B, mean of steps",
        "steps",
        "pairs",
    )
    lines = [
        (
            r.metric,
            r.step,
            f"{r.a:.4g}",
            f"{r.b:.4g}",
            _plain(r.last),
            _plain(r.whole),
            r.steps,
            r.last.n,
        )
        for r in rows
    ]
    console.table(heads, lines)
    console.say()
    console.warn(
        "cannot be checked: what these columns measure, the grader, the decoding settings, the"
        " problems"
    )
    if len(a) > 1 and any(curves.seed is None for curves in [*a, *b]):
        console.warn("curves paired in the order given: a side does not know its seeds")
    return {"a": names[0], "b": names[1], "curves": [asdict(row) for row in rows]}


def _plain(interval: Interval) -> str:
    limits = (
        ""
        if interval.low is None or interval.high is None
        else f" [{interval.low:+.4g}, {interval.high:+.4g}]"
    )
    return f"{interval.mean:+.4g}{limits}"
