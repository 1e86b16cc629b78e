"""What the records say about a claim, before any word: its contrast by base, and its limits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.claims.contrasts import contrast_by_base, undefined_bases
from analysis.claims.rules import Rules
from analysis.evidence.frames import Evidence
from study.spec.report.claim import Claim
from study.spec.report.contrast import (
    Change,
    Contrast,
    Difference,
    Interaction,
    Level,
    Share,
    Start,
)
from study.spec.report.outcome import bounds
from study.stats.decision import Rule, p_value
from study.stats.intervals import UNLIMITED, Span


@dataclass(frozen=True)
class Measured:
    """values: the contrast by base, nan where it is undefined. undefined: these bases."""

    values: Mapping[int, float]
    undefined: frozenset[int]
    span: Span

    @property
    def defined(self) -> list[float]:
        return [value for base, value in self.values.items() if base not in self.undefined]

    @property
    def finite(self) -> bool:
        """Whether there is a base, and every value that is defined is a finite number."""
        return bool(self.values) and all(map(math.isfinite, self.defined))


def measure(claim: Claim, evidence: Evidence, rules: Rules) -> Measured:
    """The claim's contrast for every base that has all of its arms.

    Under the first rules an undefined share is a number that is not finite.
    """
    values = contrast_by_base(claim.contrast, claim.outcome, evidence)
    undefined = frozenset[int]()
    if rules.gates_by_base:
        undefined = undefined_bases(claim.contrast, claim.outcome, evidence)
    span = span_of(claim.contrast, claim.outcome) if rules.bounded else UNLIMITED
    return Measured(values, undefined, span)


def p_of(claim: Claim, measured: Measured, rules: Rules) -> float | None:
    """The p that Holm's adjustment takes; None for a claim that makes no test.

    The first rules had none for equivalence.
    """
    rule = rule_of(claim, span=measured.span)
    tests = claim.directed or rules.families
    untestable = rules.not_testable and claim.not_testable is not None
    if rule is None or not tests or untestable or not measured.finite:
        return None
    return p_value(measured.defined, rule)


def rule_of(
    claim: Claim, alpha: float = 0.05, *, sign_flip: bool = True, span: Span = UNLIMITED
) -> Rule | None:
    """What decides a claim; None without an expectation."""
    if claim.expectation == "none":
        return None
    return Rule(
        claim.expectation,
        claim.smallest_effect,
        alpha,
        better=claim.better,
        sign_flip=sign_flip,
        span=span,
    )


def span_of(contrast: Contrast, text: str) -> Span:
    """The values that a contrast of an outcome can take.

    Shares and log ratios have no limits, nor has a difference of an outcome with one limit.
    """
    low, high = bounds(text)
    if isinstance(contrast, Level | Start):
        return Span(low, high, level=True)
    if isinstance(contrast, Share) or low is None or high is None:
        return UNLIMITED
    if isinstance(contrast, Change | Difference) and contrast.scale == "log":
        return UNLIMITED
    most = (high - low) * (2.0 if isinstance(contrast, Interaction) else 1.0)
    return Span(-most, most)
