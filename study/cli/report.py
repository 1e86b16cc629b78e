"""`study report`: write the report on all grids that have records, as Markdown and HTML."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.claims.rules import SECOND
from analysis.evidence.reading import each_parsed_once
from analysis.pages import readme
from analysis.pages.all_grids import differences, write
from analysis.pages.overview import scored
from analysis.pages.parts import parts
from analysis.pages.report import Part
from analysis.pages.style import few_collections
from analysis.pages.tables import count
from study.cli.console import say
from study.cli.evidence import (
    OutOption,
    RecordsOption,
    RulesOption,
    folders,
    refuse_differences,
    rules_named,
    show_scorecard,
)
from study.cli.options import ResultsOption, ScaleOption


@each_parsed_once()
@few_collections()
def report(
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    out: OutOption = None,
    rules: RulesOption = SECOND.name,
    committed: Annotated[
        bool,
        typer.Option("--committed", help="Read results/records and write results/ and the README."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; fail if committed pages differ from the records."
        ),
    ] = False,
) -> None:
    """Write the report on all grids: claims first, then settings, then provenance."""
    chosen = rules_named(rules)
    source, target = folders(results, records, out, committed or check)
    made = parts(source, scale, rules=chosen)
    front = readme.of(target) if committed or check else None
    if check:
        found = differences(made, target)
        found += readme.differences(front, made) if front else []
        refuse_differences(found, source, target, "report")
        return
    write(made, target)
    if front:
        readme.rewrite(front, made)
    _say(made, target)


def _say(made: list[Part], target: Path) -> None:
    show_scorecard(scored(made))
    for part in made:
        missing = (
            f", {len(part.evidence.missing)} runs not there yet" if part.evidence.missing else ""
        )
        say(
            f"{part.evidence.grid}: {count(len(part.report.figures), 'figure')},"
            f" {count(len(part.report.verdicts), 'claim')}{missing}"
        )
    say(f"wrote {target / 'report.md'} and {target / 'report.html'}: every claim with its controls")
