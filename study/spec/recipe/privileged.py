"""Privileged information (PI): a template over `Problem` columns and a placement.

A new one needs no Python.
"""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec


class PrivilegedInformation(Spec):
    """What the teacher sees and the student does not.

    - template: text with `{column}` fields over a problem's columns (`prompt`, `answer`, `solution`
      and any extra column).
    - placement: system = a separate system message, before_prompt / after_prompt = inside the user
      message, instead_of_prompt = in place of the problem ("{prompt}" with source other: a shuffled
      teacher, which scores completions as answers to another problem), prefill = the beginning of
      the teacher's own turn: reasoning that it appears to have written, with the `<think>` tags in
      the template.
    - separator: text between the template's text and the problem's prompt.
    - source: own = the problem's own columns; other = the columns of another problem drawn by seed
      (placebo: the wrong problem); random = the words of that other problem's columns in random
      order (placebo: text without meaning).
    - mask: the share of the words of `solution` that [MASK] replaces, drawn by the problem's id.
    """

    template: str
    placement: Literal[
        "system", "before_prompt", "after_prompt", "instead_of_prompt", "prefill"
    ] = "after_prompt"
    separator: str = " "
    source: Literal["own", "other", "random"] = "own"
    mask: float = Field(default=0.0, ge=0, le=1)
