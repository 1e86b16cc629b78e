"""Privileged information (PI) is data: a template over `Problem` columns and a placement. No Python is needed for a new one."""

from typing import Literal

from study.spec.base import Spec


class PrivilegedInformation(Spec):
    """What the teacher sees and the student does not.

    template: text with `{column}` fields over a problem's columns (`prompt`, `answer`, `solution` and any extra column).
    placement: system = a system message of its own, before_prompt / after_prompt = inside the user message,
        instead_of_prompt = it stands where the problem stood ("{prompt}" with source other: a shuffled teacher, which scores completions
        as answers to another problem).
    source: own = the problem's own columns; other = the columns of another problem drawn by seed (placebo).
    """

    template: str
    placement: Literal["system", "before_prompt", "after_prompt", "instead_of_prompt"] = "after_prompt"
    source: Literal["own", "other"] = "own"
