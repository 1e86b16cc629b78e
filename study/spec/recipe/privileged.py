"""Privileged information (PI) is data: a template over `Problem` columns and a placement.

No Python is needed for a new one.
"""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec


class PrivilegedInformation(Spec):
    """What the teacher sees and the student does not.

    template: text with `{column}` fields over a problem's columns (`prompt`, `answer`, `solution`
    and any extra column).
    placement: system = a system message of its own, before_prompt / after_prompt = inside the user
    message,
        instead_of_prompt = it stands where the problem stood ("{prompt}" with source other: a
        shuffled teacher, which scores completions
        as answers to another problem), prefill = how the teacher's own turn begins: reasoning that
        it seems to have thought, with the
        `<think>` tags written out in the template.
    separator: stands between the template's text and the problem's prompt.
    source: own = the problem's own columns; other = the columns of another problem drawn by seed
    (placebo: the wrong problem);
        random = the words of that other problem's columns in random order (placebo: text without
        meaning).
    mask: the share of the words of `solution` that [MASK] takes the place of, drawn by the
    problem's id.
    """

    template: str
    placement: Literal[
        "system", "before_prompt", "after_prompt", "instead_of_prompt", "prefill"
    ] = "after_prompt"
    separator: str = " "
    source: Literal["own", "other", "random"] = "own"
    mask: float = Field(default=0.0, ge=0, le=1)
