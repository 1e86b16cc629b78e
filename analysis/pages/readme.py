"""The results part of the README: written from the committed records, between two marks, so that no
number there is typed by hand.
"""

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.claims.decide import NOT_TESTABLE
from analysis.claims.declared import MEANING
from analysis.claims.scorecard import tally
from analysis.pages.overview import claims_table, scored
from analysis.pages.render import Table, to_markdown
from analysis.pages.report import Part
from study.errors import RecordMismatch

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
WIDTH = 100  # of a line of the README
SCORE_COLUMNS = ("teacher", "objective", "length", "score", "n", "before", "truncated_fraction")
VERDICT_COLUMNS = ("verdict", "claim", "grid", "effect", "smallest", "n", "declared")


def results(made: Sequence[Part]) -> str:
    """The scorecard and where the rest is; the primary claims where no finding has a verdict, the
    final scores where there are no claims.
    """
    rows = scored(made)
    if rows:
        picture = "![The paper's findings at this scale](results/figures/scorecard.png)"
        return f"{picture}\n\n{_sentence(made, tally(rows))}"
    tables = _claims(made) or _scores(made)
    return "\n\n".join(to_markdown(table).replace("## ", "### ", 1).rstrip() for table in tables)


def _sentence(made: Sequence[Part], counted: str) -> str:
    runs = len({row["run"] for part in made for row in part.evidence.run_rows})
    bases = len({seed for part in made for seed in part.evidence.bases})
    claims = [verdict for part in made for verdict in part.report.verdicts if verdict.n]
    untested = sum(verdict.word == NOT_TESTABLE for verdict in claims)
    limits = (
        f" {untested} of them cannot be tested in this lab's worlds: each has its reason, and what"
        " world would test it."
        if untested
        else ""
    )
    said = (
        f"**{counted}.** From {runs} runs of {len(made)} grids, {bases} base students, scale"
        f" {made[0].evidence.scale}. [The report](results/report.md) has the same as text and all"
        f" {len(claims)} claims with their controls.{limits}"
    )
    return textwrap.fill(said, WIDTH, break_long_words=False, break_on_hyphens=False)


def _labels(made: Sequence[Part]) -> str:
    """How many claims with a measurement have each label, the strongest first."""
    counts = Counter(
        verdict.declared.word for part in made for verdict in part.report.verdicts if verdict.n
    )
    return "; ".join(f"{counts[word]} {word}" for word in MEANING if counts[word])


def _claims(made: Sequence[Part]) -> list[Table]:
    if not any(part.report.verdicts for part in made):
        return []
    return [_narrowed(claims_table(made, primary=True), VERDICT_COLUMNS)]


def _scores(made: Sequence[Part]) -> list[Table]:
    return [
        _narrowed(table, SCORE_COLUMNS)
        for part in made
        for table in part.report.tables.values()
        if any(column.key == "score" for column in table.columns)
    ]


def of(results_folder: Path) -> Path | None:
    """The README next to a results folder, if it asks for this part."""
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
