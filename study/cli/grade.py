"""`study grade FILE`: grade completions from any framework; needs no grid and no results folder."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from study.cli import console
from study.cli import grade_files as files
from study.data import completions
from study.data.completions import Fields, Row
from study.errors import PrerequisiteError, SpecError
from study.evaluate.scores import Summary, summarise
from study.grading.boxed import Outcome
from study.grading.golden import golden_failure
from study.grading.registry import Grade, Grader, Sample, open_grader
from study.spec.recipe.user_code import is_code

# completions graded together: enough to keep every worker busy between two looks at the clock
CHUNK = 256


def grade(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Completions and gold answers as JSON Lines (.gz too), from any framework.",
        ),
    ],
    completion_field: Annotated[
        str | None,
        typer.Option(
            help="Column of the completions: a name or dotted path. Guessed if not given."
        ),
    ] = None,
    answer_field: Annotated[
        str | None,
        typer.Option(help="Column of the gold answers, as above. Guessed if not given."),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option(
            help="Rows with the same id are samples of one problem. Guessed if not given."
        ),
    ] = None,
    truncated_field: Annotated[
        str | None,
        typer.Option(help="Column with true or a finish reason (length). Guessed if not given."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write one outcome per row: FILE.jsonl or FILE.csv."),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Write what the screen shows as FILE.json.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace --output and --summary files that exist.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes for symbolic comparisons; one per core by default."),
    ] = None,
    deadline: Annotated[
        float, typer.Option(min=1, help="Processor seconds for one symbolic comparison.")
    ] = 5.0,
    grader: Annotated[
        str, typer.Option(help="math-1; choice-1: letters of choices; boxed-1: the lab's grader.")
    ] = "math-1",
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Run the symbolic tier even where a cheaper one decided; note disagreements.",
        ),
    ] = False,
    skip_malformed: Annotated[
        bool,
        typer.Option("--skip-malformed", help="Skip lines that cannot be read, and count them."),
    ] = False,
) -> None:
    """Grade completions against gold answers: outcomes, avg@k, pass@k and maj@k.

    Each is shown strict and relaxed.
    """
    files.check(output, (".jsonl", ".csv"), "--output", file, force)
    files.check(summary, (".json",), "--summary", file, force)
    columns = completions.fields(
        file,
        completion=completion_field,
        answer=answer_field,
        key=id_field,
        truncated=truncated_field,
    )
    console.say(_columns_line(columns))
    skipped: list[str] = []
    with open_grader(
        grader, workers=workers or _cores(), deadline_s=deadline, audit=audit
    ) as judge:
        graded = [
            each
            for chunk in _chunks(_progress(file, columns, skipped if skip_malformed else None))
            for each in _grade(judge, chunk)
        ]
    if not graded:
        raise PrerequisiteError(
            f"{file}: no line could be read", hint=skipped[0] if skipped else ""
        )
    totals = summarise(_problems(graded))
    _show(file, totals, judge.version, skipped)
    if is_code(grader):
        _warn_of_golden_set(judge, grader)
    else:
        _explain_band(totals)
    if output is not None:
        files.write_outcomes(output, graded, judge.version)
    if summary is not None:
        files.write_summary(summary, totals, judge.version, file, columns, len(skipped))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _columns_line(columns: Fields) -> str:
    named = {
        "completion": columns.completion,
        "answer": columns.answer,
        "id": columns.id,
        "truncated": columns.truncated,
    }
    shown = [
        f"{name} {path!r}{' (guessed)' if name in columns.guessed else ''}"
        for name, path in named.items()
        if path
    ]
    absent = [f"no {name}" for name in ("id", "truncated") if named[name] is None]
    return f"columns: {', '.join([*shown, *absent])}"


def _progress(file: Path, columns: Fields, skipped: list[str] | None) -> Iterator[Row]:
    """Yield the rows; a terminal shows the progress.

    skipped: collects the malformed lines; None: the first one is raised as PrerequisiteError.
    """
    started, total, number = time.monotonic(), max(file.stat().st_size, 1), 0
    for row, read in completions.rows(file, columns):
        if isinstance(row, PrerequisiteError):
            if skipped is None:
                raise row
            skipped.append(row.message)
            continue
        yield row
        number += 1
        spent = time.monotonic() - started
        console.status(
            f"{number} rows, {read / total:.0%}, about"
            f" {console.duration(spent * (total - read) / read)} left"
        )


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if sum(len(each.completions) for each in chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _grade(judge: Grader, chunk: list[Row]) -> files.Graded:
    samples = [
        Sample(text, row.answer, cut)
        for row in chunk
        for text, cut in zip(row.completions, row.truncated, strict=True)
    ]
    try:
        results = iter(judge.grade_many(samples))
    except ValueError as error:
        what = (
            f"lines {chunk[0].line} to {chunk[-1].line}: {judge.version} cannot take a gold answer:"
            f" {error}"
        )
        raise PrerequisiteError(what, hint="another --grader, or --answer-field NAME") from error
    # the completions may be gigabytes: drop them once they are graded
    without_texts = [(replace(row, completions=()), len(row.completions)) for row in chunk]
    return [(row, number, next(results)) for row, size in without_texts for number in range(size)]


def _problems(graded: files.Graded) -> dict[str, list[Grade]]:
    """Group samples by problem. Rows with the same id must have the same gold answer."""
    found: dict[str, list[Grade]] = {}
    wanted: dict[str, Row] = {}
    for row, _, result in graded:
        first = wanted.setdefault(row.id, row)
        if first.answer != row.answer:
            problem = (
                f"lines {first.line} and {row.line} have the same id {row.id!r} and different gold"
                " answers"
            )
            raise PrerequisiteError(
                problem, hint="name the column that tells problems apart: --id-field NAME"
            )
        found.setdefault(row.id, []).append(result)
    return found


def _show(file: Path, summary: Summary, version: str, skipped: list[str]) -> None:
    console.say(
        f"{file}: {summary.problems} problems, k = {summary.k}, {summary.samples} completions,"
        f" grader {version}"
    )
    if skipped:
        console.warn(f"{len(skipped)} malformed lines left out, the first: {skipped[0]}")
    console.say()
    measures = [
        (measure.name, _percent(measure.strict), _percent(measure.relaxed))
        for measure in summary.measures
    ]
    console.table(("measure", "strict", "relaxed"), measures)
    console.say()
    rows = [
        (str(outcome), strict, relaxed) for outcome, (strict, relaxed) in summary.counts.items()
    ]
    console.table(("outcome", "strict", "relaxed"), rows, right=(1, 2))
    _explain(summary)


def _explain(summary: Summary) -> None:
    console.say()
    tiers = ", ".join(f"{tier} {number}" for tier, number in sorted(summary.tiers.items()))
    console.say(f"decided by: {tiers or 'no comparison'}", "dim")
    if summary.most > 1:
        console.say(
            "maj: tied answers share the point; completions without an answer cast no vote", "dim"
        )
    if summary.problems > 1:
        console.say("[...]: 95% bootstrap over problems", "dim")
    if summary.disagreements:
        console.warn(
            f"{summary.disagreements} completions on which the tiers disagree: column disagreement"
            " of --output"
        )


def _warn_of_golden_set(judge: Grader, grader: str) -> None:
    try:
        held = golden_failure(judge, grader)
    except SpecError as error:  # no golden set yet: the grades are shown all the same
        held = error.message
    if held:
        console.warn(f"{grader}: {held}")


def _explain_band(summary: Summary) -> None:
    """Explain the two ends of the band; user-supplied graders have none."""
    console.say(
        "strict: the last \\boxed{...}; relaxed: also answers stated without a box, 50 for 50%; the"
        " other end of a band",
        "dim",
    )
    silent = summary.counts[Outcome.unparsed][0]
    if 2 * silent > summary.samples:
        console.warn(
            f"{silent} of {summary.samples} completions have no \\boxed{{...}}: what they state"
            " without one is in the relaxed column"
        )


def _percent(interval: Any) -> str:
    """Format a mean with its interval.

    Problems that all score alike give an interval of no width. That is not certainty: none is
    shown.
    """
    mean = f"{100 * interval.mean:.1f}%"
    if interval.low == interval.high:
        return mean
    return f"{mean}  [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
