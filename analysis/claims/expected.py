"""The words that declared claims can be expected to get, from the variance of earlier records.

The mean and the standard deviation of a claim's contrast between bases are those of earlier records
of the same arms, taken for the true ones; else its page's `spread` with an assumed effect: twice
the smallest effect in the expected direction, none for `equal` and `not_worse`. Everything a
verdict needs is simulated (`study/stats/joint_power.py`). A gate that held in k of n bases of the
records holds in a base with probability (k + .5) / (n + 1): that it held in all of 5 does not show
that it always will. Without records it is assumed to hold.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from analysis.claims.contrasts import contrast_by_base, over_placebo
from analysis.claims.rules import SECOND
from analysis.evidence.frames import Evidence
from analysis.verdicts.families import Families
from analysis.verdicts.gates import failing_bases
from analysis.verdicts.measure import rule_of, span_of
from study.record.declared.preregistration import ExpectedPower
from study.spec.report.claim import Claim, Claims, Gate
from study.stats.joint_power import Normal, PlannedClaim, PlannedGate, joint_power


@dataclass(frozen=True)
class Basis:
    """contrast: per base. text: where it comes from."""

    contrast: Normal
    text: str
    placebos: tuple[Normal, ...] = ()


def expected_power(
    page: Claims, bases: int, made: Families, earlier: Evidence | None, source: str
) -> dict[str, ExpectedPower]:
    """Return the expected words of the claims on a grid, by name; none for a claim without an
    expectation or a known variance, or that is not testable.

    made: Holm's families, in which claims of other grids and withdrawn ones count. earlier: records
    of these arms. source: their name in words.
    """
    basis = {
        claim.id: found
        for claim in page.claims
        if claim.expectation != "none"
        and claim.not_testable is None
        and (found := _basis(claim, earlier, source)) is not None
    }
    planned = [
        _planned(page, claim, basis[claim.id], made, earlier)
        for claim in page.claims
        if claim.id in basis
    ]
    if not planned or bases < 2:
        return {}
    found = joint_power(planned, bases, others=_others(page, made, basis))
    return {
        name: ExpectedPower(
            mean=_short(basis[name].contrast.mean),
            deviation=_short(basis[name].contrast.deviation),
            basis=basis[name].text,
            words={word: round(share, 3) for word, share in expected.shares.items()},
        )
        for name, expected in found.claims.items()
    }


def _basis(claim: Claim, earlier: Evidence | None, source: str) -> Basis | None:
    if earlier is not None and (found := _measured(claim, earlier, source)) is not None:
        return found
    if claim.spread is None:
        return None
    effect = 2.0 * claim.smallest_effect
    sign = {"positive": 1.0, "negative": -1.0}.get(claim.expectation, 0.0)
    contrast = Normal(sign * effect, claim.spread)
    assumed = f"an effect of {contrast.mean:.3g} is assumed" if sign else "no effect is assumed"
    placebos = tuple(contrast for _ in claim.placebos)
    return Basis(contrast, f"spread of the page, {assumed}", placebos)


def _measured(claim: Claim, earlier: Evidence, source: str) -> Basis | None:
    """Mean and deviation of earlier records; None below two bases or without any variance."""
    contrast = _normal(contrast_by_base(claim.contrast, claim.outcome, earlier))
    over = [_normal(over_placebo(claim, arm, earlier)) for arm in claim.placebos]
    placebos = tuple(each for each in over if each is not None)
    if contrast is None or contrast.deviation == 0.0 or len(placebos) < len(over):
        return None
    count = len(contrast_by_base(claim.contrast, claim.outcome, earlier))
    return Basis(contrast, f"{count} bases of {source}", placebos)


def _normal(by_base: Mapping[int, float]) -> Normal | None:
    values = [value for value in by_base.values() if math.isfinite(value)]
    return Normal(fmean(values), stdev(values)) if len(values) > 1 else None


def _planned(
    page: Claims, claim: Claim, basis: Basis, made: Families, earlier: Evidence | None
) -> PlannedClaim:
    rule = rule_of(claim, span=span_of(claim.contrast, claim.outcome), sign_flip=SECOND.sign_flip)
    assert rule is not None
    screened = set(page.screening.gates) if page.screening else set[str]()
    gates = tuple(
        PlannedGate(gate.id, chance_to_hold(gate, earlier), gate.tolerated, gate.id in screened)
        for gate in page.gates_of(claim)
    )
    family = made.of.get((page.grid, claim.id))
    return PlannedClaim(claim.id, rule, basis.contrast, family, gates, basis.placebos)


def chance_to_hold(gate: Gate, earlier: Evidence | None) -> float:
    """The probability that a gate holds in a base; 1 without earlier records.

    (k + .5) / (n + 1) where it held in k of n bases: the mean of Jeffreys' posterior of a share.
    """
    values = contrast_by_base(gate.contrast, gate.outcome, earlier) if earlier else {}
    if not values:
        return 1.0
    holds = len(values) - len(failing_bases(gate, values, list(values)))
    return (holds + 0.5) / (len(values) + 1.0)


def _others(page: Claims, made: Families, simulated: Mapping[str, Basis]) -> dict[str, int]:
    """Family -> its claims that are not simulated here."""
    here = Counter(
        family
        for (grid, name), family in made.of.items()
        if grid == page.grid and name in simulated
    )
    return {family: made.size(family) - here[family] for family in set(made.of.values())}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
