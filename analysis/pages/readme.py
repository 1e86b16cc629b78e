"""The results part of the README: written from the committed records, between two marks, so that no
number there is typed by hand.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.pages.overview import claims_table
from analysis.pages.render import Table, to_markdown
from analysis.pages.report import Part
from study.errors import RecordMismatch

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
SHOWN = (
    20,
    3,
    # the figures on the front page: curves of the losses with the RLVR teacher; information of each
    # problem and a rule
)
SCORE_COLUMNS = ("teacher", "objective", "length", "score", "n", "before", "truncated_fraction")
VERDICT_COLUMNS = ("verdict", "claim", "grid", "effect", "smallest", "n", "declared")


def results(made: Sequence[Part]) -> str:
    """Every primary claim with its verdict and the figures of the front page, as Markdown; of grids
    without claims the final scores.
    """
    tables = (
        [_narrowed(claims_table(made, primary=True), VERDICT_COLUMNS)]
        if any(part.report.verdicts for part in made)
        else []
    )
    for part in made if not tables else ():
        tables += [
            _narrowed(table, SCORE_COLUMNS)
            for table in part.report.tables.values()
            if any(c.key == "score" for c in table.columns)
        ]
    pages = [to_markdown(page).replace("## ", "### ", 1).rstrip() for page in tables]
    figures = [
        figure for part in made for figure in part.report.figures if figure.page.number in SHOWN
    ]
    return "\n\n".join(
        [
            *pages,
            *(f"![{figure.page.title}](results/figures/{figure.name}.png)" for figure in figures),
        ]
    )


def of(results_folder: Path) -> Path | None:
    """The README beside a results folder, if it asks for this part."""
    page = results_folder.resolve().parent / "README.md"
    return page if page.is_file() and BEGIN in page.read_text(encoding="utf-8") else None


def rewrite(page: Path, made: Sequence[Part]) -> None:
    page.write_text(_rewritten(page, made), encoding="utf-8", newline="\n")


def differences(page: Path, made: Sequence[Part]) -> list[str]:
    """One line when the README shows other results than the records give."""
    same = page.read_text(encoding="utf-8") == _rewritten(page, made)
    return [] if same else [f"{page}: its results are not what the records give"]


def _rewritten(page: Path, made: Sequence[Part]) -> str:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise RecordMismatch(
            f"{page} has {BEGIN} without {END}", hint="put it back on a line of its own"
        )
    return f"{before}{BEGIN}\n{results(made)}\n{END}{after}"


def _narrowed(table: Table, keys: tuple[str, ...]) -> Table:
    kept = [i for i, column in enumerate(table.columns) if column.key in keys]
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows)
