"""The world of a state: what the arms of the claims were when it was in force.

For every grid with claims, at one scale: the labels of each cell with its id, which is the hash of
its whole spec (corpus, teacher, objective, evaluation, probes, revisions of the stages), and the
grid's seeds. A run serves claims of its own scale only, so other scales are not expanded. A grid
that cannot be expanded at this scale, or here, is not in it.

It also holds what was known already when it came into force, so that the order stays visible when
older records are removed:
    replaced    cells that an earlier state had, and this one no longer has, with a sealed record
    extended    seeds that no earlier state had, and how many of the earlier seeds had a record
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from study.errors import RecordMismatch, StudyError
from study.record.declared.states import WORLD, Pages, state_files, state_hash
from study.record.store import Results, record_paths
from study.spec.base import Spec
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.scale import Scale
from study.spec.identity import parts_of_run
from study.spec.report.outcome import REVISION, ArmLabels


class Extension(Spec):
    """Seeds added to a grid of which others had been seen. seen: earlier seeds with a record."""

    added: tuple[int, ...] = Field(strict=False)
    seen: tuple[int, ...] = Field(strict=False)


class GridWorld(Spec):
    """A grid at the scale of its world."""

    seeds: tuple[int, ...] = Field(strict=False)
    cells: dict[str, tuple[dict[str, str], ...]] = Field(strict=False)
    replaced: dict[str, tuple[dict[str, str], ...]] = Field(default={}, strict=False)
    extended: tuple[Extension, ...] = Field(default=(), strict=False)


class World(Spec):
    """outcomes_revision: that of the code of the outcomes (`study/spec/report/outcome.py`)."""

    version: Literal[1] = 1
    scale: str
    outcomes_revision: int
    grids: dict[str, GridWorld]


def cells_with(arm: ArmLabels, cells: Mapping[str, Iterable[ArmLabels]]) -> set[str]:
    """Return the ids of the cells with these labels, of which an arm may name a part."""
    return {
        cell
        for cell, combinations in cells.items()
        if any(arm.items() <= labels.items() for labels in combinations)
    }


def with_world(
    pages: Pages, scale: Scale, results: Results, source: Grid | None = None
) -> dict[str, bytes]:
    """Return a state with its world; an empty one stays empty.

    source: the grid of the run, if it has one: it need not be in a folder of experiments.
    """
    if not pages:
        return {}
    named = [name.removesuffix(".yaml") for name in pages if "/" not in name and name != WORLD]
    grids = [grid for name in named if (grid := _grid(name, scale, source)) is not None]
    earlier = list(_stored_worlds(results.declared, scale.name))
    recorded = _recorded_seeds(results)
    world = World(
        scale=scale.name,
        outcomes_revision=REVISION,
        grids={
            grid.name: _grid_world(
                grid, [world.grids[grid.name] for world in earlier if grid.name in world.grids],
                recorded,
            )
            for grid in grids
        },
    )  # fmt: skip
    return {**pages, WORLD: world_bytes(world)}


def _grid(name: str, scale: Scale, source: Grid | None) -> Grid | None:
    """Return a grid with claims, its cells built; None if that is not possible here."""
    if source is not None and source.name == name:
        return source
    try:
        grid = load_grid(name, scale)
        return grid if grid.cells else None
    except StudyError:  # another scale's, or its data are not here; a run of another grid goes on
        return None


def _grid_world(
    grid: Grid, earlier: list[GridWorld], recorded: Mapping[str, set[int]]
) -> GridWorld:
    cells = {cell.cell_id: (cell.labels, *cell.also) for cell in grid.cells}
    now = GridWorld(seeds=grid.seeds, cells=cells)
    return now.model_copy(
        update={
            "replaced": _replaced(now, earlier, recorded),
            "extended": _extended(now, earlier, recorded),
        }
    )


def _replaced(
    now: GridWorld, earlier: list[GridWorld], recorded: Mapping[str, set[int]]
) -> dict[str, tuple[ArmLabels, ...]]:
    """Cells of earlier states that had data; what an earlier state knew of this stays known."""
    found: dict[str, tuple[ArmLabels, ...]] = {}
    for world in earlier:
        seen = {cell: labels for cell, labels in world.cells.items() if cell in recorded}
        found |= world.replaced | seen
    return {cell: found[cell] for cell in sorted(found) if cell not in now.cells}


def _extended(
    now: GridWorld, earlier: list[GridWorld], recorded: Mapping[str, set[int]]
) -> tuple[Extension, ...]:
    """Earlier extensions, and one for the seeds that no earlier state of these cells had.

    States of earlier versions have no world: there the seeds with a record are those known.
    """
    same = [world for world in earlier if world.cells.keys() & now.cells.keys()]
    seen = {seed for cell in now.cells for seed in recorded.get(cell, set())}
    known = seen | {seed for world in same for seed in world.seeds}
    added = tuple(seed for seed in now.seeds if seed not in known)
    kept = dict.fromkeys(extension for world in same for extension in world.extended)
    new = (Extension(added=added, seen=tuple(sorted(seen))),) if added and seen else ()
    return (*kept, *new)


def recorded_runs(results: Results) -> dict[str, set[tuple[int, int]]]:
    """Return cell id -> (seed, repeat) of the records in runs/ and records/, by their names."""
    found: dict[str, set[tuple[int, int]]] = {}
    for path in (*record_paths(results.runs), *record_paths(results.records)):
        run = path.parent.name if path.name == "record.json" else path.stem
        if parts := parts_of_run(run):
            found.setdefault(parts.cell, set()).add((parts.seed, parts.repeat))
    return found


def _recorded_seeds(results: Results) -> dict[str, set[int]]:
    return {cell: {seed for seed, _ in runs} for cell, runs in recorded_runs(results).items()}


def _stored_worlds(declared: Path, scale: str) -> Iterator[World]:
    """Yield the worlds of this scale in a folder of states, those of whole states."""
    for path in sorted(declared.glob(f"*/{WORLD}")):
        try:
            files = state_files(path.parent)
            world = read_world(files[WORLD], str(path))
        except (OSError, KeyError, RecordMismatch):
            continue  # whoever needs this state says what is wrong with it
        whole = (state_hash(files) or "").startswith(path.parent.name)
        if whole and world.scale == scale:
            yield world


def world_bytes(world: World) -> bytes:
    """Return the file of a world: indented, so that a change is seen in a diff."""
    value = world.model_dump(mode="json", exclude_defaults=True) | {"version": world.version}
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode()


def read_world(data: bytes, where: str) -> World:
    """Return the world of a file. Errors: RecordMismatch."""
    try:
        return World.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecordMismatch(
            f"{where}: not the world of a state ({place}: {first['msg']})",
            hint=f"restore it: git checkout -- {where}",
        ) from error
