"""`study sync-mlflow`: rebuild the MLflow mirror from the records."""

import json
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from analysis.pages.numbered import figure_pages
from study.cli import console
from study.cli.options import MlflowUri
from study.errors import IncompleteResults, RunFailed, SpecError
from study.record.mlflow.address import address
from study.record.mlflow.client import Mirror
from study.record.store import Results, read_record, record_paths
from study.runner.work.sessions import sessions
from study.spec.grid.grid import Grid, load_grid
from study.spec.yaml.load import names

_DATABASE_FILES = ("", "-journal", "-wal", "-shm")


def sync_mlflow(
    scale: Annotated[str, typer.Option(help="The scale whose grids are looked at.")] = "lab",
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    records: Annotated[
        Path | None, typer.Option(help="Mirror the records in this folder instead of RESULTS/runs.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Remove the MLflow database and its artifacts first.")
    ] = False,
    mlflow_uri: MlflowUri = None,
) -> None:
    """Make the MLflow mirror whole from the records: what is missing or half-written is replaced,
    duplicates and the killed are settled.
    """
    folder = Results(results)
    place = address(folder, mlflow_uri)
    paths = {_run_of(path): path for path in record_paths(records or folder.runs)}
    if not paths:
        raise IncompleteResults(
            f"no records in {records or folder.runs}", hint="make some first: study run --grid GRID"
        )
    if rebuild and not place.local:
        what = f"--rebuild removes the database of a results folder, not what is on {place.shown}"
        raise SpecError(what, hint="delete its experiments there")
    if rebuild:
        _remove_mirror(folder)
    elif place.local and (damaged := set_damaged_aside(folder.database)):
        console.warn(
            f"the MLflow database was damaged; it is now {damaged}, and a new one is made from the"
            " records"
        )
    grids = [grid for grid in _grids(scale) if any(run.run_id in paths for run in grid.runs())]
    if not grids:
        raise IncompleteResults(
            f"no grid of scale {scale} plans any of the {len(paths)} records",
            hint="name their scale: --scale SCALE",
        )
    _sync(folder, grids, paths, mlflow_uri)


def _grids(scale: str) -> Iterable[Grid]:
    for name in names("grids"):
        try:
            yield load_grid(name, scale)
        except SpecError as error:  # a grid for another scale, or one that is being written
            console.warn(f"grid {name} left out: {error.message}")


def _sync(results: Results, grids: Sequence[Grid], paths: dict[str, Path], uri: str | None) -> None:
    for grid in grids:
        for run in grid.runs():
            if run.run_id in paths:
                # a corrupt record is named here, not in the writer's log
                read_record(paths[run.run_id])
    mirror = Mirror(results, uri)
    at_work = any(session.alive is not False for session in sessions(results))
    counts = {grid.name: _send(mirror, results, grid, paths, at_work=at_work) for grid in grids}
    warning = mirror.close(timeout=None)
    if warning:
        raise RunFailed(
            warning,
            hint=(
                "why: the end of mlflow.log; to make the database anew: study sync-mlflow --rebuild"
            ),
        )
    for name, count in counts.items():
        console.say(f"{name}: {count} runs mirrored to {mirror.address.shown}")


def _send(
    mirror: Mirror, results: Results, grid: Grid, paths: dict[str, Path], *, at_work: bool
) -> int:
    """Everything there is of one grid; the number of its records."""
    runs = [run for run in grid.runs() if run.run_id in paths]
    mirror.begin(grid.name, grid.scale.name)
    for run in runs:
        mirror.sealed(paths[run.run_id], run.labels)
    reasons = [
        (run, reason)
        for run in grid.runs()
        if run.run_id not in paths and (reason := _reason(results.run(run.run_id)))
    ]
    for run, reason in reasons:
        mirror.failed(run.run_id, run.labels, run.seed, reason)
    mirror.settle(at_work=at_work)
    mirror.figures(_figures(results, grid))
    mirror.end("RUNNING" if at_work else "FAILED" if reasons else "FINISHED")
    return len(runs)


def _reason(folder: Path) -> str | None:
    """Why the last try of a run failed."""
    try:
        return str(json.loads((folder / "failure.json").read_bytes())["error"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return f"see {folder / 'failure.json'}"


def _figures(results: Results, grid: Grid) -> list[Path]:
    """The drawn figures of a grid: its numbered pages, or curves-GRID for a grid without any."""
    names = [str(page.number) for page in figure_pages(grid.name)] or [f"curves-{grid.name}"]
    drawn = [(results.root / "analysis" / "figures" / f"{name}.png").resolve() for name in names]
    return [path for path in drawn if path.is_file()]


def set_damaged_aside(database: Path) -> Path | None:
    """Move a database that SQLite cannot read, with its journals, out of the way; its new name.

    One that is merely locked stays.
    """
    if not database.is_file() or not _is_damaged(database):
        return None
    number = next(
        n for n in range(1, 1000) if not database.with_name(f"{database.name}.damaged-{n}").exists()
    )
    for suffix in _DATABASE_FILES:
        part = database.with_name(database.name + suffix)
        if part.exists():
            part.rename(database.with_name(f"{database.name}.damaged-{number}{suffix}"))
    return database.with_name(f"{database.name}.damaged-{number}")


def _is_damaged(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(database, timeout=1)) as connection:
            return connection.execute("pragma quick_check(1)").fetchone() != ("ok",)
    except sqlite3.OperationalError:
        return False  # locked, or not to be opened now
    except sqlite3.DatabaseError:
        return True


def _remove_mirror(results: Results) -> None:
    # a journal that outlives its database would be played into the next one
    for suffix in _DATABASE_FILES:
        results.database.with_name(results.database.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(results.root / "mlartifacts", ignore_errors=True)


def _run_of(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem
