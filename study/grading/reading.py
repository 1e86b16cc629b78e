r"""One completion against its gold answer while its formulas are still open: what both ways of
reading find, the comparisons of that, and the outcome once the symbolic tier has answered.

`read(sample)` finds and compares; `Reading.pending` are the formulas that it leaves open;
`outcome` and `relaxed_outcome` take the answers: for each pair whether it is equal, or None where
a limit came first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from study.grading.base import Sample
from study.grading.boxed import Outcome
from study.grading.math import extraction
from study.grading.math.equivalence import Equality, compare

Pair = tuple[str, str]  # candidate, reference
Answers = Mapping[Pair, bool | None]


@dataclass(frozen=True)
class Reading:
    """relaxed: one comparison for each of `relaxed_texts`; the first that is equal decides."""

    sample: Sample
    reference: str
    strict_text: str | None
    strict: Equality | None
    relaxed_texts: tuple[str, ...] = ()
    relaxed: tuple[Equality, ...] = ()

    @property
    def pending(self) -> list[Pair]:
        comparisons = [*((self.strict,) if self.strict else ()), *self.relaxed]
        return [pair for comparison in comparisons for pair in comparison.pending]


def read(sample: Sample) -> Reading:
    """ValueError on an empty gold answer."""
    reference = extraction.reference(sample.answer)
    text = extraction.boxed(sample.completion)
    strict = None if sample.truncated or text is None else compare(text, reference)
    if strict is not None and strict.equal:
        return Reading(sample, reference, text, strict)
    texts = _relaxed_texts(sample, text, reference)
    relaxed = tuple(compare(each, reference, relaxed=True) for each in texts)
    return Reading(sample, reference, text, strict, tuple(texts), relaxed)


def _relaxed_texts(sample: Sample, text: str | None, reference: str) -> list[str]:
    if text is None:
        return [] if sample.truncated else extraction.stated(sample.completion)
    parts = reference.count(",") + 1
    together = extraction.boxes(sample.completion, parts) if parts > 1 else []
    return [text, ", ".join(together)] if len(together) > 1 else [text]


def outcome(reading: Reading, answers: Answers) -> Outcome:
    """The strict outcome."""
    if reading.sample.truncated:
        return Outcome.truncated
    return Outcome.unparsed if reading.strict is None else settled(reading.strict, answers)


def relaxed_outcome(reading: Reading, answers: Answers, strict: Outcome) -> Outcome:
    """`strict`: the strict outcome, which stands where the relaxed way finds nothing more."""
    found = [settled(comparison, answers) for comparison in reading.relaxed]
    for decided in (Outcome.correct, Outcome.timed_out):
        if decided in found:
            return decided
    if reading.sample.truncated:
        return Outcome.truncated
    if found:
        return Outcome.wrong
    return Outcome.unparsed if reading.strict is None else strict


def settled(comparison: Equality, answers: Answers) -> Outcome:
    """One pair that differs makes the whole wrong, even where another has no answer."""
    if comparison.equal is not None:
        return Outcome.correct if comparison.equal else Outcome.wrong
    found = [answers.get(pair, False) for pair in comparison.pending]
    if False in found:
        return Outcome.wrong
    return Outcome.timed_out if None in found else Outcome.correct
