"""Write the files of `study grade`: outcomes as JSON Lines or CSV, the summary as JSON."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.cli import console
from study.data.completions import Fields, Row
from study.errors import SpecError
from study.evaluate.scores import Summary
from study.grading.math.extraction import reference
from study.grading.registry import Grade
from study.record.store import atomic_write

FORMAT = "grades-1"
# a row without its texts, the index of the sample in it, the result
Graded = list[tuple[Row, int, Grade]]


def check(
    target: Path | None, suffixes: tuple[str, ...], option: str, source: Path, force: bool
) -> None:
    """Refuse, before any work, an unknown suffix or a file that would be overwritten."""
    if target is None:
        return
    if target.suffix not in suffixes:
        what = f"{target}: {option} is written as {' or '.join(suffixes)}"
        raise SpecError(what, hint=f"{option} {target.with_suffix(suffixes[0])}")
    if target.resolve() == source.resolve():
        raise SpecError(f"{target} is the file that is graded", hint=f"{option} another file")
    if target.is_dir() or (target.exists() and not force):
        raise SpecError(
            f"{target} exists", hint=f"replace it with --force, or {option} another file"
        )


def write_outcomes(output: Path, graded: Graded, version: str) -> None:
    rows = [_line(row, number, result, version) for row, number, result in graded]
    text = io.StringIO()
    if output.suffix == ".csv":
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    _write(output, text.getvalue())
    console.say(f"{len(rows)} outcomes in {output}")


def write_summary(
    target: Path, totals: Summary, version: str, source: Path, columns: Fields, skipped: int
) -> None:
    """Write the summary in fractions, not points.

    Intervals: 95% bootstrap over problems; null for a single problem.
    """
    content = {
        "format": FORMAT,
        "file": source.name,
        "grader": version,
        "columns": asdict(columns),
        "problems": totals.problems,
        "samples": totals.samples,
        "k": totals.k,
        "malformed_lines": skipped,
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
        "disagreements": totals.disagreements,
    }
    _write(target, json.dumps(content, indent=1, allow_nan=False) + "\n")
    console.say(f"summary in {target}")


def _write(target: Path, text: str) -> None:
    atomic_write(target, text.encode("utf-8", "backslashreplace"))


def _line(row: Row, number: int, result: Grade, version: str) -> dict[str, Any]:
    return {
        "id": row.id, "sample": number, "outcome": str(result.outcome),
        "relaxed": str(result.relaxed),
        "tier": None if result.tier is None else str(result.tier), "extracted": result.extracted,
        "extracted_relaxed": result.extracted_relaxed, "reference": reference(row.answer),
        "disagreement": result.disagreement,
        "grader": version, "line": row.line,
    }  # fmt: skip
