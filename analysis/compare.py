"""Ours-now beside committed: two sets of evidence for the same cells."""

from collections.abc import Iterable

from analysis.frames import Evidence, arm_text
from analysis.render import Column, Table, Value
from analysis.tables import scope_note
from study.record.schema import Record, content
from study.spec.grid import LabelledCell
from study.spec.table import Arm
from study.stats.intervals import t_interval

COLUMNS = (
    Column("cell", "Cell"),
    Column("committed", "Committed [95% t-interval]", interval=True),
    Column("now", "Ours now [95% t-interval]", interval=True),
    Column("difference", "Now minus committed, same bases"),
    Column("same", "Records alike"),
)


def beside(now: Evidence, committed: Evidence, records: tuple[Iterable[Record], Iterable[Record]], arms: list[Arm] | None = None) -> Table:
    """One row per cell (of `arms`, or all): both final scores, their paired difference, and how many records agree byte for byte.

    `records`: (now, committed). Two records are alike when all but provenance and seconds is the same.
    """
    ours, theirs = ({record.run: content(record) for record in side} for side in records)
    alike = {run for run in ours.keys() & theirs.keys() if ours[run] == theirs[run]}
    cells = [now.cell_of(arm) for arm in arms] if arms is not None else list(now.cells)
    unique = {cell.cell_id: cell for cell in cells}
    rows = tuple(_row(cell, now, committed, alike) for cell in unique.values())
    notes = ("Now: " + scope_note(now), "Committed: " + scope_note(committed), "Another machine rounds differently: alike is not expected there.")
    return Table("Ours now beside the committed values", COLUMNS, rows, notes)


def _row(cell: LabelledCell, now: Evidence, committed: Evidence, alike: set[str]) -> tuple[Value, ...]:
    ours, theirs = now.scores(cell.labels), committed.scores(cell.labels)
    shared = sorted(ours.keys() & theirs.keys())
    difference = sum(ours[base] - theirs[base] for base in shared) / len(shared) if shared else "-"
    same = sum(f"{cell.cell_id}-s{base}" in alike for base in shared)
    both = [t_interval(list(side.values())) if side else None for side in (theirs, ours)]
    return (arm_text(cell.labels), *both, difference, f"{same} of {len(shared)}")
