"""`study publish`: copy sealed records into the committed evidence."""

from pathlib import Path
from typing import Annotated

import typer

from study.cli import console
from study.record.store import Results
from study.runner.verbs.publish import publish as publish_records
from study.spec.grid.grid import load_grid, named


def publish(
    grid: Annotated[
        str | None, typer.Option("--grid", "-g", help="Only the runs of this grid.")
    ] = None,
    scale: Annotated[str, typer.Option(help="The scale of that grid.")] = "lab",
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    records: Annotated[
        Path | None, typer.Option(help="Folder of committed records; RESULTS/records by default.")
    ] = None,
) -> None:
    """Copy sealed records from RESULTS/runs to RESULTS/records, after checking every seal."""
    folder = Results(results)
    runs = None if grid is None else [run.run_id for run in load_grid(grid, scale).runs()]
    done = publish_records(folder, records or folder.records, runs)
    console.say(
        f"{len(done.new)} new, {len(done.same)} unchanged, {len(done.changed)} replaced in"
        f" {records or folder.records}"
    )
    for run_id in done.changed:
        console.say(f"replaced  {run_id}", "warn")
    if grid is None or runs is None:
        return
    missing = len(runs) - len(done.new) - len(done.same) - len(done.changed)
    if missing:
        console.warn(f"{missing} runs of {grid} are not sealed yet: study run {named(grid, scale)}")
