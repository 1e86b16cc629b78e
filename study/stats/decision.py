"""Decide a claim from one number per base student: the whole rule, without records or names.

With the mean m of n values, their standard deviation s and the threshold t:

    interval   m +- t_{1 - alpha / 2, n - 1} s / sqrt(n), kept inside what is possible (`Span`)
    positive   REPRODUCED: the whole interval is above t = s_min; CONTRADICTED: all of it is below
    negative   the mirror image, t = -s_min
    equal      REPRODUCED: the whole interval is inside (-s_min, s_min); CONTRADICTED: outside
    not_worse  REPRODUCED: the whole interval is above t = -s_min (below s_min where lower values
               are better); CONTRADICTED: all of it is on the other side

s_min is the smallest effect, alpha what Holm's adjustment leaves of 5 %. The same interval serves
all four, so the one-sided tests of `equal` and `not_worse` are each at alpha / 2: stricter than the
usual 90 % interval. `p_value` is the p that belongs to it, `docs/claims.md` has the rule in full.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from study.stats.comparisons import ENOUGH
from study.stats.intervals import UNLIMITED, Interval, Span, span_interval, span_p
from study.stats.sign_flip import FROM, p_leaves, sign_flip_floor

Expectation = Literal["positive", "negative", "equal", "not_worse"]
Word = Literal["REPRODUCED", "UNDECIDED", "CONTRADICTED", "INVALID"]
Because = Literal[
    "beyond",  # the whole interval is where the claim says
    "short",  # the whole interval is where the claim does not say
    "holds",  # the interval contains the threshold
    "sign_flip",  # the interval decides, the sign-flip test disagrees
    "placebo",  # the claim's own interval decides, a placebo does not allow it
    "too_few",
    "not_finite",
    "gates",  # too many bases fail a gate
    "differs",  # with and without the failing bases the words differ
]
Flip = Literal["not needed", "agrees", "disagrees", "out of reach"]

TOLERATED = 0.2  # share of bases for which a contrast may be undefined
_PLACEBO_ORDER: tuple[Word, ...] = ("REPRODUCED", "UNDECIDED", "CONTRADICTED", "INVALID")


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides one claim.

    alpha: after Holm's adjustment. sign_flip: from 8 bases on the exact sign-flip test must agree.
    span: what values are possible. better: for `not_worse`.
    """

    expectation: Expectation
    smallest_effect: float
    alpha: float = 0.05
    better: Literal["higher", "lower"] = "higher"
    sign_flip: bool = True
    span: Span = UNLIMITED

    @property
    def sign(self) -> float:
        """Return the direction that speaks for the claim; 1 for `equal`."""
        falls = self.expectation == "negative"
        lower_is_better = self.expectation == "not_worse" and self.better == "lower"
        return -1.0 if falls or lower_is_better else 1.0

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return what the interval must leave out, in the unit of the values."""
        bar = self.sign * self.smallest_effect
        if self.expectation == "equal":
            return (-bar, bar)
        return (-bar,) if self.expectation == "not_worse" else (bar,)


class Failing(NamedTuple):
    """The bases that fail a gate, as positions of the values; tolerated: the share that may."""

    bases: Collection[int]
    tolerated: float = TOLERATED


@dataclass(frozen=True, slots=True)
class OverPlacebo:
    """The claim's contrast minus that of a placebo. interval: None below 3 bases, or where a value
    is not finite.
    """

    word: Word
    interval: Interval | None = None
    flip: Flip = "not needed"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The word on one set of bases, and its parts. sign_flip: two-sided p against the threshold."""

    word: Word
    because: Because
    n: int
    interval: Interval | None = None
    sign_flip: float | None = None
    flip: Flip = "not needed"
    placebos: tuple[OverPlacebo, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The word of a claim.

    every: on all bases. passing: on those that pass every gate, None where none fails. failing:
    positions of those that do not. over: the gates that more bases fail than tolerated, as
    positions; `undefined` comes after the last gate.
    """

    word: Word
    because: Because
    every: Ruling | None = None
    passing: Ruling | None = None
    failing: tuple[int, ...] = ()
    over: tuple[int, ...] = ()

    @property
    def counts(self) -> Ruling | None:
        """Return the ruling that gave the word: that on all bases where both agree."""
        if self.passing is not None and self.every is not None:
            return self.every if self.every.word == self.word else self.passing
        return self.every

    @property
    def n(self) -> int:
        """Count the bases of the smaller of the rulings."""
        return min((each.n for each in (self.every, self.passing) if each), default=0)

    @property
    def normal(self) -> bool:
        """Whether a decided word rests on the normal distribution: no sign-flip test confirms it,
        because there are fewer than 8 bases or because it cannot reach the level.
        """
        rulings = [each for each in (self.every, self.passing) if each]
        confirmed = all(each.flip == "agrees" for each in rulings)
        return self.word in ("REPRODUCED", "CONTRADICTED") and not confirmed


def p_value(values: Sequence[float], rule: Rule) -> float | None:
    """Return the p that Holm's adjustment takes: the two-sided paired t-test of the mean against
    the nearest threshold. None below 3 bases or where a value is not finite.

    The interval at confidence 1 - alpha decides exactly where p < alpha. For `equal` with a mean
    inside its limits p is twice the larger of the two one-sided p, for `not_worse` on the right
    side of its limit twice the one-sided p.
    """
    if len(values) < ENOUGH or not all(map(math.isfinite, values)):
        return None
    nearest = min(rule.thresholds, key=lambda bar: abs(math.fsum(values) / len(values) - bar))
    return span_p(values, nearest, rule.span, rule.thresholds)


def decide(
    values: Sequence[float],
    rule: Rule,
    *,
    gates: Sequence[Failing] = (),
    undefined: Collection[int] = (),
    excess: Sequence[Sequence[float | None]] = (),
) -> Decision:
    """Return the word of a claim with the parts of its reason.

    values: the contrast, one per base. undefined: positions of bases for which it is not defined
    (their values are not read); such a base fails a gate, and one in five is tolerated. excess: for
    each placebo the contrast minus the placebo's, aligned with `values`, None where it was not
    measured.

    A gate that more than its tolerated share of bases fails makes the claim INVALID. Else it is
    decided with and without all bases that fail a gate. A word that decides (REPRODUCED,
    CONTRADICTED) must come out of both: where the two differ, it is UNDECIDED.
    """
    n = len(values)
    if n < ENOUGH:
        return Decision("UNDECIDED", "too_few", Ruling("UNDECIDED", "too_few", n))
    defined = [i for i in range(n) if i not in undefined]
    if not all(math.isfinite(values[i]) for i in defined):
        return Decision("INVALID", "not_finite")
    groups = [*gates, Failing(undefined)] if undefined else [*gates]
    over = tuple(i for i, gate in enumerate(groups) if too_many(gate, n))
    failing = tuple(sorted({base for gate in groups for base in gate.bases}))
    if over:
        return Decision("INVALID", "gates", failing=failing, over=over)
    every = rule_on(values, rule, excess, defined)
    left = [i for i in defined if i not in failing]
    if len(left) == len(defined):
        return Decision(every.word, every.because, every, failing=failing)
    passing = rule_on(values, rule, excess, left)
    word, because = _weaker(every, passing)
    return Decision(word, because, every, passing, failing)


def rule_on(
    values: Sequence[float],
    rule: Rule,
    excess: Sequence[Sequence[float | None]] = (),
    bases: Sequence[int] | None = None,
) -> Ruling:
    """Return the word on some of the bases (positions; None = all), without any gate."""
    chosen = values if bases is None else [values[i] for i in bases]
    n = len(chosen)
    if n < ENOUGH:
        return Ruling("UNDECIDED", "too_few", n)
    interval = span_interval(chosen, 1.0 - rule.alpha, rule.span, rule.thresholds)
    word, because = _by_interval(interval, rule)
    if word == "UNDECIDED":
        return Ruling(word, because, n, interval)
    p, flip = _sign_flip(chosen, rule.thresholds, rule)
    if flip == "disagrees":
        return Ruling("UNDECIDED", "sign_flip", n, interval, p, flip)
    if word == "CONTRADICTED" or not excess or rule.expectation not in ("positive", "negative"):
        return Ruling(word, because, n, interval, p, flip)
    placebos = tuple(_over_placebo(each, rule, bases) for each in excess)
    words: list[Word] = [each.word for each in placebos]
    worst = max(words, key=_PLACEBO_ORDER.index)
    if worst != "REPRODUCED":
        return Ruling(worst, "placebo", n, interval, p, flip, placebos)
    return Ruling(word, because, n, interval, p, flip, placebos)


def _by_interval(interval: Interval, rule: Rule) -> tuple[Word, Because]:
    low, high = interval.low, interval.high
    assert low is not None
    assert high is not None
    if rule.expectation == "equal":
        bar = rule.smallest_effect
        inside, outside = -bar < low and high < bar, low > bar or high < -bar
    else:
        # In the expected direction, the limit nearer to the threshold first.
        near, far = (low, high) if rule.sign > 0 else (-high, -low)
        bar = rule.sign * rule.thresholds[0]
        inside, outside = near > bar, far < bar
    if inside:
        return "REPRODUCED", "beyond"
    return ("CONTRADICTED", "short") if outside else ("UNDECIDED", "holds")


def _over_placebo(
    excess: Sequence[float | None], rule: Rule, bases: Sequence[int] | None
) -> OverPlacebo:
    """Return whether a placebo is beaten; the excess must be above zero, and one that is certainly
    below the smallest effect contradicts the claim.
    """
    picked = excess if bases is None else [excess[i] for i in bases]
    values = [rule.sign * value for value in picked if value is not None]
    if len(values) < ENOUGH or not all(map(math.isfinite, values)):
        return OverPlacebo("INVALID")
    interval = span_interval(values, 1.0 - rule.alpha)
    low, high = interval.low, interval.high
    assert low is not None
    assert high is not None
    shown = span_interval([rule.sign * value for value in values], 1.0 - rule.alpha)
    if low > 0.0:
        word, bar = "REPRODUCED", 0.0
    elif high < rule.smallest_effect:
        word, bar = "CONTRADICTED", rule.smallest_effect
    else:
        return OverPlacebo("UNDECIDED", shown)
    _, flip = _sign_flip(values, (bar,), rule)
    return OverPlacebo("UNDECIDED" if flip == "disagrees" else word, shown, flip)


def _weaker(every: Ruling, passing: Ruling) -> tuple[Word, Because]:
    """Return what both rulings carry. INVALID (a placebo without a measurement) goes before all;
    else words that differ leave the claim undecided.
    """
    if every.word == passing.word:
        return every.word, every.because
    for ruling in (every, passing):
        if ruling.word == "INVALID":
            return ruling.word, ruling.because
    return "UNDECIDED", "differs"


def too_many(gate: Failing, n: int) -> bool:
    """Return whether more of n bases fail a gate than its tolerated share."""
    return len(gate.bases) > gate.tolerated * n + 1e-9


def _sign_flip(
    values: Sequence[float], thresholds: Sequence[float], rule: Rule
) -> tuple[float | None, Flip]:
    """Return the sign-flip p of the mean against the thresholds that it must leave, and whether it
    confirms the interval.
    """
    n = len(values)
    if not rule.sign_flip or n < FROM:
        return None, "not needed"
    p = p_leaves(values, thresholds)
    if sign_flip_floor(n) > rule.alpha * (1.0 + 1e-9):
        return p, "out of reach"
    return p, "agrees" if p <= rule.alpha * (1.0 + 1e-9) else "disagrees"
