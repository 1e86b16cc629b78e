"""Read rows of graded completions: the problem, what was right, how long, and the settings."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.data.lines import parse_object, stream_lines
from study.data.values import id_of, kind
from study.errors import PrerequisiteError

ID = ("id", "problem_id", "question_id", "unique_id", "doc_id", "task_id", "uid")
RIGHT = ("outcome", "outcomes", "correct", "is_correct", "score", "reward")
TOKENS = ("tokens", "num_tokens", "completion_tokens")
JsonRow = dict[str, Any]


@dataclass
class GradedProblem:
    right: float = 0.0
    samples: int = 0
    tokens: list[float] = field(default_factory=list[float])
    right_tokens: list[float] = field(default_factory=list[float])


def take(problems: dict[str, GradedProblem], row: JsonRow, where: str) -> None:
    key, column = (
        next((name for name in names if row.get(name) not in (None, "")), None)
        for names in (ID, RIGHT)
    )
    if key is None or column is None:
        what = "id" if key is None else "outcome"
        hint = (
            f"every row needs an id ({', '.join(ID[:3])}) and an outcome ({', '.join(RIGHT[:4])})"
        )
        ungraded = "completions without one: study grade FILE --output OUT.jsonl"
        raise PrerequisiteError(
            f"{where}: no {what}; there are: {', '.join(row) or 'no columns'}",
            hint=f"{hint}; {ungraded}",
        )
    problem = problems.setdefault(id_of(row[key], where, key), GradedProblem())
    found = row[column]
    rights = [
        _right(each, where, column) for each in (found if isinstance(found, list) else [found])
    ]
    problem.right += sum(rights)
    problem.samples += len(rights)
    lengths = _lengths(row, len(rights), where)
    problem.tokens += lengths
    problem.right_tokens += [
        length for length, right in zip(lengths, rights, strict=False) if right == 1.0
    ]


def forgiven(row: JsonRow, where: str) -> JsonRow:
    """The relaxed outcome in the place of the strict one."""
    if row.get("relaxed") in (None, ""):
        raise PrerequisiteError(
            f"{where}: no relaxed outcome",
            hint="leave --relaxed out; study grade --output and study regrade write them",
        )
    return {
        **{key: value for key, value in row.items() if key not in RIGHT},
        "outcome" + "s" * isinstance(row["relaxed"], list): row["relaxed"],
    }


def _right(value: Any, where: str, column: str) -> float:
    """1 for right. Text is an outcome's name or a number, as CSV spells it.

    PrerequisiteError for null, NaN, an object or a list: they say nothing of an outcome.
    """
    if isinstance(value, bool):
        return float(value)
    text = value.strip().casefold() if isinstance(value, str) else ""
    if text in ("true", "false"):
        return float(text == "true")
    if column.startswith("outcome") and text and not _is_number(text):
        return float(text == "correct")
    number = float(value) if isinstance(value, int | float) or _is_number(text) else -1.0
    if not 0.0 <= number <= 1.0:
        shown = value if isinstance(value, str | int | float) else kind(value)
        raise PrerequisiteError(
            f"{where}: {column} is {shown!r}", hint="true, false or a number between 0 and 1"
        )
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lengths(row: JsonRow, samples: int, where: str) -> list[float]:
    found = next((row[name] for name in TOKENS if row.get(name) not in (None, "")), None)
    if found is None:
        return []
    try:
        lengths = [float(each) for each in (found if isinstance(found, list) else [found])]
    except (TypeError, ValueError) as error:
        raise PrerequisiteError(
            f"{where}: tokens is {found!r}", hint="a number for each completion"
        ) from error
    if len(lengths) != samples:
        raise PrerequisiteError(
            f"{where}: {len(lengths)} lengths for {samples} outcomes",
            hint="one for each completion",
        )
    return lengths


def head_and_rest(path: Path) -> tuple[JsonRow, Iterator[tuple[int, JsonRow]]]:
    lines = _lines(path)
    try:
        _, first = next(lines)
    except StopIteration:
        raise PrerequisiteError(
            f"{path} is empty", hint="one outcome per row, with the id of its problem"
        ) from None
    return first, lines


def _lines(path: Path) -> Iterator[tuple[int, JsonRow]]:
    """Rows of JSON Lines (gzip or not) or CSV, with their line numbers."""
    if path.suffix != ".csv":
        for number, line, _ in stream_lines(path):
            yield number, parse_object(line, f"{path}:{number}")
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (
                (number, dict(row)) for number, row in enumerate(csv.DictReader(file), start=2)
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PrerequisiteError(
            f"{path}: cannot be read ({error})", hint="JSON Lines or CSV in UTF-8, also gzipped"
        ) from error
