"""`study analyze`, `study table` and `study figure`: pages from records, in seconds and without the
training stack.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.console import is_terminal, say, styled, warn, width
from study.cli.options import parse_seeds
from study.errors import RecordMismatch, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.claims.decide import Verdict
    from analysis.claims.scorecard import Scored
    from analysis.evidence.frames import Evidence
    from analysis.pages.render import Table
    from analysis.pages.report import Report

ResultsOption = Annotated[Path, typer.Option("--results", help="the results folder")]
RecordsOption = Annotated[
    Path | None,
    typer.Option("--records", help="a folder of records instead of those in the results folder"),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", help="where the pages go; results/analysis, or results for committed records"
    ),
]
ScaleOption = Annotated[
    str, typer.Option("--scale", help="what the names of the grid are bound to")
]
_COLOURS = {
    "REPRODUCED": "good",
    "CONTRADICTED": "bad",
    "UNDECIDED": "warn",
    "INVALID": "bad",
    "REPORTED": "dim",
}


def analyze(
    grid: Annotated[
        str, typer.Option("--grid", "-g", help="grid: a path, grids/NAME.yaml or NAME")
    ] = "math",
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    out: OutOption = None,
    seeds: Annotated[
        str | None, typer.Option(help="seeds, e.g. 0,1 or 0-4; the grid's own by default")
    ] = None,
    core: Annotated[bool, typer.Option("--core", help="the grid's core cells and seeds")] = False,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="work with the runs there are; the others are named, never counted"
        ),
    ] = False,
    committed: Annotated[
        bool, typer.Option("--committed", help="read results/records and write results/")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="write nothing; fail when committed pages are not what the records give"
        ),
    ] = False,
    curves: Annotated[
        bool, typer.Option("--curves", help="draw the training curves on the terminal")
    ] = False,
    metrics_page: Annotated[
        Path | None, typer.Option(help="write the page of metric definitions there, and stop")
    ] = None,
) -> None:
    """Rebuild tables, figures and verdicts of a grid from its records, and show them."""
    if metrics_page is not None:
        _write_metrics_page(metrics_page)
        return
    from analysis.pages.report import build, differences

    source, target = folders(results, records, out, committed or check)
    evidence = load_evidence(source, grid, scale, seeds=seeds, core=core, partial=partial)
    report = build(evidence)
    if check:
        _refuse_differences(differences(report, target), source, target)
        return
    _write(report, evidence, target)
    if curves:
        show_curves(evidence)
    show(report, evidence)


def table(
    number: Annotated[
        str, typer.Argument(metavar="N", help="below 20: the paper's number; from 20 on: our own")
    ],
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
) -> None:
    """Show table N from the committed records."""
    from analysis.pages.numbered import table_page
    from analysis.pages.render import to_markdown
    from analysis.pages.tables import build

    page = table_page(number)
    evidence = load_evidence(
        records or results / "records", page.grid, page.scale, needs_records=page.kind != "settings"
    )
    say(to_markdown(build(page, evidence)).rstrip())


def figure(
    number: Annotated[
        str, typer.Argument(metavar="N", help="below 20: the paper's number; from 20 on: our own")
    ],
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    out: OutOption = None,
) -> None:
    """Draw figure N from the committed records."""
    from analysis.pages.numbered import figure_page
    from analysis.pages.report import draw_page, write_figure

    page = figure_page(number)
    evidence = load_evidence(records or results / "records", page.grid, page.scale)
    drawn = draw_page(number, page, evidence)
    say(f"Figure {number}. {page.title}", "bold")
    for path in write_figure(drawn, evidence, out or results / "analysis"):
        say(f"  {path}")


def folders(
    results: Path, records: Path | None, out: Path | None, committed: bool
) -> tuple[Path, Path]:
    """Where records are read and pages are written."""
    if committed:
        return records or results / "records", out or results
    return records or results / "runs", out or results / "analysis"


def load_evidence(
    source: Path,
    grid: str,
    scale: str,
    *,
    seeds: str | None = None,
    core: bool = False,
    partial: bool = False,
    needs_records: bool = True,
) -> "Evidence":
    from analysis.evidence.frames import load, require_complete

    evidence = load(source, grid=grid, scale=scale, seeds=parse_seeds(seeds), core=core)
    if needs_records and not (partial and len(evidence.runs)):
        require_complete(evidence, source)
    return evidence


def show(report: "Report", evidence: "Evidence") -> None:
    """The grid's tables of scores and its verdicts on the screen."""
    from analysis.claims.verdicts import summary_table

    show_scorecard(report.scorecard)
    for scores in report.tables.values():
        if any(column.key == "score" for column in scores.columns):
            show_table(scores)
    if report.verdicts:
        show_table(summary_table(report.verdicts, evidence))
        _show_next_steps(report.verdicts)
    show_table(report.costs)


def show_scorecard(rows: "Sequence[Scored]") -> None:
    """Findings of the paper with a strip and a word each; nothing where none is decided here."""
    from analysis.claims.scorecard_text import to_text

    if rows:
        say()
        say("The paper's findings at this scale", "bold")
        paint = {"holds": "good", "does not appear": "bad", "control failed": "bad"}
        shown = to_text(
            rows, min(width(), 100), lambda text, word: styled(text, paint.get(word, "warn"))
        )
        say(shown)


def show_curves(evidence: "Evidence") -> None:
    from analysis.pages.terminal import curves

    say(curves(evidence, width=min(width(), 100), colour=is_terminal()))


def show_table(page: "Table") -> None:
    from analysis.pages.render import to_text

    say()
    say(page.heading, "bold")
    say(_coloured(to_text(page)))
    for note in page.notes:
        say(f"  {note}", "dim")


def _coloured(text: str) -> str:
    for word, style in _COLOURS.items():
        text = text.replace(word, styled(word, style))
    return text


def _show_next_steps(verdicts: "tuple[Verdict, ...]") -> None:
    """What would decide the undecided, each way once."""
    steps = dict.fromkeys(verdict.next_step for verdict in verdicts if verdict.next_step)
    for step in steps:
        undecided = [verdict.claim.id for verdict in verdicts if verdict.next_step == step]
        say(f"  {len(undecided)} undecided: {step}")


def _write(report: "Report", evidence: "Evidence", target: Path) -> None:
    from analysis.pages.report import write

    written = write(report, evidence, target)
    say(
        f"{len(written)} files in {target}: {len(report.tables)} tables, {len(report.figures)}"
        f" figures, {len(report.verdicts)} verdicts"
    )


def _refuse_differences(lines: list[str], source: Path, target: Path) -> None:
    if lines:
        hint = f"rebuild them: study analyze --committed  (records: {source})"
        raise RecordMismatch(
            "\n".join([f"{len(lines)} committed pages are not what the records give:", *lines]),
            hint=hint,
        )
    say(f"every page below {target} is what the records in {source} give", "good")


def _write_metrics_page(path: Path) -> None:
    from analysis.evidence.definitions import metrics_page

    if not path.parent.is_dir():
        raise SpecError(
            f"there is no folder {path.parent}",
            hint="name a file in a folder that exists, e.g. docs/metrics.md",
        )
    path.write_text(metrics_page(), encoding="utf-8", newline="\n")
    warn(f"wrote {path}")
