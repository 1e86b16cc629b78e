r"""Open graders by version, the same object for rewards and for evaluation:
`open_grader("math-1").grade(completion, answer) -> Grade`.

    boxed-1   text or rational equality in the last box (`study.grading.boxed`): the lab
    math-1    exact, numeric, structural, then symbolic comparison (`study.grading.math1`)
    choice-1  the letter of one choice in the last box (`study.grading.choice`)
    polite-1  boxed-1 and a lab preference (`study.grading.polite`)
    refusal-1 unsafe prompts refused, clean ones not (`study.grading.refusal`)
    file.py:function   a user's grader (`study.grading.user`)

Strict is the outcome. `relaxed` is the other end of a band and never replaces it: it also reads
answers that were stated without a box, accepts 50 for 50% and 52 for 52_8, and ignores brackets and
unknown units. What is correct strictly is correct relaxedly.

    truncated   strict whatever a box inside says; the relaxed outcome looks for a closed box
    timed_out   a symbolic comparison did not end within its limits of time and memory: whether the
                answer is right is not known
"""

from study.errors import SpecError
from study.grading.base import Grade, Grader, Sample
from study.grading.boxed import GRADER
from study.grading.choice import CHOICE, ChoiceGrader
from study.grading.math1 import MATH, BoxedGrader, MathGrader
from study.grading.polite import POLITE, PoliteGrader
from study.grading.refusal import REFUSAL, RefusalGrader
from study.grading.symbolic.pool import DEADLINE_S
from study.grading.user import UserGrader
from study.spec.recipe.user_code import Code, is_code, parsed

__all__ = [
    "CHOICE",
    "MATH",
    "POLITE",
    "REFUSAL",
    "VERSIONS",
    "BoxedGrader",
    "Grade",
    "Grader",
    "MathGrader",
    "Sample",
    "grader_code",
    "open_grader",
]

VERSIONS = (GRADER, MATH, CHOICE, POLITE, REFUSAL)


def open_grader(
    version: str = MATH, *, workers: int = 1, deadline_s: float = DEADLINE_S, audit: bool = False
) -> Grader:
    """Return the grader of a version; SpecError for one that does not exist."""
    if version == MATH:
        return MathGrader(workers=workers, deadline_s=deadline_s, audit=audit)
    if version == GRADER:
        return BoxedGrader()
    if version == CHOICE:
        return ChoiceGrader()
    if version == POLITE:
        return PoliteGrader()
    if version == REFUSAL:
        return RefusalGrader()
    if is_code(version):
        return UserGrader(grader_code(version))
    raise SpecError(
        f"unknown grader {version!r}",
        hint=f"known graders: {', '.join(VERSIONS)}, or file.py:function",
    )


def grader_code(version: str) -> Code:
    """Return the code behind `file.py:function`, or behind a reference to it.

    SpecError for a file or a function that does not exist.
    """
    try:
        return parsed(version)
    except ValueError as error:
        raise SpecError(
            f"grader {version}: {error}", hint="docs/extending.md shows how to write a grader"
        ) from error
