"""What is wrong with somebody's own problems, found before anything is spent: counts, and the first
offenders by file and line.

unmapped        a line that is no problem: not JSON, a column that is not there, an empty prompt or
                answer, no answer marker
duplicate id    two rows of one file with one id; or a prompt of the held-out file that training
                would see too
gold answer     an answer that the grader does not accept in its own box
too long        a prompt that leaves no room for a completion in the context of a model (asked where
                its tokenizer is at hand)
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data import jsonl
from study.data.problems import Problem
from study.errors import PrerequisiteError
from study.grading import user as user_grader
from study.grading.boxed import Outcome
from study.grading.registry import POLITE, Grader, grader_code, open_grader
from study.spec.recipe.data import JsonlData
from study.spec.recipe.user_code import is_code
from study.spec.yaml.load import suggestion

SHOWN = 3  # offenders that a finding names
MARKERS = (
    "####",
    "Final Answer:",
    "Final answer:",
    "The answer is",
    "the answer is",
    "Answer:",
)  # before an answer in a worked solution


@dataclass(frozen=True)
class Place:
    """A row: which file (as a person named it) and which line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """Rows with one fault. details: of the first offenders, in their order; hint: what mends it,
    where that is known.
    """

    fault: str
    places: tuple[Place, ...]
    details: tuple[str, ...] = ()
    hint: str = ""

    @property
    def first(self) -> str:
        named = [
            f"{place}{f' ({detail})' if detail else ''}"
            for place, detail in zip(self.places, self.details or [""] * SHOWN, strict=False)
        ]
        return ", ".join(named[:SHOWN]) + (" ..." if len(self.places) > SHOWN else "")


@dataclass(frozen=True)
class Rows:
    """A file as read: the text of every line that is not blank, and the problems that could be made
    of them.
    """

    file: str
    lines: Mapping[Place, str]
    problems: Mapping[Place, Problem]
    findings: tuple[Finding, ...]

    @property
    def columns(self) -> list[str]:
        """What a template of privileged information can ask for: columns that no problem lacks or
        leaves empty.
        """
        rows = [problem.fields() for problem in self.problems.values()]
        return [
            name
            for name in (rows[0] if rows else {})
            if all(row.get(name, "").strip() for row in rows)
        ]


