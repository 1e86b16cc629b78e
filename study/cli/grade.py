"""`study grade FILE`: grade completions from any framework; needs no grid and no results folder."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from study.cli import console, grade_files, grade_screen
from study.cli.grade_outcomes import OutcomeFile, identity
from study.cli.grade_rows import Graded, Grading, Survey, survey
from study.data import completions
from study.data.completions import Fields
from study.errors import SpecError, StudyError
from study.evaluate.scores import summarise
from study.grading.golden import golden_failure
from study.grading.registry import Grade, Grader, open_grader
from study.grading.second_opinion import MATH_VERIFY, MathVerify
from study.spec.recipe.user_code import is_code


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
        float, typer.Option(min=1, help="Processor seconds for the formulas of one completion.")
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
    second_opinion: Annotated[
        str | None,
        typer.Option(
            metavar=MATH_VERIFY,
            help="Grade with math-verify too, and list where the two disagree.",
        ),
    ] = None,
) -> None:
    """Grade completions against gold answers: outcomes, avg@k, pass@k and maj@k.

    Each is shown strict and relaxed. Outcomes are written as they are graded: after a stop the same
    command goes on where it ended.
    """
    grade_files.check(output, (".jsonl", ".csv"), "--output", file, force)
    grade_files.check(summary, (".json",), "--summary", file, force)
    if second_opinion not in (None, MATH_VERIFY):
        raise SpecError(
            f"unknown second opinion {second_opinion!r}", hint=f"--second-opinion {MATH_VERIFY}"
        )
    columns = completions.fields(
        file,
        completion=completion_field,
        answer=answer_field,
        key=id_field,
        truncated=truncated_field,
    )
    console.say(grade_screen.columns_line(columns))
    found = survey(file, columns, skip_malformed=skip_malformed)
    processes = workers or _cores()
    second = MathVerify(workers=processes, deadline_s=deadline) if second_opinion else None
    with open_grader(grader, workers=processes, deadline_s=deadline, audit=audit) as judge:
        options = {
            "columns": asdict(columns),
            "grader": judge.version,
            "deadline": deadline,
            "audit": audit,
            "second opinion": second_opinion,
            "skip malformed": skip_malformed,
        }
        outcomes = None
        if output is not None:
            outcomes = OutcomeFile(output, identity(file, options), force=force)
        graded = _graded(Grading(file, judge, second), columns, outcomes, found, judge.version)
    problems: dict[str, list[Grade]] = {}
    for each in graded:
        problems.setdefault(each.row.id, []).append(each.grade)
    totals = summarise(problems)
    grade_screen.show(file, totals, judge.version)
    if is_code(grader):
        _warn_of_golden_set(judge, grader)
    else:
        grade_screen.explain_band(totals)
    grade_screen.show_notes(found, totals)
    if second is not None:
        grade_screen.show_opinions(graded, judge.version)
    if output is not None:
        console.say(f"{len(graded)} outcomes in {output}")
    if summary is not None:
        grade_files.write_summary(summary, totals, judge.version, file, columns, found, graded)
    grade_screen.show_next(file, output)


def _graded(
    grading: Grading, columns: Fields, outcomes: OutcomeFile | None, found: Survey, version: str
) -> list[Graded]:
    """Grade all completions; each outcome is written before the next completion is graded."""
    stored = outcomes.stored if outcomes else []
    if stored:
        console.say(f"{len(stored)} of {found.samples} outcomes are there already: going on")
    graded: list[Graded] = []
    progress = grade_screen.Progress(found.samples, len(stored))
    try:
        for each in grading.grades(columns, stored):
            graded.append(each)
            if len(graded) <= len(stored):
                continue
            if outcomes is not None:
                outcomes.append(grade_files.outcome_line(each, version))
            progress.advance()
    except KeyboardInterrupt:
        if outcomes is not None:
            outcomes.mark()
            console.warn(
                f"{len(graded)} of {found.samples} outcomes are written; the same command goes on"
                " from there"
            )
        raise
    except StudyError:
        if outcomes is not None:
            outcomes.discard()
        raise
    if outcomes is not None:
        outcomes.finish()
    return graded


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _warn_of_golden_set(judge: Grader, grader: str) -> None:
    try:
        held = golden_failure(judge, grader)
    except SpecError as error:  # no golden set yet, but the grades are still shown
        held = error.message
    if held:
        console.warn(f"{grader}: {held}")
