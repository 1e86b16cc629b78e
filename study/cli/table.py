"""`study table N`: show a numbered table from the committed records."""

from pathlib import Path

from analysis.pages.numbered import table_page
from analysis.pages.render import to_markdown
from analysis.pages.tables import build
from study.cli.console import say
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
    say(to_markdown(build(page, evidence)).rstrip())
