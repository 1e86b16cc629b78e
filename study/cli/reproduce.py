"""`study reproduce table N`: run what page N needs into the ignored run folder, then print ours-now beside the committed values."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from study.cli.analyze import load_evidence, show_table
from study.cli.console import say
from study.cli.plan import parse_seeds

if TYPE_CHECKING:
    from study.spec.table import Arm, FigurePage, TablePage

Kind = Literal["table", "figure"]


def reproduce(
    kind: Annotated[Kind, typer.Argument(help="table or figure")],
    number: Annotated[str, typer.Argument(metavar="N", help="below 20: the paper's number; from 20 on: our own")],
    results: Annotated[Path, typer.Option("--results", help="the results folder")] = Path("results"),
    seeds: Annotated[str | None, typer.Option(help="only these seeds, e.g. 0; the grid's own by default")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes at once; one per core by default")] = None,
) -> None:
    """Rerun the grid of table or figure N and print ours-now beside the committed values."""
    from analysis.pages import figure_page, table_page
    from study.cli.run import run

    page = table_page(number) if kind == "table" else figure_page(number)
    say(f"{kind} {number}: grid {page.grid} at scale {page.scale}; runs that are done already are kept", "bold")
    run(grid=page.grid, scale=page.scale, seeds=seeds, jobs=jobs, results=results)
    _compare(page, results, seeds)


def _compare(page: "TablePage | FigurePage", results: Path, seeds: str | None) -> None:
    from analysis.compare import beside
    from study.record.store import read_records

    now = load_evidence(results / "runs", page.grid, page.scale, seeds=seeds)
    committed = load_evidence(results / "records", page.grid, page.scale, seeds=seeds, needs_records=False)
    records = (read_records(results / "runs"), read_records(results / "records"))
    show_table(beside(now, committed, records, _arms(page)))


def _arms(page: "TablePage | FigurePage") -> "list[Arm] | None":
    """The cells a page shows; None = all of its grid."""
    from study.spec.table import FigurePage

    if isinstance(page, FigurePage) and page.rows:
        return [arm for row in page.rows for arm in row.arms]
    return None
