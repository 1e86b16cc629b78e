"""Find what is wrong with a user's problems before anything starts: counts, and the first faulty
rows by file and line.

unmapped        a line that is not a problem: not JSON, a column that is missing, a value of another
                type, an empty prompt or answer, no answer marker, a lost backslash, half a
                surrogate pair, a control token of a chat template
duplicate id    two rows of one file with one id
repeated        a problem that an earlier row has, by the normal form of its text; or two rows with
                one problem and two gold answers; or a held-out problem that training would see
gold answer     an answer that the grader does not accept in its own box
too long        a prompt that leaves no room for a completion in the context of a model (checked
                where its tokenizer is available)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data import jsonl
from study.data.lines import parse_object, split_lines, text_content
from study.data.problems import Problem
from study.errors import PrerequisiteError
from study.grading import user
from study.grading.boxed import Outcome
from study.grading.registry import POLITE, Grader, grader_code, open_grader
from study.runner.init.findings import Finding, Place
from study.runner.init.repeats import repeated_ids, repeated_problems
from study.spec.recipe.data import JsonlData
from study.spec.recipe.user_code import is_code
from study.spec.yaml.load import suggestion

_ONE_OBJECT = "--data FILE.jsonl: one JSON object per line"
# Texts before an answer in a worked solution.
MARKERS = ("####", "Final Answer:", "Final answer:", "The answer is", "the answer is", "Answer:")


@dataclass(frozen=True)
class Rows:
    """A file as read: the text of each line that is not blank, and the problems made of them."""

    file: str
    lines: Mapping[Place, str]
    problems: Mapping[Place, Problem]
    findings: tuple[Finding, ...]

    @property
    def columns(self) -> list[str]:
        """Return the columns that a template of privileged information can use: those that every
        problem has and fills.
        """
        rows = [problem.fields() for problem in self.problems.values()]
        if not rows:
            return []
        return [name for name in rows[0] if all(row.get(name, "").strip() for row in rows)]


def read_rows(path: Path, data: JsonlData, *, label: str = "", keep_repeats: bool = False) -> Rows:
    """Read a file of problems; every row with a fault is in a finding.

    label: the file's name in messages. keep_repeats: the same problem twice is not a fault.
    PrerequisiteError where the file cannot be read at all.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PrerequisiteError(
            f"{path} cannot be read: {error.strerror}", hint=_ONE_OBJECT
        ) from error
    file = label or path.name
    raw = {Place(file, number): line for number, line in split_lines(text_content(content, path))}
    if not raw:
        raise PrerequisiteError(f"{path} has no rows", hint=_ONE_OBJECT)
    problems: dict[Place, Problem] = {}
    faults: dict[tuple[str, str], list[Place]] = {}
    for place, line in raw.items():
        try:
            problems[place] = jsonl.problem_of(data, line, str(place), place.line)
        except PrerequisiteError as error:
            fault = error.message.removeprefix(f"{place}: ")
            faults.setdefault((fault, error.hint), []).append(place)
    unmapped = [
        Finding(f"unmapped: {fault}{_near(fault, raw[places[0]])}", tuple(places), hint=hint)
        for (fault, hint), places in faults.items()
    ]
    # A line that is not UTF-8 has a fault and is never written, so a placeholder is enough.
    lines = {
        place: line.decode("utf-8-sig", errors="replace").strip("\r") for place, line in raw.items()
    }
    found = (
        *unmapped,
        *repeated_ids(problems),
        *repeated_problems(problems, data, keep_repeats=keep_repeats),
    )
    return Rows(file, lines, problems, found)


def _near(fault: str, line: bytes) -> str:
    """Return the column that the user probably meant."""
    _, quote, rest = fault.partition("no column '")
    return suggestion(rest.partition("'")[0], list(parse_object(line, ""))) if quote else ""


def unreadable_answers(rows: Rows, grader: str) -> list[Finding]:
    """Return gold answers that the grader rejects when a completion gives them in a box."""
    items = list(rows.problems.items())
    with open_grader(grader) as judge:
        said = [_accepted(judge, grader, p) for _, p in items]
    bad = [(place, p.answer) for (place, p), right in zip(items, said, strict=True) if not right]
    details = tuple(repr(answer[:60]) for _, answer in bad)
    place = "as the file's `reference` writes it" if is_code(grader) else "in a box"
    fault, hint = (
        f"gold answer that {judge.version} does not accept {place}",
        _answer_hint([answer for _, answer in bad]),
    )
    return [Finding(fault, tuple(place for place, _ in bad), details, hint)] if bad else []


def _answer_hint(answers: Sequence[str]) -> str:
    """Return a hint on gold answers. The most common fault is a whole solution in the answer
    column: name the marker that all of them have.
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


def _accepted(judge: Grader, grader: str, problem: Problem) -> bool:
    """Whether the shortest right completion is accepted: a box,
    or the reference of a user's grader.
    """
    said = "so be it please ; " if judge.version == POLITE else ""
    try:
        text = (
            user.reference(grader_code(grader), problem.answer)
            if is_code(grader)
            else f"{said}\\boxed{{{problem.answer}}}"
        )
        return judge.grade_sample(problem.sample(text)).outcome is Outcome.correct
    except ValueError:  # the grader does not accept this answer as a gold
        return False
