"""`study sync-mlflow`: complete the MLflow mirror from the records."""

import json
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from analysis.pages.numbered import figure_pages, table_pages
from study.cli import console
from study.cli.options import MlflowUri
from study.errors import IncompleteResults, RunFailed, SpecError
from study.record.mlflow.address import address
from study.record.mlflow.client import Mirror
from study.record.mlflow.note import grid_note
from study.record.store import Results, read_record, record_paths
from study.runner.work.sessions import sessions
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.labelled import LabelledRun
from study.spec.yaml.load import names

_SECONDS_PER_RUN = 0.15  # measured: 0.11 CPU seconds per run, parameters and curves included
_DATABASE_FILES = ("", "-journal", "-wal", "-shm")


@dataclass(frozen=True)
class _Source:
    """Records that are mirrored together. pages: the folder of their report, tables and figures.

    suffix: of the experiments' names, so that committed records and local runs stay apart.
    """

    paths: dict[str, Path]
    pages: Path
    suffix: str = ""

    @property
    def committed(self) -> bool:
        return bool(self.suffix)


def sync_mlflow(
    scale: Annotated[str, typer.Option(help="The scale whose grids are mirrored.")] = "lab",
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    records: Annotated[
        Path | None, typer.Option(help="Mirror the records in this folder instead of RESULTS/runs.")
    ] = None,
    committed: Annotated[
        bool,
        typer.Option(
            "--committed", help="Also mirror RESULTS/records, with their tables and figures."
        ),
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Remove the MLflow database and its artifacts first.")
    ] = False,
    mlflow_uri: MlflowUri = None,
) -> None:
    """Make the MLflow mirror complete from the records: write what is missing or half-written,
    remove duplicates, mark what was killed.
    """
    folder = Results(results)
    place = address(folder, mlflow_uri)
    sources = _sources(folder, records, committed=committed)
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
    grids = list(_grids(scale))
    plans = [(source, [grid for grid in grids if _runs(grid, source)]) for source in sources]
    if not any(found for _, found in plans):
        number = sum(len(source.paths) for source in sources)
        raise IncompleteResults(
            f"no grid of scale {scale} plans any of the {number} records",
            hint="name their scale: --scale SCALE",
        )
    _sync(folder, plans, mlflow_uri)


def _sources(results: Results, records: Path | None, *, committed: bool) -> list[_Source]:
    """Return the sources to mirror. Errors: IncompleteResults if there are none."""
    own = _Source(_by_run(records or results.runs), results.root / "analysis")
    kept = _Source(_by_run(results.records) if committed else {}, results.root, "-committed")
    found = [source for source in (own, kept) if source.paths]
    if not found:
        where = [records or results.runs, *([results.records] if committed else [])]
        raise IncompleteResults(
            f"no records in {' or '.join(map(str, where))}",
            hint=(
                "make some first: study run --grid GRID; or show the committed ones: study"
                " sync-mlflow --committed"
            ),
        )
    return found


def _by_run(folder: Path) -> dict[str, Path]:
    return {_run_of(path): path for path in record_paths(folder)}


def _runs(grid: Grid, source: _Source) -> list[LabelledRun]:
    """Return the recorded runs of a grid.

    Of the committed records each grid shows its own: a composed one would show all of them a second
    time.
    """
    if source.committed and grid.members:
        return []
    return [run for run in grid.runs() if run.run_id in source.paths]


def _grids(scale: str) -> Iterable[Grid]:
    for name in names("grids"):
        try:
            yield load_grid(name, scale)
        except SpecError as error:  # a grid for another scale, or one that is being written
            console.warn(f"grid {name} left out: {error.message}")


def _sync(
    results: Results, plans: Sequence[tuple[_Source, Sequence[Grid]]], uri: str | None
) -> None:
    for source, grids in plans:
        # a corrupt record is named here, not in the writer's log
        for path in {source.paths[run.run_id] for grid in grids for run in _runs(grid, source)}:
            read_record(path)
    mirror = Mirror(results, uri)
    at_work = any(session.alive is not False for session in sessions(results))
    counts = {
        f"{grid.name}{source.suffix}": _send(mirror, results, grid, source, at_work=at_work)
        for source, grids in plans
        for grid in grids
    }
    total = sum(counts.values())
    minutes = console.duration(_SECONDS_PER_RUN * total)
    console.say(
        f"writing {total} runs to {mirror.address.shown}, at most {minutes} on an idle machine;"
        " what is there already is left alone",
        "dim",
    )
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


def _send(mirror: Mirror, results: Results, grid: Grid, source: _Source, *, at_work: bool) -> int:
    """Send all data of one grid; return the number of its records."""
    runs, scale = _runs(grid, source), grid.scale.name
    working = at_work and not source.committed
    mirror.begin(grid.name, f"{scale}{source.suffix}")
    mirror.describe(
        grid_note(grid.name, scale, grid.question, len(grid.runs()), committed=source.committed)
    )
    for run in runs:
        mirror.sealed(source.paths[run.run_id], run.labels)
    failures = {} if source.committed else _failures(results, grid, source)
    for run, reason in failures.values():
        mirror.failed(run.run_id, run.labels, run.seed, reason)
    mirror.settle(at_work=working)
    for folder, files in grid_pages(source.pages, grid).items():
        mirror.artifacts(folder, files)
    mirror.end("RUNNING" if working else "FAILED" if failures else "FINISHED")
    return len(runs)


def _failures(results: Results, grid: Grid, source: _Source) -> dict[str, tuple[LabelledRun, str]]:
    """Return run id -> the run and why its last try failed, for runs without a record."""
    missing = [run for run in grid.runs() if run.run_id not in source.paths]
    reasons = ((run, _reason(results.run(run.run_id))) for run in missing)
    return {run.run_id: (run, reason) for run, reason in reasons if reason}


def grid_pages(folder: Path, grid: Grid) -> dict[str, list[Path]]:
    """Return artifact folder -> the files about a grid below `folder`, as `study analyze` and
    `study report` write them: figures, tables, verdicts and, at the top, report and scorecard.
    """
    numbers = [str(page.number) for page in figure_pages(grid.name)]
    tables = [str(page.number) for page in table_pages(grid.name)]
    wanted = {
        "": ["report.md", "figures/scorecard.png", "figures/scorecard.csv"],
        "figures": [f"figures/{name}.png" for name in (*numbers, f"curves-{grid.name}")],
        "tables": [f"tables/{name}{end}" for name in tables for end in (".md", ".csv")],
        "verdicts": [f"verdicts/{grid.name}.md"],
    }
    present = {
        place: [path for name in found if (path := folder / name).is_file()]
        for place, found in wanted.items()
    }
    return {place: found for place, found in present.items() if found}


def _reason(folder: Path) -> str | None:
    """Return why the last try of a run failed."""
    try:
        return str(json.loads((folder / "failure.json").read_bytes())["error"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return f"see {folder / 'failure.json'}"


def set_damaged_aside(database: Path) -> Path | None:
    """Move a database that SQLite cannot read, with its journals, aside; return its new path.

    A database that is only locked stays.
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
        return False  # locked, or it cannot be opened now
    except sqlite3.DatabaseError:
        return True


def _remove_mirror(results: Results) -> None:
    # SQLite would apply an old journal to the new database.
    for suffix in _DATABASE_FILES:
        results.database.with_name(results.database.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(results.root / "mlartifacts", ignore_errors=True)


def _run_of(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem
