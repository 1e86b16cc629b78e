"""The results part of the README: written from the committed records, between two marks, so that no number there is typed by hand."""

from dataclasses import replace
from pathlib import Path

from analysis.frames import Evidence
from analysis.render import Table, to_markdown
from analysis.report import Report
from analysis.verdicts import summary_table
from study.errors import RecordMismatch

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
SCORE_COLUMNS = ("teacher", "objective", "length", "score", "n", "before", "truncated_fraction")
VERDICT_COLUMNS = ("verdict", "claim", "k", "effect", "smallest", "n")


def results(report: Report, evidence: Evidence) -> str:
    """Verdicts, final scores and the figures of a grid, as Markdown."""
    tables = [_narrowed(table, SCORE_COLUMNS) for table in report.tables.values() if any(c.key == "score" for c in table.columns)]
    verdicts = [_narrowed(summary_table(report.verdicts, evidence), VERDICT_COLUMNS)] if report.verdicts else []
    pages = [to_markdown(page).replace("## ", "### ", 1).rstrip() for page in (*verdicts, *tables)]
    drawn = [f"![{figure.page.title}](results/figures/{figure.name}.png)" for figure in report.figures if figure.page.number in SHOWN]
    return "\n\n".join([*drawn, *pages])


SHOWN = (20, 22)  # the figures on the front page: curves with the RLVR teacher, final accuracy of every cell


def rewritten(readme: Path, block: str) -> str:
    """The README's text with `block` between the marks. Raises RecordMismatch when the marks are not there."""
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RecordMismatch(f"{readme} lacks the marks {BEGIN} and {END}", hint="put both back on lines of their own")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def _narrowed(table: Table, keys: tuple[str, ...]) -> Table:
    kept = [i for i, column in enumerate(table.columns) if column.key in keys]
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows)
