"""Golden sets: completions that a person has judged, by which every grader is held.

A case is {completion, answer, outcome}, where it matters with `truncated` and the `relaxed`
outcome. Ours lie beside the graders as JSON Lines, a grader of one's own brings its own
(`study/grading/user.py`). `timed_out` is a limit of time, not in a set.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.grading import boxed as grading
from study.grading import user as user_grader
from study.grading.registry import (
    CHOICE,
    MATH,
    POLITE,
    REFUSAL,
    Grader,
    GradeResult,
    Sample,
    own_code,
)
from study.spec.recipe.user_code import is_code

FILES = {
    version: Path(grading.__file__).with_name("golden_sets") / f"{name}.jsonl"
    for version, name in {
        grading.GRADER: "boxed",
        MATH: "math",
        CHOICE: "choice",
        POLITE: "polite",
        REFUSAL: "refusal",
    }.items()
}
Case = dict[str, Any]


def cases(version: str) -> list[Case]:
    """SpecError where a grader of one's own brings none, or none that could tell it apart from one
    that says the same of everything.
    """
    if is_code(version):
        return [dict(case) for case in user_grader.golden(own_code(version))]
    return [json.loads(line) for line in FILES[version].read_text(encoding="utf-8").splitlines()]


def samples(golden: Sequence[Case]) -> list[Sample]:
    return [
        Sample(case["completion"], case["answer"], case.get("truncated", False)) for case in golden
    ]


def objection(golden: Sequence[Case], said: Sequence[GradeResult]) -> tuple[int, str]:
    """(how many cases are graded wrongly, that in words with the first of them); said: the results
    of `samples`, in their order.
    """
    wrong = [
        (case, found)
        for case, result in zip(golden, said, strict=True)
        if (found := _other(case, result))
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


def held_against(judge: Grader, version: str) -> str:
    """What its golden set holds against a grader; empty: nothing. Errors: as `cases`."""
    golden = cases(version)
    return objection(golden, judge.grade_many(samples(golden)))[1]


def _other(case: Case, result: GradeResult) -> str:
    """What a case was graded where that is not what it should be."""
    if result.outcome != case["outcome"]:
        return str(result.outcome)
    return (
        f"{result.relaxed} relaxedly"
        if result.relaxed != case.get("relaxed", result.relaxed)
        else ""
    )
