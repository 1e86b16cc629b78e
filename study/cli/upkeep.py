"""Verbs that keep the house: publish sealed records as committed evidence, rebuild the MLflow
mirror.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli import console
from study.cli.run import MlflowUri
from study.errors import IncompleteResults, RunFailed, SpecError

if TYPE_CHECKING:
    from study.record.mlflow.client import Mirror
    from study.record.store import Results
    from study.spec.grid.grid import Grid

_Results = Annotated[Path, typer.Option(help="The results folder.")]
_DATABASE_FILES = ("", "-journal", "-wal", "-shm")


def publish(
    grid: Annotated[
        str | None, typer.Option("--grid", "-g", help="Only the runs of this grid.")
    ] = None,
    scale: Annotated[str, typer.Option(help="The scale of that grid.")] = "lab",
    results: _Results = Path("results"),
    records: Annotated[
        Path | None, typer.Option(help="Where committed records lie; RESULTS/records by default.")
    ] = None,
) -> None:
    """Copy sealed records from RESULTS/runs to RESULTS/records, after checking every seal."""
    from study.record.store import Results
    from study.runner.verbs.publish import publish as promote
    from study.spec.grid.grid import load_grid, named

    folder = Results(results)
    runs = None if grid is None else [run.run_id for run in load_grid(grid, scale).runs()]
    done = promote(folder, records or folder.records, runs)
    console.say(
        f"{len(done.new)} new, {len(done.same)} unchanged, {len(done.changed)} replaced in"
        f" {records or folder.records}"
    )
    for run_id in done.changed:
        console.say(f"replaced  {run_id}", "warn")
    missing = (
        len(runs) - len(done.new) - len(done.same) - len(done.changed) if runs is not None else 0
    )
    if missing:
        console.warn(
            f"{missing} runs of {grid} are not sealed yet: study run {named(grid or '', scale)}"
        )


def sync_mlflow(
    scale: Annotated[str, typer.Option(help="The scale whose grids are looked at.")] = "lab",
    results: _Results = Path("results"),
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
    from study.record.mlflow.address import address
    from study.record.store import Results, record_paths

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


def _grids(scale: str) -> "Iterable[Grid]":
    from study.spec.grid.grid import load_grid
    from study.spec.yaml.load import names

    for name in names("grids"):
        try:
            yield load_grid(name, scale)
        except SpecError as error:  # a grid for another scale, or one that is being written
            console.warn(f"grid {name} left out: {error.message}")


def _sync(
    results: "Results", grids: "Sequence[Grid]", paths: dict[str, Path], uri: str | None
) -> None:
    from study.record.mlflow.client import Mirror
    from study.record.store import read_record
    from study.runner.work.sessions import sessions

    for grid in grids:
        for run in grid.runs():
            if run.run_id in paths:
                read_record(
                    paths[run.run_id]
                )  # a corrupt record is named here, not in the writer's log
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
    mirror: "Mirror", results: "Results", grid: "Grid", paths: dict[str, Path], *, at_work: bool
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


def _figures(results: "Results", grid: "Grid") -> list[Path]:
    """The drawn figures of a grid: its numbered pages, or curves-GRID for a grid without any."""
    from analysis.pages.numbered import figure_pages

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
    import sqlite3

    try:
        with closing(sqlite3.connect(database, timeout=1)) as connection:
            return connection.execute("pragma quick_check(1)").fetchone() != ("ok",)
    except sqlite3.OperationalError:
        return False  # locked, or not to be opened now
    except sqlite3.DatabaseError:
        return True


def _remove_mirror(results: "Results") -> None:
    import shutil

    for (
        suffix
    ) in _DATABASE_FILES:  # a journal that outlives its database would be played into the next one
        results.database.with_name(results.database.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(results.root / "mlartifacts", ignore_errors=True)


def _run_of(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem
