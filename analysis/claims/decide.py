"""Claims -> verdicts, per base student.

d_r = the claim's contrast for base r; the interval is the paired t-interval over bases. With s =
the smallest effect and the expectation `negative` (mirrored for `positive`):

    REPRODUCED    the whole interval is below -s, and every placebo is beaten: the interval of
                  (contrast - placebo's contrast) is below 0
    CONTRADICTED  the whole interval is above -s; or an excess of s over a placebo is excluded: a
                  gain below its placebo is not a gain
    UNDECIDED     the interval holds -s, or that over a placebo holds 0, or there are fewer than
                  three bases; says what would decide it
    INVALID       a gate (control) failed, or the outcome is not a number somewhere: the comparison
                  says nothing
    REPORTED      no expectation was declared: the effect is shown, no verdict is drawn

Level: 95% for secondary claims. The m primary claims share 5% by Holm's step-down: p of a claim is
the two-sided paired t-test of its contrast against -s; with c = Holm's factor (adjusted p / p) the
interval that decides has confidence 1 - .05 / c, so that it leaves -s out exactly when the adjusted
p is below .05. m counts every declared primary claim, also one without enough bases. Three or four
bases make a verdict provisional.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.claims.contrasts import contrast_by_base, over_placebo, over_problems
from analysis.claims.declared import Declared, declared
from analysis.evidence.costs import more_evidence
from analysis.evidence.frames import Evidence, arm_text
from analysis.pages.render import interval_text, number
from study.spec.report.claim import Claim, Claims, Gate
from study.stats.comparisons import (
    ENOUGH,
    FIRM,
    Comparison,
    bases_to_decide,
    compare,
    holm_factors,
    minimum_detectable_effect,
    p_against,
)  # fmt: skip
from study.stats.distributions import sign_flip_p
from study.stats.intervals import Interval, t_interval

Word = Literal[
    "REPRODUCED", "CONTRADICTED", "UNDECIDED", "INVALID", "REPORTED", "NOT TESTABLE HERE"
]
NOT_TESTABLE: Word = "NOT TESTABLE HERE"
ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """differences: the contrast by base.

    comparison: with the 95% interval; deciding: the interval at the claim's level.

    p, p_holm: against the smallest effect. minimum_detectable: true effect beyond it that is found
    with power .8 here, at this level.
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
    factor: float = 1.0
    p: float | None = None
    sign_flip: float | None = None
    problems: Interval | None = None

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def alpha(self) -> float:
        return ALPHA / self.factor

    @property
    def p_holm(self) -> float | None:
        counts = self.claim.in_first_family
        return min(1.0, self.factor * self.p) if counts and self.p is not None else None

    @property
    def deciding(self) -> Interval | None:
        return (
            t_interval(list(self.differences.values()), 1.0 - self.alpha)
            if self.comparison
            else None
        )

    @property
    def minimum_detectable(self) -> float | None:
        spread = self.comparison.deviation if self.comparison else None
        return (
            None if spread is None else minimum_detectable_effect(spread, self.n, alpha=self.alpha)
        )

    @property
    def threshold(self) -> float:
        """The contrast that the interval must leave behind."""
        return self.sign * self.claim.smallest_effect

    @property
    def sign(self) -> float:
        return -1.0 if self.claim.expectation == "negative" else 1.0

    @property
    def provisional(self) -> bool:
        return self.word in ("REPRODUCED", "CONTRADICTED", "INVALID") and self.n < FIRM

    @property
    def label(self) -> str:
        return f"{self.word} (provisional)" if self.provisional else self.word


def decide_all(page: Claims, evidence: Evidence) -> tuple[Verdict, ...]:
    """Every claim's verdict, in the order of the file."""
    measured = [measure(page, claim, evidence) for claim in page.claims]
    p_values = {v.claim.id: v.p for v in measured if v.claim.in_first_family and v.p is not None}
    factors = holm_factors(p_values, page.family)
    alone = {v.claim.id: float(page.family) if v.claim.in_first_family else 1.0 for v in measured}
    with_levels = [replace(v, factor=factors.get(v.claim.id, alone[v.claim.id])) for v in measured]
    return tuple(decide(verdict, page.gates_of(verdict.claim), evidence) for verdict in with_levels)


