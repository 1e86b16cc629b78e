"""`study table N`: show a numbered table from the committed records."""

from pathlib import Path

from analysis.pages.numbered import table_page
from analysis.pages.render import Table, spelled_row, to_markdown
from analysis.pages.tables import build
from study.cli.console import is_terminal, say
from study.cli.console import table as aligned_table
from study.cli.evidence import NumberArgument, RecordsOption, load_evidence
from study.cli.options import ResultsOption


def table(
    number: NumberArgument,
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
) -> None:
    """Show table N from the committed records."""
    page = table_page(number)
    evidence = load_evidence(
        records or results / "records", page.grid, page.scale, needs_records=page.kind != "settings"
    )
    made = build(page, evidence)
    if is_terminal():
        _show(made)
    else:
        say(to_markdown(made).rstrip())


def _show(made: Table) -> None:
    """Print a table for a terminal; a narrow one gets fewer columns, the results at least."""
    titles = [column.title for column in made.columns]
    rows = [spelled_row(made, row) for row in made.rows]
    results = [number for number, column in enumerate(made.columns) if column.interval]
    say(made.heading, "bold")
    say()
    if results:
        aligned_table(titles, rows, drop=titles[: results[0] : -1])
    else:
        aligned_table(titles, rows, head=1)
    say()
    for note in made.notes:
        say(f"- {note}", "dim")
