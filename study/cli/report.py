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
    from analysis.pages.overview import parts

    source, target = folders(results, records, out, committed or check)
    made = parts(source, scale)
    front = readme.of(target) if committed or check else None
    if check:
        _refuse(_differences(made, target, front), source, target)
        return
    _write(made, target)
    if front:
        readme.rewrite(front, made)
    _say(made, target)


def _write(made: "list[Part]", target: Path) -> None:
    from analysis.pages import report as pages
    from analysis.pages.html import digest_of, page
    from analysis.pages.overview import markdown

    for part in made:
        pages.write(part.report, part.evidence, target)
    text = markdown(made)
    (target / "report.md").write_text(text, encoding="utf-8", newline="\n")
    whole = page(
        text,
        title="On-policy distillation: report",
        folder=target,
        digest=digest_of(text, _plotted(made)),
    )
    (target / "report.html").write_text(whole, encoding="utf-8", newline="\n")


def _plotted(made: "list[Part]") -> dict[str, str]:
    return {figure.name: figure.csv for part in made for figure in part.report.figures}


def _differences(made: "list[Part]", target: Path, front: Path | None) -> list[str]:
    """One line per file that is not what the records give; the HTML is compared by what it was made
    from.
    """
    from analysis.pages import readme
    from analysis.pages import report as pages
    from analysis.pages.html import digest_of, made_from
    from analysis.pages.overview import markdown

    found = [line for part in made for line in pages.differences(part.report, target)]
    text, written, whole = markdown(made), target / "report.md", target / "report.html"
    if not written.is_file() or written.read_text(encoding="utf-8") != text:
        found.append(f"{written}: differs from what the records give")
    if not whole.is_file() or made_from(whole) != digest_of(text, _plotted(made)):
        found.append(f"{whole}: made from other text or data than the records give")
    return sorted(set(found)) + (readme.differences(front, made) if front else [])


def _refuse(lines: list[str], source: Path, target: Path) -> None:
    if lines:
        hint = f"rebuild them: study report --committed  (records: {source})"
        raise RecordMismatch(
            "\n".join([f"{len(lines)} committed pages are not what the records give:", *lines]),
            hint=hint,
        )
    say(f"every page below {target} is what the records in {source} give", "good")


def _say(made: "list[Part]", target: Path) -> None:
    from analysis.pages.overview import claims_table
    from study.cli.analyze import show_table

    if any(part.report.verdicts for part in made):
        show_table(claims_table(made))
    for part in made:
        missing = (
            f", {len(part.evidence.missing)} runs not there yet" if part.evidence.missing else ""
        )
        say(
            f"{part.evidence.grid}: {len(part.report.figures)} figures, {len(part.report.verdicts)}"
            f" claims{missing}"
        )
    say(f"wrote {target / 'report.md'} and {target / 'report.html'}")