def measure(page: Claims, claim: Claim, evidence: Evidence) -> Verdict:
    """What the records say, before any word."""
    by_base = contrast_by_base(claim.contrast, claim.outcome, evidence)
    values = list(by_base.values())
    finite = bool(values) and all(map(math.isfinite, values))
    verdict = Verdict(
        claim,
        "UNDECIDED",
        by_base,
        compare(values) if finite else None,
        declared(page, claim, evidence),
    )
    if verdict.comparison is None or len(values) < 2:
        return verdict
    return replace(
        verdict,
        p=(
            p_against(verdict.comparison, verdict.threshold)
            if claim.directed and len(values) >= ENOUGH
            else None
        ),
        sign_flip=sign_flip_p(np.asarray(values), np.random.default_rng(0)),
        problems=over_problems(claim.contrast, claim.outcome, evidence),
    )


def decide(verdict: Verdict, gates: tuple[Gate, ...], evidence: Evidence) -> Verdict:
    """The word of a measured claim."""
    checked = [gate_state(gate, evidence) for gate in gates]
    verdict = replace(verdict, gates=tuple(text for _, text in checked))
    if verdict.n < ENOUGH:
        return _too_few(verdict, evidence)
    broken = [base for base, value in verdict.differences.items() if not math.isfinite(value)]
    if broken:
        return replace(
            verdict,
            word="INVALID",
            reason=(
                f"the outcome is not a finite number for bases {broken}: it cannot carry this claim"
            ),
        )
    failed = [text for holds, text in checked if not holds]
    if failed:
        return replace(verdict, word="INVALID", reason="a control failed: " + "; ".join(failed))
    return _ruled(verdict, evidence)


def _too_few(verdict: Verdict, evidence: Evidence) -> Verdict:
    seeds = [*evidence.seeds, *(seed for seed in range(ENOUGH) if seed not in evidence.seeds)][
        : max(ENOUGH, len(evidence.seeds))
    ]
    plural = "base" if verdict.n == 1 else "bases"
    reason = f"{verdict.n} {plural} with every arm of this claim; a verdict needs {ENOUGH}"
    return replace(verdict, reason=reason, next_step=more_evidence(evidence, seeds).text)


def _ruled(verdict: Verdict, evidence: Evidence) -> Verdict:
    claim, interval = verdict.claim, verdict.deciding
    if (
        claim.expectation == "none"
        or interval is None
        or interval.low is None
        or interval.high is None
    ):
        return replace(
            verdict,
            word="REPORTED",
            reason="no expectation was declared; the effect is shown as it is",
        )
    if claim.expectation == "equal":
        return _ruled_equal(verdict, interval)
    near, far = _directed(interval, verdict.sign)
    shown, bar = _level_text(verdict, interval), number(verdict.threshold, 3)
    if near > claim.smallest_effect:
        found = replace(verdict, word="REPRODUCED", reason=f"the whole {shown} is beyond {bar}")
        return _against_placebos(found, evidence)
    if far < claim.smallest_effect:
        reason = f"the whole {shown} falls short of {bar}: an effect of that size is excluded"
        return replace(verdict, word="CONTRADICTED", reason=reason)
    return replace(
        verdict, reason=f"the {shown} holds {bar}", next_step=_deciding_step(verdict, evidence)
    )


def _ruled_equal(verdict: Verdict, interval: Interval) -> Verdict:
    """Equivalence: the interval must stay within the smallest effect on both sides."""
    low, high, bar = interval.low or 0.0, interval.high or 0.0, verdict.claim.smallest_effect
    shown, limit = _level_text(verdict, interval), number(bar, 3)
    if -bar < low and high < bar:
        return replace(
            verdict,
            word="REPRODUCED",
            reason=f"the whole {shown} is within {limit} of no difference",
        )
    if low > bar or high < -bar:
        return replace(
            verdict,
            word="CONTRADICTED",
            reason=f"the whole {shown} is further than {limit} from no difference",
        )
    return replace(
        verdict,
        reason=f"the {shown} holds a difference of {limit}",
        next_step="more bases, or a less noisy outcome",
    )


def _directed(interval: Interval, sign: float) -> tuple[float, float]:
    """The limits in the expected direction, the nearer to zero first.

    Only for intervals that have limits.
    """
    near, far = sorted((sign * (interval.low or 0.0), sign * (interval.high or 0.0)))
    return near, far


def _level_text(verdict: Verdict, interval: Interval) -> str:
    percent = f"{100 * (1.0 - verdict.alpha):.3g}% " if verdict.factor > 1.0 else ""
    return f"{percent}interval {interval_text(interval, 3)}"


def _against_placebos(verdict: Verdict, evidence: Evidence) -> Verdict:
    """A claim that was reproduced, after each of its placebos is checked; the worst word
    counts.
    """
    for placebo in verdict.claim.placebos:
        verdict = _against(
            verdict, arm_text(placebo), over_placebo(verdict.claim, placebo, evidence)
        )
    return verdict


def _against(verdict: Verdict, name: str, excess: dict[int, float]) -> Verdict:
    values = list(excess.values())
    if len(values) < ENOUGH or not all(map(math.isfinite, values)):
        text = f"placebo [{name}]: not measured on {ENOUGH} bases"
        worse: Word = "INVALID"
    else:
        interval = t_interval(values, 1.0 - verdict.alpha)
        near, far = _directed(interval, verdict.sign)
        worse = (
            "REPRODUCED"
            if near > 0.0
            else "CONTRADICTED"
            if far < verdict.claim.smallest_effect
            else "UNDECIDED"
        )
        said = {
            "REPRODUCED": "beaten",
            "CONTRADICTED": "not beaten: a gain below its placebo is not a gain",
        }.get(worse, "not separated yet")
        text = (
            f"placebo [{name}]: {said}, the claim's contrast minus the placebo's is"
            f" {interval_text(interval, 3)}"
        )
    noted = replace(verdict, placebos=(*verdict.placebos, text))
    order = ("REPRODUCED", "UNDECIDED", "CONTRADICTED", "INVALID")
    return (
        replace(noted, word=worse, reason=f"{verdict.reason}, but {text}")
        if order.index(worse) > order.index(verdict.word)
        else noted
    )


def _deciding_step(verdict: Verdict, evidence: Evidence) -> str:
    comparison = verdict.comparison
    if comparison is None:
        return ""
    needed = bases_to_decide(
        comparison.interval.mean,
        comparison.deviation or 0.0,
        verdict.threshold,
        alpha=verdict.alpha,
    )
    if needed is None:
        return (
            "more than 50 bases would be needed at this spread: a smaller question or a less noisy"
            " outcome is the better way"
        )
    count = max(needed, verdict.n + 1)
    planned = sorted(
        evidence.seeds, key=lambda seed: (seed not in verdict.differences, seed)
    )  # those that are there come first
    unused = (seed for seed in range(2 * count + max(planned) + 1) if seed not in planned)
    seeds = [*planned[:count], *(next(unused) for _ in range(count - len(planned)))]
    return f"about {count} bases would decide it: {more_evidence(evidence, seeds).text}"


def gate_state(gate: Gate, evidence: Evidence) -> tuple[bool, str]:
    """Whether a control holds, and the sentence about it.

    One that was not measured does not hold.
    """
    by_base = contrast_by_base(gate.contrast, gate.outcome, evidence)
    if not by_base:
        return False, f"{gate.text} - not measured"
    mean = sum(by_base.values()) / len(by_base)
    limits = [("at least", gate.at_least, 1.0), ("at most", gate.at_most, -1.0)]
    checked_limits = [
        (words, limit, sign * mean >= sign * limit)
        for words, limit, sign in limits
        if limit is not None
    ]
    said = [
        f"{words if holds else ('below' if words == 'at least' else 'above')} {number(limit, 3)}"
        for words, limit, holds in checked_limits
    ]
    return (
        all(holds for _, _, holds in checked_limits),
        f"{gate.text}: mean {number(mean, 3)} over {len(by_base)} bases, {', '.join(said)}",
    )
