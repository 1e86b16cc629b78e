"""`study reproduce table N`: run what a table or figure needs, and compare each run with its
committed record.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from analysis.pages.numbered import figure_page, table_page
from analysis.pages.report import draw_page, write_figure
from study.cli import console
from study.cli.carry_out import carry_out, processes, walk_through
from study.cli.evidence import load_evidence
from study.cli.options import parse_seeds
from study.cli.progress import run_name
from study.record.schema import Record, same_content
from study.record.store import Results, read_record
from study.runner.work.execute import Work
from study.spec.grid.grid import load_grid
from study.spec.grid.labelled import LabelledRun


def reproduce(
    kind: Annotated[Literal["table", "figure"], typer.Argument(help="Table or figure.")],
    number: Annotated[
        str,
        typer.Argument(
            metavar="N", help="A number of the paper (below 20) or of ours (20 and above)."
        ),
    ],
    seeds: Annotated[str | None, typer.Option(help="Only these seeds, e.g. 0,1 or 0-4.")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Only runs that match: label globs (biased_*, teacher=rlvr) or an id."),
    ] = None,
    core: Annotated[
        bool, typer.Option("--core", help="Only the grid's core cells and seeds.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; one per core by default.")
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    no_mlflow: Annotated[
        bool, typer.Option("--no-mlflow", help="Do not mirror to MLflow.")
    ] = False,
) -> None:
    """Run again what a table or figure needs and compare it with the committed records."""
    page = table_page(number) if kind == "table" else figure_page(number)
    grid = load_grid(page.grid, page.scale)
    runs = grid.runs(seeds=parse_seeds(seeds), core=core, only=only)
    folder = Results(results)
    walk = walk_through(grid, runs, folder, Work())
    carry_out(walk, processes(jobs), mlflow=not no_mlflow)
    compare(runs, folder)
    if kind == "figure":
        _draw(number, folder)


def compare(runs: Sequence[LabelledRun], results: Results) -> None:
    """Print one line per run: the committed score, the new one, and whether the two records agree
    byte for byte, times and machine aside. They do only on the same kind of processor.
    """
    rows: list[tuple[str, ...]] = []
    for run in runs:
        committed, now = results.records / f"{run.run_id}.json", results.record(run.run_id)
        found = [read_record(path) if path.is_file() else None for path in (committed, now)]
        rows.append((run_name(run), *map(_scores, found), _agreement(*found)))
    console.table(("run", "committed", "now", "records"), rows)


def _scores(record: Record | None) -> str:
    if record is None:
        return "not run"
    return ", ".join(
        f"{task} avg@{score.k} {score.mean:.4f}" for task, score in record.scores.items()
    )


def _agreement(committed: Record | None, now: Record | None) -> str:
    if committed is None or now is None:
        return "nothing to compare"
    if same_content(committed, now):
        return "equal, byte for byte"
    then, here = committed.provenance, now.provenance
    other = [
        name
        for name in ("code", "packages", "python", "platform", "machine")
        if getattr(then, name) != getattr(here, name)
    ]
    return "different" + (f"; other {', '.join(other)}" if other else "")


def _draw(number: str, results: Results) -> None:
    page = figure_page(number)
    evidence = load_evidence(results.runs, page.grid, page.scale, partial=True)
    for path in write_figure(
        draw_page(number, page, evidence), evidence, results.root / "analysis"
    ):
        console.say(f"  {path}")
