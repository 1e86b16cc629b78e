"""Compare the stage revisions of a record with those of today's code.

A revision is part of every id, so a record of an older one has another run id and never satisfies a
plan or enters a table. It is found by the slug and seed of its id and the same spec, so that it can
be named instead of being silently missing.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from study.spec.grid.cell import Cell
from study.spec.identity import canonical, cell_revisions, parts_of_run

_CELL_NAME = re.compile(r"(?P<slug>.+)-[0-9a-f]{8}")

Revisions = Mapping[str, int]


def slug_and_seed(run_id: str) -> tuple[str, int, int] | None:
    """Return what the ids of one run under different revisions have in common: slug, seed, repeat;
    None for a name that is not a run id.
    """
    parts = parts_of_run(run_id)
    match = _CELL_NAME.fullmatch(parts.cell) if parts else None
    return (match["slug"], parts.seed, parts.repeat) if match and parts else None


def same_settings(cell: Cell, spec: Mapping[str, Any]) -> bool:
    """Whether a record with this spec is of the very same cell, apart from revisions."""
    return canonical(cell) == canonical(dict(spec))


def recorded_under(run_id: str, recorded: Revisions, cell: Cell) -> str:
    """Write "recorded under distill revision 1 (now 2): distill-...-s0"."""
    now = cell_revisions(cell)
    kinds = [kind for kind in now if recorded.get(kind) != now[kind]]
    changes = [
        f"{kind} revision {recorded.get(kind, 'unknown')} (now {now[kind]})" for kind in kinds
    ]
    return f"recorded under {', '.join(changes) or 'another rule of naming'}: {run_id}"


def mixed(records: Iterable[tuple[str, Revisions]]) -> dict[str, dict[int, list[str]]]:
    """Return stage kind -> revision -> run ids, for the kinds with more than one revision among
    (run id, revisions).
    """
    found: dict[str, dict[int, list[str]]] = {}
    for run_id, revisions in records:
        for kind, number in revisions.items():
            found.setdefault(kind, {}).setdefault(number, []).append(run_id)
    return {
        kind: dict(sorted(numbers.items())) for kind, numbers in found.items() if len(numbers) > 1
    }
