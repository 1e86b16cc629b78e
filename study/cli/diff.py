"""`study diff`: show the differences between two cells or two recorded runs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from study.cli import console
from study.record.schema import Record
from study.record.store import read_record, record_paths
from study.runner.verbs.verify import cell_of, provenance_differences
from study.spec.grid.cell import Cell
from study.spec.grid.grid import Grid, load_grid
from study.spec.identity import parts_of_run
from study.spec.yaml.origin import origined_values

_ABSENT = "-"  # this side has no such value


@dataclass(frozen=True)
class Side:
    """name: cell or run id. records: those of the run, or of the cell's runs; run: whether the user
    named one run.
    """

    name: str
    cell: Cell
    records: tuple[Record, ...]
    run: bool


def diff(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="cell id, its last 8 characters, globs over levels, or a recorded run's id",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    grid: Annotated[str, typer.Option("--grid", "-g", help="The grid of the cells.")] = "math",
    scale: Annotated[str, typer.Option(help="The scale of the grid.")] = "lab",
    results: Annotated[Path, typer.Option(help="The results folder, for scores.")] = Path(
        "results"
    ),
) -> None:
    """Show the settings that differ between two cells or runs, and their recorded scores."""
    page = load_grid(grid, scale)
    sides = (_side(a, page, results), _side(b, page, results))
    rows = differences(sides[0].cell, sides[1].cell)
    console.say(f"A  {sides[0].name}")
    console.say(f"B  {sides[1].name}")
    console.say()
    if rows:
        console.table(("value of", "A", "B", "identity"), rows)
    else:
        console.say("the same settings")
    _show_records(sides[0], sides[1])


def differences(a: Cell, b: Cell) -> list[tuple[str, str, str, str]]:
    """Return (dotted path, A, B, whether it is identity), in the order of the fields; a dash if one
    side has no such field.
    """
    left, right = _values(a), _values(b)
    paths = [*left, *(path for path in right if path not in left)]
    return [
        (
            path,
            _shown(left, path),
            _shown(right, path),
            "yes" if (left.get(path) or right[path])[1] else "no",
        )
        for path in paths
        if left.get(path) != right.get(path)
    ]


def _values(cell: Cell) -> dict[str, tuple[Any, bool]]:
    return {value.path: (value.value, value.identity) for value in origined_values(cell, None)}


def _shown(values: dict[str, tuple[Any, bool]], path: str) -> str:
    if path not in values:
        return _ABSENT
    return "none" if values[path][0] is None else str(values[path][0])


def _side(name: str, grid: Grid, results: Path) -> Side:
    """Return a recorded run if the name has a seed, else a cell of the grid with its records."""
    paths = {_run_of(path): path for path in _record_files(results)}
    if re.search(r"s[0-9]+(r[0-9]+)?$", name):
        fitting = [run_id for run_id in paths if run_id == name or run_id.endswith(f"-{name}")]
        if len(fitting) == 1:
            record = read_record(paths[fitting[0]])
            return Side(record.run, _cell(record, grid), (record,), run=True)
    found = grid.find_cell(name)
    ids = [
        run_id
        for run_id in sorted(paths)
        if (parts := parts_of_run(run_id)) and parts.cell == found.cell_id
    ]
    return Side(
        found.cell_id, found.cell, tuple(read_record(paths[run_id]) for run_id in ids), run=False
    )


def _record_files(results: Path) -> list[Path]:
    """Return the record files, committed ones first, so that a run made here replaces them."""
    return [*record_paths(results / "records"), *record_paths(results / "runs")]


def _cell(record: Record, grid: Grid) -> Cell:
    return next(
        (found.cell for found in grid.cells if found.cell_id == record.cell), None
    ) or cell_of(record)


def _show_records(a: Side, b: Side) -> None:
    tasks = sorted({task for side in (a, b) for record in side.records for task in record.scores})
    rows: list[Sequence[str]] = [(task, _score(a, task), _score(b, task)) for task in tasks]
    if rows:
        console.say()
        console.table(("final score", "A", "B"), rows)
    if a.run and b.run:
        _show_circumstances(a.records[0], b.records[0])


def _score(side: Side, task: str) -> str:
    scores = [record.scores[task] for record in side.records if task in record.scores]
    if not scores:
        return "not recorded"
    value = f"avg@{scores[0].k} {sum(score.mean for score in scores) / len(scores):.4f}"
    stopped = sum(record.status == "collapsed" for record in side.records)
    return (
        value
        + ("" if side.run else f", mean of {len(scores)} {'seed' if len(scores) == 1 else 'seeds'}")
        + (f", {stopped} collapsed" if stopped else "")
    )


def _show_circumstances(a: Record, b: Record) -> None:
    kinds = sorted(a.revisions.keys() | b.revisions.keys())
    lines = [
        f"{kind} revision {a.revisions.get(kind)} -> {b.revisions.get(kind)}"
        for kind in kinds
        if a.revisions.get(kind) != b.revisions.get(kind)
    ]
    lines += provenance_differences(a.provenance, b.provenance)
    if lines:
        console.say("made under, A -> B:")
    for line in lines:
        console.say(f"  {line}", "dim")


def _run_of(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem
