"""Build the two views of a problem: what the student sees and what the teacher sees.

Only the teacher's view contains PI. A view is a list of messages. If the last one is an assistant's
message, it is the beginning of that turn (`study.data.chat` renders both kinds).
"""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from string import Formatter

from study.data.problems import Problem
from study.errors import SpecError
from study.spec.recipe.privileged import PrivilegedInformation

Messages = list[dict[str, str]]

MASK = "[MASK]"
# Columns that are not secret: a placebo leaves them unchanged.
SHOWN_TO_ALL = ("id", "prompt", "problem", "format")
_WORD = re.compile(r"\S+")


def student_view(problem: Problem) -> Messages:
    return [{"role": "user", "content": problem.prompt}]


def teacher_view(
    problem: Problem, privileged: PrivilegedInformation | None, other: Problem | None = None
) -> Messages:
    """Return the student's messages with PI placed in them; `other` is the problem whose columns a
    placebo shows.
    """
    if privileged is None:
        return student_view(problem)
    text = privileged_text(problem, privileged, other)
    match privileged.placement:
        case "system":
            return [{"role": "system", "content": text}, *student_view(problem)]
        case "before_prompt":
            return [{"role": "user", "content": f"{text}{privileged.separator}{problem.prompt}"}]
        case "after_prompt":
            return [{"role": "user", "content": f"{problem.prompt}{privileged.separator}{text}"}]
        case "instead_of_prompt":
            return [{"role": "user", "content": text}]
        case "prefill":
            return [*student_view(problem), {"role": "assistant", "content": text}]


def privileged_text(
    problem: Problem, privileged: PrivilegedInformation, other: Problem | None = None
) -> str:
    """Return the text that PI adds to a teacher's view.

    Errors: SpecError if a placebo has no other problem, or a column is unknown or empty.
    """
    source = problem
    if privileged.source != "own":
        if other is None or other.id == problem.id:
            raise SpecError(
                f"privileged information with `source: {privileged.source}` needs another problem"
            )
        source = other if privileged.source == "other" else _without_meaning(other)
    return render(
        privileged.template, _masked(source, privileged.mask) if privileged.mask else source
    )


def render(template: str, problem: Problem) -> str:
    """Return the template with the problem's columns filled in.

    Errors: SpecError for an unknown column, with the known ones, and for an empty column: a teacher
    without its solution would be a run without PI that claims to have it.
    """
    columns = problem.fields()
    for _, name, _, _ in Formatter().parse(template):
        if name is not None and name not in columns:
            raise SpecError(
                f"privileged template uses column {name!r}; this data has"
                f" {', '.join(sorted(columns))}"
            )
        if name is not None and not columns[name].strip():
            hint = (
                "choose privileged information that this data has:"
                " DAPO, for example, has answers but no solutions"
            )
            raise SpecError(
                f"privileged template uses column {name!r},"
                f" which is empty for problem {problem.id}",
                hint=hint,
            )
    return template.format(**columns)


def shifted(problems: Sequence[Problem]) -> list[Problem]:
    """Return for each problem another one of the same batch
    (the next; the last takes the first).
    """
    return [*problems[1:], problems[0]]


def _masked(problem: Problem, share: float) -> Problem:
    """Mask each word of the solution with probability `share` and keep the spaces between them; the
    same words for every model and seed.
    """
    draw = _drawn_for("mask", problem)
    return replace(
        problem,
        solution=_WORD.sub(
            lambda word: MASK if draw.random() < share else word[0], problem.solution
        ),
    )


def _without_meaning(problem: Problem) -> Problem:
    """Put the words of every secret column in random order, so
    that length and vocabulary stay the same.
    """

    def mixed(name: str, text: str) -> str:
        words = text.split()
        _drawn_for(f"random/{name}", problem).shuffle(words)
        return " ".join(words)

    columns = {
        name: text if name in SHOWN_TO_ALL else mixed(name, text)
        for name, text in problem.columns.items()
    }
    return replace(
        problem,
        answer=mixed("answer", problem.answer),
        solution=mixed("solution", problem.solution),
        columns=columns,
    )


def _drawn_for(purpose: str, problem: Problem) -> random.Random:
    return random.Random(
        int.from_bytes(hashlib.sha256(f"{purpose}/{problem.id}".encode()).digest()[:8], "big")
    )
