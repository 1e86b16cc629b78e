"""The two graders of numbers and formulas.

math-1 compares the last box exactly, numerically and part by part
(`study.grading.math.equivalence`), then symbolically (math-verify in processes of its own).
boxed-1 is the lab's rule (`study.grading.boxed`); its relaxed outcome is that of math-1 without
formulas.
"""

from collections.abc import Iterable

from study.grading import boxed, reading
from study.grading.base import Grade, Grader, Sample, shown
from study.grading.boxed import Outcome
from study.grading.math.equivalence import Equality, Tier
from study.grading.math.symbolic_pool import DEADLINE_S, SymbolicPool
from study.grading.reading import Answers, Pair, Reading

MATH = "math-1"


class MathGrader(Grader):
    """math-1. Worker processes start with the first formula; numbers and words start none.

    `audit`: also ask the symbolic tier where a cheaper one decided, and note where they differ.
    """

    version = MATH

    def __init__(
        self, *, workers: int = 1, deadline_s: float = DEADLINE_S, audit: bool = False
    ) -> None:
        self._pool, self._audit = SymbolicPool(workers, deadline_s=deadline_s), audit

    def close(self) -> None:
        self._pool.close()

    def grade_sample(self, sample: Sample) -> Grade:
        return self.grade_many([sample])[0]

    def grade_many(self, samples: Iterable[Sample]) -> list[Grade]:
        """In order; the formulas of all samples go to the workers together."""
        readings = [reading.read(sample) for sample in samples]
        audited = [_audited(each) if self._audit else None for each in readings]
        open_pairs = [pair for each in readings for pair in each.pending]
        pairs = list(dict.fromkeys([*open_pairs, *(pair for pair in audited if pair)]))
        answers = dict(zip(pairs, self._pool.equal(pairs), strict=True)) if pairs else {}
        return [_grade(each, answers, pair) for each, pair in zip(readings, audited, strict=True)]


class BoxedGrader(Grader):
    """boxed-1."""

    version = boxed.GRADER

    def grade_sample(self, sample: Sample) -> Grade:
        outcome = boxed.grade(sample.completion, sample.answer, truncated=sample.truncated)
        found = boxed.last_boxed(sample.completion)
        read = reading.read(sample)
        known = outcome is Outcome.correct or (read.strict is not None and read.strict.equal)
        relaxed = Outcome.correct if known else reading.relaxed_outcome(read, {}, Outcome.wrong)
        first = next(iter(read.relaxed_texts), found)
        return Grade(outcome, relaxed, None, shown(found), shown(first))


def _grade(read: Reading, answers: Answers, audited: Pair | None) -> Grade:
    outcome = reading.outcome(read, answers)
    if outcome is Outcome.correct:
        relaxed = outcome
    else:
        relaxed = reading.relaxed_outcome(read, answers, outcome)
    first = next(iter(read.relaxed_texts), read.strict_text)
    return Grade(
        outcome,
        relaxed,
        read.strict.tier if read.strict else None,
        shown(read.strict_text),
        shown(first),
        _disagreement(read.strict, audited, answers),
    )


def _audited(read: Reading) -> Pair | None:
    """The pair that the symbolic tier is asked as well where a cheaper tier decided."""
    if read.strict is None or read.strict_text is None or read.strict.tier is Tier.symbolic:
        return None
    return read.strict_text, read.reference


def _disagreement(strict: Equality | None, audited: Pair | None, answers: Answers) -> str:
    if strict is None or audited is None or answers.get(audited) in (None, strict.equal):
        return ""
    said = {True: "equal", False: "different"}
    return f"{strict.tier}: {said[bool(strict.equal)]}, symbolic: {said[not strict.equal]}"
