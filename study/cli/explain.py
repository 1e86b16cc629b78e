"""`study explain RUN`: describe one run from its record: what happened, and why it collapsed."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.pages.html import page
from analysis.pages.story import story
from study.cli.console import say
from study.cli.evidence import RecordsOption
from study.cli.options import ResultsOption
from study.errors import IncompleteResults, SpecError
from study.record.store import read_record, record_paths


def explain(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="a run id, or the end of one: 69ba8eb9-s0")
    ],
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="write the page there: FILE.md or FILE.html"),
    ] = None,
) -> None:
    """Describe one run from its record: what happened, when and why it collapsed."""
    record = read_record(
        _path_of(run, [records] if records else [results / "runs", results / "records"])
    )
    text = story(record)
    if output is None:
        say(text.rstrip())
        return
    if output.suffix not in (".md", ".html"):
        raise SpecError(
            f"{output}: a page is FILE.md or FILE.html",
            hint=f"study explain {run} --output {output.stem}.html",
        )
    if output.suffix == ".html":
        text = page(text, title=record.run)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8", newline="\n")
    say(f"wrote {output}")


def _path_of(run: str, folders: list[Path]) -> Path:
    """Find the record of a run by its id or the end of it; new runs before committed ones."""
    for folder in folders:
        found = {
            path.parent.name if path.name == "record.json" else path.stem: path
            for path in record_paths(folder)
        }
        matching = [run] if run in found else [name for name in found if name.endswith(run)]
        if len(matching) > 1:
            raise SpecError(
                f"{run!r} is the end of {len(matching)} runs",
                hint=f"name one of: {', '.join(matching[:6])}",
            )
        if matching:
            return found[matching[0]]
    looked = " or ".join(str(folder) for folder in folders)
    raise IncompleteResults(
        f"no record of a run {run!r} in {looked}", hint="ids of runs: study plan --grid GRID"
    )
