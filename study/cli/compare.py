"""`study compare`: show A minus B with everything that a reader needs to judge it, or refuse and
say why.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.compare.arms import labelled
from analysis.compare.compare import compared
from analysis.compare.curve_files import compare_curves, curves_of, is_metrics
from analysis.compare.pairing import matched
from analysis.compare.selectors import Place, arms_of
from analysis.compare.sentences import as_data
from study.cli import console
from study.cli.compare_screen import show_rows
from study.errors import SpecError
from study.record.store import atomic_write
from study.stats.intervals import Interval


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
    show_rows(rows, labels)
    for line in alone[:10]:
        console.warn(f"not compared, {line}")
    if len(alone) > 10:
        console.warn(f"not compared: {len(alone) - 10} more")
    return {"rows": [as_data(row) for row in rows], "not_compared": alone}


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
