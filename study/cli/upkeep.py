"""Verbs that keep the house: publish sealed records as committed evidence, rebuild the MLflow mirror."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli import console
from study.errors import IncompleteResults, RunFailed

if TYPE_CHECKING:
    from study.record.store import Results
    from study.spec.grid import Grid

_Results = Annotated[Path, typer.Option(help="The results folder.")]


def publish(
    grid: Annotated[str | None, typer.Option("--grid", "-g", help="Only the runs of this grid.")] = None,
    scale: Annotated[str, typer.Option(help="The scale of that grid.")] = "lab",
    results: _Results = Path("results"),
    records: Annotated[Path | None, typer.Option(help="Where committed records lie; RESULTS/records by default.")] = None,
) -> None:
    """Copy sealed records from RESULTS/runs to RESULTS/records, after checking every seal."""
    from study.record.store import Results
    from study.runner.publish import publish as promote
    from study.spec.grid import load_grid

    folder = Results(results)
    runs = None if grid is None else [run.run_id for run in load_grid(grid, scale).runs()]
    done = promote(folder, records or folder.records, runs)
    console.say(f"{len(done.new)} new, {len(done.same)} unchanged, {len(done.changed)} replaced in {records or folder.records}")
    for run_id in done.changed:
        console.say(f"replaced  {run_id}", "warn")
    missing = len(runs) - len(done.new) - len(done.same) - len(done.changed) if runs is not None else 0
    if missing:
        console.warn(f"{missing} runs of {grid} are not sealed yet: study run --grid {grid}")


def sync_mlflow(
    scale: Annotated[str, typer.Option(help="The scale whose grids are looked at.")] = "lab",
    results: _Results = Path("results"),
    records: Annotated[Path | None, typer.Option(help="Mirror the records in this folder instead of RESULTS/runs.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Remove the MLflow database and its artifacts first.")] = False,
) -> None:
    """Make the MLflow mirror whole from the records: runs under the grid that holds them, figures with their grid."""
    from study.record.store import Results, record_paths

    folder = Results(results)
    paths = {_run_of(path): path for path in record_paths(records or folder.runs)}
    if not paths:
        raise IncompleteResults(f"no records in {records or folder.runs}", hint="make some first: study run --grid GRID")
    if rebuild:
        _remove_mirror(folder)
    for grid in _grids(scale):
        _sync(folder, grid, paths)


def _grids(scale: str) -> "Iterable[Grid]":
    from study.errors import SpecError
    from study.spec.grid import load_grid
    from study.spec.yaml import names

    for name in names("grids"):
        try:
            yield load_grid(name, scale)
        except SpecError as error:  # a grid for another scale, or one that is being written
            console.warn(f"grid {name} left out: {error.message}")


def _sync(results: "Results", grid: "Grid", paths: dict[str, Path]) -> None:
    from study.record.mirror import Mirror
    from study.record.store import read_record

    runs = [run for run in grid.runs() if run.run_id in paths]
    if not runs:
        return
    for run in runs:
        read_record(paths[run.run_id])  # a corrupt record is named here, not in the writer's log
    mirror = Mirror(results, grid.name, grid.scale.name)
    for run in runs:
        mirror.sealed(paths[run.run_id].resolve(), run.labels)
    failures = [(run, results.run(run.run_id) / "failure.json") for run in grid.runs() if run.run_id not in paths]
    failed = [(run, json.loads(path.read_bytes())["error"]) for run, path in failures if path.is_file()]
    for run, reason in failed:
        mirror.failed(run.run_id, run.labels, run.seed, reason)
    mirror.figures(_figures(results, grid))
    warning = mirror.close("FAILED" if failed else "FINISHED", timeout=None)
    if warning:
        raise RunFailed(warning, hint="an unreadable database is made anew by: study sync-mlflow --rebuild")
    console.say(f"{grid.name}: {len(runs)} runs mirrored to {results.database}")


def _figures(results: "Results", grid: "Grid") -> list[Path]:
    """The drawn figures of a grid: its numbered pages, or `curves` for a grid without any."""
    from analysis.pages import figure_pages

    names = [str(page.number) for page in figure_pages(grid.name)] or ["curves"]
    drawn = [(results.root / "analysis" / "figures" / f"{name}.png").resolve() for name in names]
    return [path for path in drawn if path.is_file()]


def _remove_mirror(results: "Results") -> None:
    import shutil

    results.database.unlink(missing_ok=True)
    shutil.rmtree(results.root / "mlartifacts", ignore_errors=True)


def _run_of(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem
