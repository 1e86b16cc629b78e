"""The results part of the README: written from the committed records, between two marks, so that no number there is typed by hand."""

from dataclasses import replace
from pathlib import Path

from analysis.frames import Evidence
from analysis.render import Table, to_markdown
from analysis.report import Report
from analysis.verdicts import summary_table
from study.errors import RecordMismatch

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
SHOWN = (20, 22)  # the figures on the front page: curves with the RLVR teacher, final accuracy of every cell
SCORE_COLUMNS = ("teacher", "objective", "length", "score", "n", "before", "truncated_fraction")
VERDICT_COLUMNS = ("verdict", "claim", "k", "effect", "smallest", "n")


def results(report: Report, evidence: Evidence) -> str:
    """Verdicts, final scores and the figures of a grid, as Markdown."""
    tables = [_narrowed(table, SCORE_COLUMNS) for table in report.tables.values() if any(c.key == "score" for c in table.columns)]
    verdicts = [_narrowed(summary_table(report.verdicts, evidence), VERDICT_COLUMNS)] if report.verdicts else []
    pages = [to_markdown(page).replace("## ", "### ", 1).rstrip() for page in (*verdicts, *tables)]
    drawn = [f"![{figure.page.title}](results/figures/{figure.name}.png)" for figure in report.figures if figure.page.number in SHOWN]
    return "\n\n".join([*drawn, *pages])


def of(results_folder: Path) -> Path | None:
    """The README beside a results folder, if it asks for this part."""
    page = results_folder.resolve().parent / "README.md"
    return page if page.is_file() and BEGIN in page.read_text(encoding="utf-8") else None


def rewrite(page: Path, report: Report, evidence: Evidence) -> None:
    page.write_text(_rewritten(page, report, evidence), encoding="utf-8", newline="\n")


def differences(page: Path, report: Report, evidence: Evidence) -> list[str]:
    """One line when the README shows other results than the records give."""
    same = page.read_text(encoding="utf-8") == _rewritten(page, report, evidence)
    return [] if same else [f"{page}: its results are not what the records give"]


def _rewritten(page: Path, report: Report, evidence: Evidence) -> str:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise RecordMismatch(f"{page} has {BEGIN} without {END}", hint="put it back on a line of its own")
    return f"{before}{BEGIN}\n{results(report, evidence)}\n{END}{after}"


def _narrowed(table: Table, keys: tuple[str, ...]) -> Table:
    kept = [i for i, column in enumerate(table.columns) if column.key in keys]
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows)
