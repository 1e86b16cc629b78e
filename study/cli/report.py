"""`study report`: everything over all grids that have records - their pages, the report as Markdown
and as one HTML file, the README.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.analyze import OutOption, RecordsOption, ResultsOption, ScaleOption, folders
from study.cli.console import say
from study.errors import RecordMismatch

if TYPE_CHECKING:
    from analysis.pages.report import Part


def report(
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    out: OutOption = None,
    committed: Annotated[
        bool,
        typer.Option("--committed", help="read results/records and write results/ and the README"),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="write nothing; fail when committed pages are not what the records give"
        ),
    ] = False,
) -> None:
    """Write the report on all grids: claims first, then settings, then provenance."""
    from analysis.pages import readme
    from analysis.pages.all_grids import differences, write
    from analysis.pages.overview import parts

    source, target = folders(results, records, out, committed or check)
    made = parts(source, scale)
    front = readme.of(target) if committed or check else None
    if check:
        found = differences(made, target)
        found += readme.differences(front, made) if front else []
        _refuse(found, source, target)
        return
    write(made, target)
    if front:
        readme.rewrite(front, made)
    _say(made, target)


def _refuse(lines: list[str], source: Path, target: Path) -> None:
    if lines:
        hint = f"rebuild them: study report --committed  (records: {source})"
        raise RecordMismatch(
            "\n".join([f"{len(lines)} committed pages are not what the records give:", *lines]),
            hint=hint,
        )
    say(f"every page below {target} is what the records in {source} give", "good")


def _say(made: "list[Part]", target: Path) -> None:
    from analysis.pages.overview import scored
    from study.cli.analyze import show_scorecard

    show_scorecard(scored(made))
    for part in made:
        missing = (
            f", {len(part.evidence.missing)} runs not there yet" if part.evidence.missing else ""
        )
        say(
            f"{part.evidence.grid}: {len(part.report.figures)} figures, {len(part.report.verdicts)}"
            f" claims{missing}"
        )
    say(f"wrote {target / 'report.md'} and {target / 'report.html'}: every claim with its controls")
