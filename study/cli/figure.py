"""`study figure N`: draw a numbered figure from the committed records."""

from pathlib import Path

from analysis.pages.numbered import figure_page
from analysis.pages.report import draw_page, write_figure
from analysis.pages.style import few_collections
from study.cli.console import say
from study.cli.evidence import NumberArgument, OutOption, RecordsOption, load_evidence
from study.cli.options import ResultsOption


@few_collections()
def figure(
    number: NumberArgument,
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    out: OutOption = None,
) -> None:
    """Draw figure N from the committed records."""
    page = figure_page(number)
    evidence = load_evidence(records or results / "records", page.grid, page.scale)
    drawn = draw_page(number, page, evidence)
    say(f"Figure {number}. {page.title}", "bold")
    for path in write_figure(drawn, evidence, out or results / "analysis"):
        say(f"  {path}")
