"""Load evidence and show its tables, for the verbs that report."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from analysis.claims.rules import VERSIONS, Rules
from analysis.claims.scorecard import Scored
from analysis.claims.scorecard_text import to_text as scorecard_text
from analysis.claims.screening import load_screened
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load, require_complete
from analysis.pages.render import Table, spelled_row
from study.cli.console import say, styled, table, width
from study.cli.options import parse_seeds
from study.errors import RecordMismatch, SpecError

RecordsOption = Annotated[
    Path | None,
    typer.Option("--records", help="A folder of records instead of those in RESULTS."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Output folder; results/analysis, or results for committed records."
    ),
]
RulesOption = Annotated[
    str, typer.Option("--rules", help="Rules of the verdicts: 2, or 1 for the first ones.")
]
NumberArgument = Annotated[
    str, typer.Argument(metavar="N", help="Below 20: the paper's number; from 20 on: our own.")
]
_COLOURS = {
    "REPRODUCED": "good",
    "CONTRADICTED": "bad",
    "UNDECIDED": "warn",
    "INVALID": "bad",
    "REPORTED": "dim",
    "NOT TESTABLE HERE": "dim",
}


def folders(
    results: Path, records: Path | None, out: Path | None, committed: bool
) -> tuple[Path, Path]:
    """Return the folders from which records are read and to which reports are written."""
    if committed:
        return records or results / "records", out or results
    return records or results / "runs", out or results / "analysis"


def rules_named(name: str) -> Rules:
    """Return a version of the rules. Errors: SpecError that names those there are."""
    if name not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise SpecError(f"there are no rules {name!r}", hint=f"--rules one of {known}")
    return VERSIONS[name]


def load_evidence(
    source: Path,
    grid: str,
    scale: str,
    *,
    seeds: str | None = None,
    core: bool = False,
    partial: bool = False,
    needs_records: bool = True,
) -> Evidence:
    chosen = parse_seeds(seeds)
    if chosen is None:
        evidence = load_screened(source, grid, scale, core=core)
    else:
        evidence = load(source, grid=grid, scale=scale, seeds=chosen, core=core)
    if needs_records and not (partial and len(evidence.runs)):
        require_complete(evidence, source)
    return evidence


def show_scorecard(rows: Sequence[Scored]) -> None:
    """Print the paper's findings with a strip and a word each; nothing where none is decided."""
    if not rows:
        return
    paint = {
        "holds": "good",
        "does not appear": "bad",
        "control failed": "bad",
        "this lab cannot tell": "dim",
    }
    say()
    say("The paper's findings at this scale", "bold")
    columns = min(width(), 100)
    say(scorecard_text(rows, columns, lambda text, word: styled(text, paint.get(word, "warn"))))


def show_table(page: Table) -> None:
    """Print a table with its notes. A terminal that is too narrow shows each row as its first two
    cells, with the others below.
    """
    say()
    say(page.heading, "bold")
    headers = [column.title for column in page.columns]
    rows = [[_coloured(cell) for cell in spelled_row(page, row)] for row in page.rows]
    table(headers, rows, head=2, head_names=True)
    for note in page.notes:
        for line in textwrap.wrap(note, width() - 2, break_on_hyphens=False):
            say(f"  {line}", "dim")


def _coloured(text: str) -> str:
    for word, style in _COLOURS.items():
        text = text.replace(word, styled(word, style))
    return text


def refuse_differences(lines: list[str], source: Path, target: Path, verb: str) -> None:
    """Raise RecordMismatch that names each committed file that cannot be rebuilt from the
    records.
    """
    if lines:
        hint = f"rebuild them: study {verb} --committed  (records: {source})"
        raise RecordMismatch(
            "\n".join([f"{len(lines)} committed pages are not what the records give:", *lines]),
            hint=hint,
        )
    say(f"every page below {target} is what the records in {source} give", "good")
