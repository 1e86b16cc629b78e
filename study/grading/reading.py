r"""Read one completion and compare it with its gold answer; decide the outcome once the symbolic
tier has compared the open formulas.

`read(sample)` finds and compares; `Reading.pending` are the formulas that it leaves open; `outcome`
and `relaxed_outcome` take the answers: for each pair whether it is equal, or None where a limit
came first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from study.grading.base import Sample
from study.grading.boxed import Outcome
from study.grading.math import extraction
from study.grading.math.equivalence import Equality, compare
from study.grading.math.latex import plain
from study.grading.math.quantities import quantity
from study.grading.math.statements import stated, stated_at_the_end

_PERCENT = re.compile(r"\bper\s?cent|\bpct\b|what \\?%", re.IGNORECASE)

Pair = tuple[str, str]  # candidate, reference
Answers = Mapping[Pair, bool | None]


@dataclass(frozen=True)
class Reading:
    """What both ways of reading found. relaxed: one comparison for each of `relaxed_texts`; the
    first that is equal decides. percent_only: the answer lacks only the percent sign of the gold.
    """

    sample: Sample
    reference: str
    strict_text: str | None
    strict: Equality | None
    relaxed_texts: tuple[str, ...] = ()
    relaxed: tuple[Equality, ...] = ()
    percent_only: bool = False

    @property
    def pending(self) -> list[Pair]:
        comparisons = [*((self.strict,) if self.strict else ()), *self.relaxed]
        return [pair for comparison in comparisons for pair in comparison.pending]


def read(sample: Sample) -> Reading:
    """Read a sample; ValueError on an empty gold answer."""
    reference = extraction.reference(sample.answer)
    text = extraction.answer(sample.completion)
    strict = None
    if text is not None and not sample.truncated:
        strict = _strict_comparison(text, reference, sample)
    if strict is not None and strict.equal:
        return Reading(sample, reference, text, strict)
    texts = _relaxed_texts(sample, text, reference)
    relaxed = tuple(
        compare(each, reference, relaxed=True, float_gold=sample.gold_is_float) for each in texts
    )
    percent_only = strict is not None and text is not None and _lacks_percent(text, reference)
    return Reading(sample, reference, text, strict, tuple(texts), relaxed, percent_only)


def _strict_comparison(text: str, reference: str, sample: Sample) -> Equality:
    """Compare strictly. Where the question asks for a percentage, or a percent sign follows a box,
    a number without a percent sign is one.
    """
    strict = compare(text, reference, float_gold=sample.gold_is_float)
    if strict.equal is False and _in_percent(sample):
        number, gold = quantity(plain(text)), quantity(plain(reference))
        if number and gold and number.percent != gold.percent:
            signs = ("" if number.percent else "%", "" if gold.percent else "%")
            return compare(text + signs[0], reference + signs[1])
    return strict


def _in_percent(sample: Sample) -> bool:
    outside_box = any(map(extraction.percent_follows, (sample.completion, sample.answer)))
    return outside_box or _PERCENT.search(sample.question) is not None


def _lacks_percent(text: str, reference: str) -> bool:
    """Whether an answer lacks only the percent sign of the gold."""
    number, gold = quantity(plain(text)), quantity(plain(reference))
    if number is None or gold is None or number.percent or not gold.percent:
        return False
    return compare(text + "%", reference).equal is True and number.value != gold.value


def _relaxed_texts(sample: Sample, text: str | None, reference: str) -> list[str]:
    """Return the texts that the relaxed way reads, best first."""
    if text is None:
        filled = extraction.filled_box(sample.completion)
        if filled is not None:
            return [filled]
        if sample.truncated:
            return []
        whole = sample.completion.strip()
        return [whole] if whole == sample.answer.strip() else stated(whole)
    parts = reference.count(",") + 1
    together = ", ".join(extraction.boxes(sample.completion, parts)) if parts > 1 else text
    later = stated_at_the_end(extraction.after_last_box(sample.completion))
    return list(dict.fromkeys([text, together, *later]))


def outcome(reading: Reading, answers: Answers) -> Outcome:
    """Return the strict outcome."""
    if reading.sample.truncated:
        return Outcome.truncated
    return Outcome.unparsed if reading.strict is None else settled(reading.strict, answers)


def relaxed_outcome(reading: Reading, answers: Answers, strict: Outcome) -> Outcome:
    """Return the relaxed outcome. `strict`: the strict outcome, which is kept where the relaxed way
    finds nothing more.
    """
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
    """Settle a comparison: one pair that differs makes the whole wrong, even where another has no
    answer.
    """
    if comparison.equal is not None:
        return Outcome.correct if comparison.equal else Outcome.wrong
    found = [answers.get(pair, False) for pair in comparison.pending]
    if False in found:
        return Outcome.wrong
    return Outcome.timed_out if None in found else Outcome.correct
