"""Give a second opinion on a completion: that of math-verify, used as its own documentation
describes.

math-verify searches the whole completion itself; it gets only the gold answer from our code,
neither extraction nor comparison. It works in the processes of `study.grading.symbolic.pool`, under
the same limits.
"""

from enum import StrEnum
from typing import NamedTuple

from study.grading.base import Grade, Sample
from study.grading.boxed import Outcome
from study.grading.math.extraction import reference
from study.grading.symbolic.inquiry import STOCK, Inquiry
from study.grading.symbolic.pool import DEADLINE_S, shared_pool

MATH_VERIFY = "math-verify"


class Opinion(NamedTuple):
    """math-verify's opinion. equal: None where math-verify did not end within its limits; reading:
    what it read.
    """

    equal: bool | None
    reading: str


class Agreement(StrEnum):
    agree = "agree"
    disagree = "disagree"
    no_verdict = "no verdict"  # one of the two did not end within its limits
    not_compared = "not compared"  # a cut completion: math-verify does not detect cuts


class MathVerify:
    """Run math-verify on samples; many may be open at a time."""

    def __init__(self, *, workers: int = 1, deadline_s: float = DEADLINE_S) -> None:
        self._pool = shared_pool(workers, deadline_s=deadline_s)

    def ask(self, sample: Sample) -> Inquiry:
        """Begin; `answer` waits for the end."""
        return self._pool.submit([(sample.completion, reference(sample.answer))], STOCK)

    def answer(self, inquiry: Inquiry) -> Opinion:
        self._pool.wait_all([inquiry])
        (finding,) = inquiry.findings
        return Opinion(finding.verdict, finding.reading)


def uncompared(grade: Grade, opinion: Opinion | None) -> str:
    """Say why there is no comparison of the two; "" where there is one."""
    if opinion is None:
        return ""
    if grade.outcome is Outcome.truncated:
        return "not compared: the completion was cut at its limit, which math-verify does not know"
    if opinion.equal is None:
        return "no verdict: math-verify did not end within its limits"
    if _ours(grade) is Outcome.timed_out:
        return "no verdict: the symbolic comparison did not end within its limits"
    return ""


def _ours(grade: Grade) -> Outcome:
    """Return the strict outcome; the relaxed one for a completion without a box."""
    return grade.relaxed if grade.outcome is Outcome.unparsed else grade.outcome


def agreement(grade: Grade, opinion: Opinion) -> Agreement:
    """Compare the strict outcome with math-verify's; the relaxed one for a completion without a
    box, where math-verify looks for an answer too.
    """
    if grade.outcome is Outcome.truncated:
        return Agreement.not_compared
    ours = _ours(grade)
    if opinion.equal is None or ours is Outcome.timed_out:
        return Agreement.no_verdict
    return Agreement.agree if (ours is Outcome.correct) == opinion.equal else Agreement.disagree
