"""Check graders on their golden sets: completions whose outcome a person wrote down.

A case is {completion, answer, outcome}, where it matters with `truncated` and the `relaxed`
outcome. Ours are JSON Lines in `golden_sets/`; a user's grader brings its own
(`study/grading/user.py`). `timed_out` depends on the machine and is in no set.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.grading import boxed, user
from study.grading.registry import (
    CHOICE,
    MATH,
    POLITE,
    REFUSAL,
    Grade,
    Grader,
    Sample,
    grader_code,
)
from study.spec.recipe.user_code import is_code

FILES = {
    version: Path(boxed.__file__).with_name("golden_sets") / f"{name}.jsonl"
    for version, name in {
        boxed.GRADER: "boxed",
        MATH: "math",
        CHOICE: "choice",
        POLITE: "polite",
        REFUSAL: "refusal",
    }.items()
}
Case = dict[str, Any]


def cases(version: str) -> list[Case]:
    """Return the cases of a grader; SpecError where a user's grader brings none, or only cases with
    one outcome.
    """
    if is_code(version):
        return [dict(case) for case in user.golden(grader_code(version))]
    return [json.loads(line) for line in FILES[version].read_text(encoding="utf-8").splitlines()]


def samples(golden: Sequence[Case]) -> list[Sample]:
    return [
        Sample(case["completion"], case["answer"], case.get("truncated", False)) for case in golden
    ]


def failures(golden: Sequence[Case], grades: Sequence[Grade]) -> tuple[int, str]:
    """Return (number of cases that are graded wrongly, a message with the first of them).

    grades: the grades of `samples(golden)`, in their order.
    """
    wrong = [
        (case, found)
        for case, grade in zip(golden, grades, strict=True)
        if (found := _difference(case, grade))
    ]
    if not wrong:
        return 0, ""
    case, found = wrong[0]
    first = (
        f"{case['completion']!r} for {case['answer']!r} is {case['outcome']} and was graded {found}"
    )
    return (
        len(wrong),
        f"{len(wrong)} of {len(golden)} golden cases are graded wrongly; the first: {first}",
    )


def golden_failure(grader: Grader, version: str) -> str:
    """Return the message of `failures` for a grader on its own golden set; "" where all are right.

    Errors: as `cases`.
    """
    golden = cases(version)
    return failures(golden, grader.grade_many(samples(golden)))[1]


def _difference(case: Case, grade: Grade) -> str:
    """Say how a case was graded, where that differs from the set; "" where it does not."""
    if grade.outcome != case["outcome"]:
        return str(grade.outcome)
    if grade.relaxed != case.get("relaxed", grade.relaxed):
        return f"{grade.relaxed} relaxedly"
    return ""
