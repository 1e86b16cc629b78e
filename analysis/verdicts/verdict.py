"""A claim's verdict: its word, the numbers behind it and the sentences about them."""

import math
from dataclasses import dataclass
from typing import Literal

from analysis.claims.declared import Declared
from analysis.verdicts.measure import rule_of
from study.spec.report.claim import Claim
from study.stats.comparisons import FIRM, Comparison, minimum_detectable_effect
from study.stats.decision import Decision, Rule
from study.stats.intervals import UNLIMITED, Interval, Span, span_interval

Word = Literal[
    "REPRODUCED", "CONTRADICTED", "UNDECIDED", "INVALID", "NOT TESTABLE HERE", "REPORTED"
]
NOT_TESTABLE: Word = "NOT TESTABLE HERE"
ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """differences: the contrast by base; nan where it is undefined.

    comparison: of the bases for which it is defined, with the 95 % interval.
    family, family_size: Holm's family of a primary claim and the number of claims in it; empty and
    1 for a secondary one. factor: adjusted p / p. p: against the smallest effect.
    decision: the word with all bases, and without those that fail a gate. failing: these bases,
    whatever the word.
    reason: why this word. sign_flip, problems: descriptive - p of the mean under random signs,
    bootstrap over problems.
    """

    claim: Claim
    word: Word
    differences: dict[int, float]
    comparison: Comparison | None
    declared: Declared
    reason: str = ""
    next_step: str = ""
    gates: tuple[str, ...] = ()
    placebos: tuple[str, ...] = ()
    family: str = ""
    family_size: int = 1
    factor: float = 1.0
    p: float | None = None
    decision: Decision | None = None
    failing: tuple[int, ...] = ()
    sign_flip: float | None = None
    problems: Interval | None = None
    rules: str = "2"
    span: Span = UNLIMITED

    @property
    def n(self) -> int:
        """Count the bases with a record of every arm."""
        return len(self.differences)

    @property
    def defined(self) -> list[float]:
        """Return the contrast of the bases for which it is a number: they give m, e, t and p."""
        return [value for value in self.differences.values() if math.isfinite(value)]

    @property
    def alpha(self) -> float:
        return ALPHA / self.factor

    @property
    def p_holm(self) -> float | None:
        return min(1.0, self.factor * self.p) if self.family and self.p is not None else None

    @property
    def planning_alpha(self) -> float:
        """The level for numbers of more bases: as `alpha`, with an adjusted p of at most 1. So a
        claim whose p is large today is not planned at the level that its siblings would force.
        """
        if self.p is None or self.p_holm is None or self.p <= 0.0:
            return self.alpha
        return ALPHA * self.p / self.p_holm

    @property
    def rule(self) -> Rule | None:
        """What decides the claim; None without an expectation."""
        return rule_of(self.claim, self.alpha, sign_flip=True, span=self.span)

    @property
    def deciding(self) -> Interval | None:
        """The interval that decides, of the bases that gave the word."""
        ruling = self.decision.counts if self.decision else None
        if ruling is not None and ruling.interval is not None:
            return ruling.interval
        if self.comparison is None:
            return None
        thresholds = self.rule.thresholds if self.rule else ()
        return span_interval(self.defined, 1.0 - self.alpha, self.span, thresholds)

    @property
    def minimum_detectable(self) -> float | None:
        """The true effect beyond the smallest that is found with power .8 at this level."""
        if self.comparison is None or self.comparison.deviation is None:
            return None
        bases = self.comparison.interval.n
        return minimum_detectable_effect(self.comparison.deviation, bases, alpha=self.alpha)

    @property
    def threshold(self) -> float:
        """The contrast that the interval must leave out; of `equal` the upper of the two."""
        return self.rule.thresholds[-1] if self.rule else self.claim.smallest_effect

    @property
    def sign(self) -> float:
        """The direction that speaks for the claim."""
        return self.rule.sign if self.rule else 1.0

    @property
    def provisional(self) -> bool:
        """Whether few bases gave the word: a decided one fewer than five, with or without those
        that fail a gate; INVALID fewer than five with records.
        """
        if self.word == "INVALID":
            return self.n < FIRM
        ruled = self.decision.n if self.decision and self.decision.n else self.n
        return self.word in ("REPRODUCED", "CONTRADICTED") and min(ruled, self.n) < FIRM

    @property
    def normal(self) -> bool:
        """Whether the word rests on the normal distribution: no sign-flip test confirms it."""
        return self.rules != "1" and self.decision is not None and self.decision.normal

    @property
    def label(self) -> str:
        return f"{self.word} (provisional)" if self.provisional else self.word
