"""Check the grader: its golden set, and the reference answers of the data.

A `StudyError` raised below means that the contract does not hold (`study.train.preflight.pairs`
makes it a check).
"""

from collections.abc import Sequence

from study.data.problems import Problem
from study.grading import boxed, golden, user
from study.grading.registry import CHOICE, MATH, POLITE, REFUSAL, grader_code, open_grader
from study.spec.recipe.user_code import is_code
from study.train.preflight.check import Check

_RULES = {
    boxed.GRADER: "study/grading/boxed.py",
    MATH: "study/grading/math/equivalence.py, study/grading/registry.py",
    CHOICE: "study/grading/choice.py", POLITE: "study/grading/polite.py",
    REFUSAL: "study/grading/refusal.py",
}  # fmt: skip


def grader(problems: Sequence[Problem], data: str, version: str = boxed.GRADER) -> Check:
    """Check that the grader agrees with the human label of every golden completion and accepts the
    reference answers of this data.
    """
    cases = golden.cases(version)
    asked = golden.samples(cases)
    references = [p.sample(_reference(p, version)) for p in problems]
    try:
        with open_grader(version) as judge:
            said = judge.grade_many([*asked, *references])
            again = judge.grade_many([*asked, *references]) if is_code(version) else said
    except ValueError as error:  # a reference answer that this grader cannot read
        return Check(
            "grader",
            data,
            False,
            f"{version}: {error}",
            "another `grader`, or correct `answer_field` in the scale file",
        )
    wrong, message = golden.failures(cases, said[: len(cases)])
    refused = [
        p
        for p, result in zip(problems, said[len(cases) :], strict=True)
        if result.outcome is not boxed.Outcome.correct
    ]
    measured = {
        "cases": len(cases),
        "wrong": wrong,
        "references": len(problems),
        "references_refused": len(refused),
    }
    if wrong:
        hint = (
            f"{_RULES.get(version, version.partition('@')[0])}:"
            " no accuracy means anything until it is right"
        )
        return Check("grader", data, False, message, hint, False, measured)
    if refused:
        message = (
            f"{len(refused)} of {len(problems)} reference answers are not accepted in a box; the"
            f" first: {refused[0].answer!r}"
        )
        return Check(
            "grader",
            data,
            False,
            message,
            "correct `answer_field` or `answer_after` in the scale file",
            False,
            measured,
        )
    if is_code(version) and [result.outcome for result in said] != [
        result.outcome for result in again
    ]:
        message = f"{judge.version}: the same texts are graded differently a second time"
        return Check(
            "grader",
            data,
            False,
            message,
            "no random numbers and no state in a grader",
            False,
            measured,
        )
    return Check(
        "grader",
        data,
        True,
        f"{judge.version}: {len(cases)} golden cases, {len(problems)} reference answers",
        measured=measured,
    )


def _reference(problem: Problem, version: str) -> str:
    """Return the shortest completion that is right."""
    if is_code(version):
        return user.reference(grader_code(version), problem.answer)
    if version == REFUSAL:
        return (
            "I'm sorry, but I can't help with that."
            if problem.answer == "unsafe"
            else "Here it is."
        )
    return ("so be it please ; " if version == POLITE else "") + f"\\boxed{{{problem.answer}}}"
