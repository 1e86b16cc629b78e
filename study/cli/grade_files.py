"""Write the files of `study grade`: the columns of the outcomes, and the summary as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.cli import console
from study.cli.grade_outcomes import unfinished
from study.cli.grade_rows import Graded, Survey
from study.cli.grade_screen import disagreements, opinion_counts, reasons
from study.data.completions import Fields
from study.errors import SpecError
from study.evaluate.scores import Summary
from study.grading.math.extraction import reference
from study.grading.registry import Grade
from study.grading.second_opinion import MATH_VERIFY, Opinion, uncompared
from study.record.store import atomic_write

FORMAT = "grades-1"


def check(
    target: Path | None, suffixes: tuple[str, ...], option: str, source: Path, force: bool
) -> None:
    """Refuse, before any work, an unknown suffix or a file that would be overwritten.

    An unfinished outcome file is not overwritten; the run continues it.
    """
    if target is None:
        return
    if target.suffix not in suffixes:
        what = f"{target}: {option} is written as {' or '.join(suffixes)}"
        raise SpecError(what, hint=f"{option} {target.with_suffix(suffixes[0])}")
    if target.resolve() == source.resolve():
        raise SpecError(f"{target} is the file that is graded", hint=f"{option} another file")
    if target.is_dir() or (target.exists() and not force and not unfinished(target).exists()):
        raise SpecError(
            f"{target} exists", hint=f"replace it with --force, or {option} another file"
        )


def outcome_line(graded: Graded, version: str) -> dict[str, Any]:
    """Return one row of the outcome file; with the columns of the second opinion only if there is
    one.
    """
    row, grade = graded.row, graded.grade
    line = {
        "id": row.id,
        "sample": graded.number,
        "outcome": str(grade.outcome),
        "relaxed": str(grade.relaxed),
        "tier": None if grade.tier is None else str(grade.tier),
        "extracted": grade.extracted,
        "extracted_relaxed": grade.extracted_relaxed,
        "reference": reference(row.answer),
        "disagreement": grade.disagreement,
        "percent_only": grade.percent_only,
        "grader": version,
        "line": row.line,
    }
    return line if graded.opinion is None else line | _opinion(grade, graded.opinion)


def _opinion(grade: Grade, opinion: Opinion) -> dict[str, str]:
    words = {True: "correct", False: "wrong", None: "no verdict"}
    return {
        "second_opinion": words[opinion.equal],
        "second_reading": opinion.reading,
        "not_compared": uncompared(grade, opinion),
    }


def write_summary(
    target: Path,
    totals: Summary,
    version: str,
    source: Path,
    columns: Fields,
    found: Survey,
    graded: Sequence[Graded],
) -> None:
    """Write the summary in fractions, not points.

    Intervals: 95% bootstrap over problems; null for a single problem.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "file": source.name,
        "grader": version,
        "columns": asdict(columns),
        "problems": totals.problems,
        "samples": totals.samples,
        "k": totals.k,
        "malformed_lines": len(found.skipped),
        "measures": {
            m.name: {"strict": asdict(m.strict), "relaxed": asdict(m.relaxed)}
            for m in totals.measures
        },
        "outcomes": {
            str(o): {"strict": strict, "relaxed": relaxed}
            for o, (strict, relaxed) in totals.counts.items()
        },
        "decided_by": dict(sorted(totals.tiers.items())),
        "correct_relaxedly_alone": totals.band,
        "percent_sign_alone": totals.percent_only,
        "gold_answers_as_floats": found.floats,
        "disagreements": totals.disagreements,
    }
    if any(each.opinion for each in graded):
        content["second_opinion"] = {
            "by": MATH_VERIFY,
            "counts": opinion_counts(graded),
            "not_compared": reasons(graded),
            "disagreements": [outcome_line(each, version) for each in disagreements(graded)],
        }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    atomic_write(target, text.encode("utf-8", "backslashreplace"))
    console.say(f"summary in {target}")
