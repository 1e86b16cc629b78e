"""Find the run or stage that a user means: by id, by a unique beginning or end of one, or by level
globs of a grid.

A run is looked for below the results folder first, then in the known grids, so that a run without
files is found as well.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError, SpecError, StudyError
from study.record.store import Results, read_record
from study.runner.graph.stages import run_roles
from study.runner.verbs.verify import one_of
from study.runner.work.sessions import sessions
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import parts_of_run
from study.spec.yaml.load import names


@dataclass(frozen=True)
class LogTarget:
    """role: `run`, or the path of roles that leads to a stage (distill, teacher, teacher.base).

    folder: of its log.
    """

    role: str
    id: str
    folder: Path


def known_grids(scales: Sequence[str], left_out: list[StudyError] | None = None) -> Iterator[Grid]:
    """Return every grid at every one of these scales; one that is unreadable here (for instance
    because its data are missing) goes to `left_out`.
    """
    for grid in names("grids"):
        for scale in scales:
            try:
                page = load_grid(grid, scale)
                page.runs()  # builds its cells, which can fail
            except (SpecError, PrerequisiteError) as error:
                if left_out is not None:
                    left_out.append(
                        type(error)(f"{grid} at {scale}: {error.message}", hint=error.hint)
                    )
                continue
            yield page


def find_run(name: str, results: Results, grid: str | None, scale: str) -> str:
    """Return the id of a run or a stage.

    Errors: SpecError for a name that matches nothing, or several ids.
    """
    if grid is not None:
        return _in_grid(name, load_grid(grid, scale))
    seen = {
        path.name
        for place in ("runs", "stages")
        for path in (results.root / place).glob("*")
        if path.is_dir()
    }
    seen |= {run for session in sessions(results) for run in session.runs}
    if any(run.startswith(name) or run.endswith(name) for run in seen):
        return one_of(name, sorted(seen))
    planned = {run.run_id for page in known_grids([scale]) for run in page.runs()}
    return one_of(name, sorted(seen | planned))


def _in_grid(name: str, grid: Grid) -> str:
    ids = [run.run_id for run in grid.runs()]
    if any(run.startswith(name) or run.endswith(name) for run in ids):
        return one_of(name, ids)
    fitting = list(grid.runs(only=name))
    if len(fitting) > 1:
        shown = "; ".join(
            f"{','.join(run.labels.values())} seed {run.seed}: {run.run_id}" for run in fitting[:4]
        )
        raise SpecError(
            f"{name!r} fits {len(fitting)} runs",
            hint=f"name one of: {shown}{' ...' if len(fitting) > 4 else ''}",
        )
    return fitting[0].run_id


def tasks_of(run_id: str, results: Results, grid: str | None, scale: str) -> list[LogTarget]:
    """Return the stages behind a run, inputs first, and the run
    itself; for a stage's id only that stage.
    """
    if results.stage(run_id).is_dir() and not results.run(run_id).is_dir():
        return [LogTarget(run_id.rpartition("-")[0], run_id, results.stage(run_id))]
    roles = _roles(run_id, results, grid, scale)
    # A stage with two roles is named by the shortest one.
    first = {stage: role for role, stage in reversed(roles.items())}
    return [
        *(LogTarget(role, stage, results.stage(stage)) for stage, role in first.items()),
        LogTarget("run", run_id, results.run(run_id)),
    ]


def _roles(run_id: str, results: Results, grid: str | None, scale: str) -> dict[str, str]:
    """Return role -> stage id: from the record, else from a
    grid that plans the run, else from its failure.
    """
    if results.record(run_id).is_file():
        return read_record(results.record(run_id)).stages
    planned = _planned(run_id, grid, scale)
    if planned is not None:
        return run_roles(planned.cell, planned.seed)
    stage = failure(results.run(run_id)).get("stage", run_id)
    return {} if stage == run_id else {str(stage).rpartition("-")[0]: str(stage)}


def _planned(run_id: str, grid: str | None, scale: str) -> LabelledRun | None:
    pages = [load_grid(grid, scale)] if grid is not None else known_grids([scale])
    parts = parts_of_run(run_id)
    # The seed need not be one of the grid.
    seeds = [parts.seed] if parts else None
    return next(
        (run for page in pages for run in page.runs(seeds=seeds) if run.run_id == run_id), None
    )


def failure(folder: Path) -> dict[str, Any]:
    """Return failure.json of a run or stage; empty if its last try did not fail."""
    with suppress(OSError, ValueError):
        value: Any = json.loads((folder / "failure.json").read_bytes())
        return value if isinstance(value, dict) else {}
    return {}
