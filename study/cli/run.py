"""`study run`: bring every run of a grid to a sealed record. A re-run does nothing; an interrupted
one continues.
"""

from pathlib import Path
from typing import Annotated

import typer

from study.cli.carry_out import carry_out, processes, walk_through
from study.cli.contracts import require_contracts
from study.cli.options import MlflowUri, parse_seeds
from study.cli.plan import chosen_by, show_plan
from study.record.mlflow.note import grid_note
from study.record.store import Results
from study.runner.graph.plan import make_plan
from study.runner.work.execute import Work
from study.runner.work.reporting import with_reports
from study.spec.grid.grid import load_grid
from study.spec.machine.profile import load_profile


def run(
    grid: Annotated[
        str, typer.Option("--grid", "-g", help="A grid file or its name, e.g. grids/math.yaml.")
    ],
    scale: Annotated[
        str, typer.Option(help="The scale that binds names to models, data and lengths.")
    ] = "lab",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and stop.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Only runs that match: label globs (biased_*, teacher=rlvr) or an id."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Only these seeds, e.g. 0,1 or 0-4.")] = None,
    core: Annotated[
        bool, typer.Option("--core", help="Only the grid's core cells and seeds.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; one per core by default.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="The machine: a page of profiles/ or its name, e.g. cluster.")
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    no_preflight: Annotated[
        bool, typer.Option("--no-preflight", help="Do not check the grid's contracts first.")
    ] = False,
    no_mlflow: Annotated[
        bool, typer.Option("--no-mlflow", help="Do not mirror to MLflow.")
    ] = False,
    mlflow_uri: MlflowUri = None,
) -> None:
    """Train, evaluate and record the runs of a grid that are not recorded yet."""
    page, machine = load_grid(grid, scale), load_profile(profile)
    runs = page.runs(seeds=parse_seeds(seeds), core=core, only=only)
    folder, at_once = Results.from_afar(results, machine), processes(jobs or machine.jobs)
    if dry_run:
        planned = make_plan(runs, folder, page.scale.expected_seconds)
        show_plan(page, planned, at_once, chosen_by(only, seeds, core=core))
        return
    walk = walk_through(page, runs, folder, Work(), with_reports(machine))
    carry_out(
        walk,
        at_once,
        preflight=None if no_preflight else lambda: require_contracts(page, grid, folder),
        mlflow=not no_mlflow,
        mlflow_uri=mlflow_uri,
        note=grid_note(page.name, page.scale.name, page.question, len(page.runs())),
    )
