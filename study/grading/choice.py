r"""Grade multiple choice with `choice-1`: does the last `\boxed{...}` of a completion name the
right letter?

To a symbolic grader E and I are constants and B a formula; here a letter is a letter. The letter
may be alone in the box or in `\text{}`, `\textbf{}`, brackets, and what follows it after `)`, `.`
or `:` is the choice's text: `\boxed{\text{(C)}}`, `\boxed{C. 5 cm}`. Two letters are not a choice
and are wrong. Relaxed: also a letter that is stated without a box ("the answer is (C)").
"""

import re

from study.grading.base import SHOWN, Grade, Grader, Sample
from study.grading.boxed import Outcome
from study.grading.math import extraction
from study.grading.math.equivalence import Tier
from study.grading.math.statements import stated

CHOICE = "choice-1"

_MARKUP = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|bf|rm)\b|[{}$*\s]|\\[,;! ]")
_LETTER = re.compile(r"\(?([A-Za-z])(?:\)|[.:]|$)")


class ChoiceGrader(Grader):
    """choice-1. An answer that names no letter (`C`, `(C)`, `c`) is a fault of the data:
    ValueError.
    """

    version = CHOICE

    def grade_sample(self, sample: Sample) -> Grade:
        if (wanted := letter(sample.answer)) is None:
            raise ValueError(f"the reference answer {sample.answer!r} is not a letter")
        boxed = extraction.boxed(sample.completion)
        if boxed is not None:
            readings = [boxed]
        else:
            readings = [] if sample.truncated else stated(sample.completion)
        strict = Outcome.truncated if sample.truncated else _outcome(boxed, wanted)
        relaxed = next((text for text in readings if letter(text)), None)
        loose = _outcome(relaxed, wanted) if relaxed is not None else strict
        best = Outcome.correct if Outcome.correct in (strict, loose) else loose
        compared = strict in (Outcome.correct, Outcome.wrong)
        return Grade(
            strict, best, Tier.exact if compared else None, _shown(boxed), _shown(relaxed or boxed)
        )


def letter(text: str) -> str | None:
    """Return the letter that a box or a statement names, None where it names none or goes on like a
    word.
    """
    match = _LETTER.match(_MARKUP.sub("", text))
    return match[1].upper() if match else None


def _outcome(text: str | None, wanted: str) -> Outcome:
    if text is None:
        return Outcome.unparsed
    return Outcome.correct if letter(text) == wanted else Outcome.wrong


def _shown(text: str | None) -> str | None:
    """Return the letter as the vote of maj@k, else the text found in its place."""
    return None if text is None else letter(text) or text[:SHOWN]
