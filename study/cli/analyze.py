"""`study analyze`: build the tables, figures and verdicts of a grid from its records."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from analysis.claims.decide import NOT_TESTABLE, Verdict
from analysis.claims.rules import SECOND
from analysis.claims.verdicts import summary_table
from analysis.evidence.frames import Evidence
from analysis.evidence.metrics_page import metrics_page as metrics_text
from analysis.evidence.reading import each_parsed_once
from analysis.pages.report import Report, build, differences, write
from analysis.pages.style import few_collections
from analysis.pages.terminal import curves as draw_curves
from study.cli.console import is_terminal, say, warn, width
from study.cli.evidence import (
    OutOption,
    RecordsOption,
    RulesOption,
    folders,
    load_evidence,
    refuse_differences,
    rules_named,
    show_scorecard,
    show_table,
)
from study.cli.options import GridOption, ResultsOption, ScaleOption
from study.errors import SpecError


@each_parsed_once()
@few_collections()
def analyze(
    grid: GridOption = "math",
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    out: OutOption = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Only these seeds, e.g. 0,1 or 0-4; the grid's own by default."),
    ] = None,
    core: Annotated[
        bool, typer.Option("--core", help="Only the grid's core cells and seeds.")
    ] = False,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Use the runs that are there; missing ones are named, never counted."
        ),
    ] = False,
    committed: Annotated[
        bool, typer.Option("--committed", help="Read results/records and write results/.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing; fail if committed tables or figures differ from the records.",
        ),
    ] = False,
    curves: Annotated[
        bool, typer.Option("--curves", help="Draw the training curves on the terminal.")
    ] = False,
    rules: RulesOption = SECOND.name,
    metrics_page: Annotated[
        Path | None, typer.Option(help="Write the page of metric definitions there, and stop.")
    ] = None,
) -> None:
    """Rebuild tables, figures and verdicts of a grid from its records, and show them."""
    if metrics_page is not None:
        _write_metrics_page(metrics_page)
        return
    chosen = rules_named(rules)
    source, target = folders(results, records, out, committed or check)
    evidence = load_evidence(source, grid, scale, seeds=seeds, core=core, partial=partial)
    report = build(evidence, rules=chosen)
    if check:
        refuse_differences(differences(report, target), source, target, "analyze")
        return
    _write(report, evidence, target)
    if curves:
        show_curves(evidence)
    show(report, evidence)


def show(report: Report, evidence: Evidence) -> None:
    """Print the scorecard, the grid's tables of scores and its verdicts."""
    show_scorecard(report.scorecard)
    for scores in report.tables.values():
        if any(column.key == "score" for column in scores.columns):
            show_table(scores)
    if report.verdicts:
        show_table(summary_table(report.verdicts, evidence))
        _show_next_steps(report.verdicts)
    show_table(report.costs)


def show_curves(evidence: Evidence) -> None:
    say(draw_curves(evidence, width=min(width(), 100), colour=is_terminal()))


def _show_next_steps(verdicts: tuple[Verdict, ...]) -> None:
    """Print what would decide the claims without a result, each step once."""
    kinds = {NOT_TESTABLE: "not testable here"}
    steps = Counter(
        (kinds.get(verdict.word, "undecided"), verdict.next_step)
        for verdict in verdicts
        if verdict.next_step
    )
    for (kind, step), count in steps.items():
        say(f"  {count} {kind}: {step}")


def _write(report: Report, evidence: Evidence, target: Path) -> None:
    written = write(report, evidence, target)
    say(
        f"{len(written)} files in {target}: {len(report.tables)} tables, {len(report.figures)}"
        f" figures, {len(report.verdicts)} verdicts"
    )


def _write_metrics_page(path: Path) -> None:
    if not path.parent.is_dir():
        raise SpecError(
            f"there is no folder {path.parent}",
            hint="name a file in a folder that exists, e.g. docs/metrics.md",
        )
    path.write_text(metrics_text(), encoding="utf-8", newline="\n")
    warn(f"wrote {path}")