def read_rows(path: Path, data: JsonlData) -> Rows:
    """PrerequisiteError where the file cannot be read at all."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PrerequisiteError(
            f"{path} cannot be read: {error.strerror}",
            hint="--data FILE.jsonl: one JSON object a line",
        ) from error
    except UnicodeDecodeError as error:
        hint = (
            "one JSON object a line, UTF-8; a parquet file: pandas.read_parquet(FILE).to_json(OUT,"
            " orient='records', lines=True)"
        )
        raise PrerequisiteError(f"{path} is not a text file", hint=hint) from error
    lines = {
        Place(path.name, n): line
        for n, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    }
    if not lines:
        raise PrerequisiteError(
            f"{path} has no rows", hint="--data FILE.jsonl: one JSON object a line"
        )
    problems: dict[Place, Problem] = {}
    faults: dict[str, list[Place]] = {}
    for place, line in lines.items():
        try:
            problems[place] = jsonl.problem_of(data, line, str(place), place.line)
        except PrerequisiteError as error:
            faults.setdefault(error.message.removeprefix(f"{place}: "), []).append(place)
    unmapped = [
        Finding(
            f"unmapped: {fault}{_near(fault, lines[places[0]])}",
            tuple(places),
            hint=_column_hint(fault),
        )
        for fault, places in faults.items()
    ]
    return Rows(path.name, lines, problems, (*unmapped, *_repeated_ids(problems)))


def _near(fault: str, line: str) -> str:
    """The column that was probably meant."""
    _, quote, rest = fault.partition("no column '")
    return suggestion(rest.partition("'")[0], list(json.loads(line))) if quote else ""


def _column_hint(fault: str) -> str:
    if "no column" in fault:
        return "name the columns: --prompt-field, --answer-field, --solution-field, --id-field"
    return (
        "--answer-after names a text that stands in every answer" if "answer_after" in fault else ""
    )


def _repeated_ids(problems: Mapping[Place, Problem]) -> Iterable[Finding]:
    seen: dict[str, Place] = {}
    again = [
        (place, p.id) for place, p in problems.items() if seen.setdefault(p.id, place) is not place
    ]
    details, hint = (
        tuple(f"{key!r}, first in {seen[key]}" for _, key in again),
        "another --id-field, or none: then lines are numbered",
    )
    return [Finding("duplicate id", tuple(p for p, _ in again), details, hint)] if again else []


def shared_prompts(train: Rows, held_out: Rows) -> list[Finding]:
    """Held-out prompts that training would see: their score would be a memory."""
    known = {" ".join(p.prompt.split()) for p in train.problems.values()}
    both = tuple(
        place for place, p in held_out.problems.items() if " ".join(p.prompt.split()) in known
    )
    return [Finding(f"duplicate prompt: it stands in {train.file} too", both)] if both else []


def unreadable_answers(rows: Rows, grader: str) -> list[Finding]:
    """Gold answers that the grader does not find right when a completion gives them in a box."""
    items = list(rows.problems.items())
    with open_grader(grader) as judge:
        said = [_accepted(judge, grader, p.answer) for _, p in items]
    bad = [(place, p.answer) for (place, p), right in zip(items, said, strict=True) if not right]
    details = tuple(repr(answer[:60]) for _, answer in bad)
    place = "as the file's `reference` writes it" if is_code(grader) else "in a box"
    fault, hint = (
        f"gold answer that {judge.version} does not accept {place}",
        _answer_hint([answer for _, answer in bad]),
    )
    return [Finding(fault, tuple(place for place, _ in bad), details, hint)] if bad else []


def _answer_hint(answers: Sequence[str]) -> str:
    """A whole solution in the answer's column is the commonest fault: the marker that all of them
    have is named.
    """
    marker = next(
        (
            mark
            for mark in MARKERS
            if all(answer.rpartition(mark)[2].strip() and mark in answer for answer in answers)
        ),
        None,
    )
    if marker:
        return (
            f"these answers are whole solutions: --answer-after {marker!r} takes what follows the"
            " marker that all of them have"
        )
    return "another --answer-field, or a --grader that can take them (docs/graders.md)"


def _accepted(judge: Grader, grader: str, answer: str) -> bool:
    """Whether the shortest right completion is right: a box, or what a file of one's own says."""
    said = "so be it please ; " if judge.version == POLITE else ""
    try:
        text = (
            user_grader.reference(grader_code(grader), answer)
            if is_code(grader)
            else f"{said}\\boxed{{{answer}}}"
        )
        return judge.grade(text, answer).outcome is Outcome.correct
    except ValueError:  # no answer that this grader can take
        return False


@dataclass(frozen=True)
class Lengths:
    """Tokens of the prompts as a model reads them, chat template applied. context: its positions,
    None where its config does not say.
    """

    model: str
    tokens: Mapping[Place, int]
    context: int | None

    @property
    def longest(self) -> int:
        return max(self.tokens.values(), default=0)

    def too_long(self, completion: int) -> list[Finding]:
        limit = None if self.context is None else self.context - completion
        over = [(place, n) for place, n in self.tokens.items() if limit is not None and n > limit]
        hint = "--completion-tokens N leaves more room for prompts"
        fault = (
            f"too long: {self.model} has {self.context} positions, and {completion} are for the"
            " completion"
        )
        return (
            [
                Finding(
                    fault,
                    tuple(place for place, _ in over),
                    tuple(f"{n} tokens" for _, n in over),
                    hint,
                )
            ]
            if over
            else []
        )


def prompt_lengths(
    model: str, folder: Path, rows: Sequence[Rows], thinking: bool | None
) -> Lengths:
    """Errors: those of loading a tokenizer."""
    from study.data.chat import prompt_ids
    from study.data.views import student_view
    from study.models.loading import load_tokenizer

    problems = {place: p for each in rows for place, p in each.problems.items()}
    ids = (
        prompt_ids(load_tokenizer(folder), [student_view(p) for p in problems.values()], thinking)
        if problems
        else []
    )
    config = json.loads((folder / "config.json").read_bytes())
    return Lengths(
        model,
        dict(zip(problems, map(len, ids), strict=True)),
        config.get("max_position_embeddings"),
    )
