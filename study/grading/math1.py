"""Grade numbers and formulas with math-1 or boxed-1.

math-1 compares the last box exactly, numerically and part by part
(`study.grading.math.equivalence`), then symbolically (math-verify in processes of its own). boxed-1
is the lab's rule (`study.grading.boxed`); its relaxed outcome is that of math-1 without formulas.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from study.grading import boxed, reading
from study.grading.base import Grade, Grader, Sample, shown
from study.grading.boxed import Outcome
from study.grading.math.equivalence import Equality, Tier
from study.grading.reading import Answers, Pair, Reading
from study.grading.symbolic.inquiry import Inquiry
from study.grading.symbolic.pool import DEADLINE_S, shared_pool

MATH = "math-1"
AHEAD = 1024  # samples taken while the formulas of the first of them are open


class MathGrader(Grader):
    """Grade by math-1. Worker processes start with the first formula; numbers and words start none.
    They are shared by all graders of a process and kept until it ends.

    deadline_s: processor time for all formulas of one sample together. `audit`: also run the
    symbolic tier where a cheaper one decided, and note where they differ.
    """

    version = MATH

    def __init__(
        self, *, workers: int = 1, deadline_s: float = DEADLINE_S, audit: bool = False
    ) -> None:
        self._pool, self._audit = shared_pool(workers, deadline_s=deadline_s), audit

    def grade_sample(self, sample: Sample) -> Grade:
        return self.grade_many([sample])[0]

    def grade_stream(self, samples: Iterable[Sample]) -> Iterator[Grade]:
        """Grade with the fast tiers, up to AHEAD samples, while the workers compare formulas."""
        waiting: deque[_Open] = deque()
        try:
            for sample in samples:
                waiting.append(self._opened(sample))
                if not waiting[0].done:
                    self._pool.poll()
                while waiting and (waiting[0].done or len(waiting) > AHEAD):
                    yield self._closed(waiting.popleft())
            while waiting:
                yield self._closed(waiting.popleft())
        finally:
            self._pool.cancel([each.inquiry for each in waiting if each.inquiry])

    def _opened(self, sample: Sample) -> "_Open":
        read = reading.read(sample)
        audited = _audited(read) if self._audit else None
        pairs = [*read.pending, *((audited,) if audited else ())]
        return _Open(read, audited, self._pool.submit(pairs) if pairs else None)

    def _closed(self, sample: "_Open") -> Grade:
        if sample.inquiry is None:
            return _grade(sample.read, {}, None)
        self._pool.wait_all([sample.inquiry])
        return _grade(sample.read, sample.inquiry.verdicts, sample.audited)


class _Open(NamedTuple):
    """A sample whose formulas are being compared; inquiry: None where it has none."""

    read: Reading
    audited: Pair | None
    inquiry: Inquiry | None

    @property
    def done(self) -> bool:
        return self.inquiry is None or self.inquiry.done


class BoxedGrader(Grader):
    """Grade by boxed-1."""

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
        read.percent_only and outcome is Outcome.wrong,
    )


def _audited(read: Reading) -> Pair | None:
    """Return the pair that the symbolic tier checks as well where a cheaper tier decided."""
    if read.strict is None or read.strict_text is None or read.strict.tier is Tier.symbolic:
        return None
    return read.strict_text, read.reference


def _disagreement(strict: Equality | None, audited: Pair | None, answers: Answers) -> str:
    if strict is None or audited is None or answers.get(audited) in (None, strict.equal):
        return ""
    said = {True: "equal", False: "different"}
    return f"{strict.tier}: {said[bool(strict.equal)]}, symbolic: {said[not strict.equal]}"
