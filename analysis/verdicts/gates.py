"""Judge the controls of a claim: in each base, or under the first rules by their mean."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from analysis.claims.contrasts import contrast_by_base
from analysis.claims.rules import Rules
from analysis.evidence.frames import Evidence
from analysis.pages.render import number
from study.spec.report.claim import Claim, Gate
from study.spec.report.contrast import Share
from study.stats.decision import TOLERATED, Failing, too_many


@dataclass(frozen=True)
class GateState:
    """A judged control. text: the sentence about it. failing: the bases that fail it, empty under
    the first rules. tolerated: the share of bases that may.
    """

    holds: bool
    text: str
    failing: frozenset[int] = frozenset()
    tolerated: float = 0.0


def gate_states(
    claim: Claim,
    gates: Sequence[Gate],
    evidence: Evidence,
    bases: Sequence[int],
    undefined: Collection[int],
    rules: Rules,
) -> list[GateState]:
    """Every gate of a claim in its order; last the bases for which its share is undefined."""
    if not rules.gates_by_base:
        return [by_mean(gate, evidence) for gate in gates]
    states = [by_base(gate, evidence, bases) for gate in gates]
    if isinstance(claim.contrast, Share):
        states.append(_share_is_defined(claim.contrast, bases, undefined))
    return states


def failing_bases(gate: Gate, by_base: Mapping[int, float], bases: Sequence[int]) -> frozenset[int]:
    """The bases in which a gate fails; one in which it was not measured fails."""
    return frozenset(base for base in bases if not within(gate, by_base.get(base, math.nan)))


def by_base(gate: Gate, evidence: Evidence, bases: Sequence[int]) -> GateState:
    """A gate in each of these bases, with the sentence that names those that fail it."""
    values = contrast_by_base(gate.contrast, gate.outcome, evidence)
    failing = failing_bases(gate, values, bases)
    shown = [f"base {base}: {_shown(values.get(base))}" for base in sorted(failing)]
    holds = not too_many(Failing(failing, gate.tolerated), len(bases))
    passing = len(bases) - len(failing)
    text = f"{gate.text}: {_limits(gate)} in {passing} of {len(bases)} bases"
    measured = [values[base] for base in bases if base in values]
    if measured:
        text += f" (mean {number(sum(measured) / len(measured), 3)})"
    if shown:
        text += f", not in {', '.join(shown)}; {_verb(holds, gate.tolerated)}"
    return GateState(holds, text, failing, gate.tolerated)


def _share_is_defined(
    contrast: Share, bases: Sequence[int], undefined: Collection[int]
) -> GateState:
    holds = not too_many(Failing(undefined), len(bases))
    text = (
        "the share is defined (all of the way is at least"
        f" {number(contrast.moves_at_least, 3)}) in {len(bases) - len(undefined)} of"
        f" {len(bases)} bases"
    )
    if undefined:
        listed = ", ".join(f"base {base}" for base in sorted(undefined))
        text += f", not in {listed}; {_verb(holds, TOLERATED)}"
    return GateState(holds, text, frozenset(undefined), TOLERATED)


def _verb(holds: bool, tolerated: float) -> str:
    limit = f"{100 * tolerated:g}% of the bases"
    return f"up to {limit} may fail" if holds else f"more than {limit} fail"


def within(gate: Gate, value: float) -> bool:
    """Whether a value is finite and inside the limits of a gate."""
    above = gate.at_least is None or value >= gate.at_least
    below = gate.at_most is None or value <= gate.at_most
    return math.isfinite(value) and above and below


def _limits(gate: Gate) -> str:
    limits = (("at least", gate.at_least), ("at most", gate.at_most))
    return ", ".join(f"{words} {number(limit, 3)}" for words, limit in limits if limit is not None)


def _shown(value: float | None) -> str:
    return "not measured" if value is None else number(value, 3)


def by_mean(gate: Gate, evidence: Evidence) -> GateState:
    """The first rules: the mean over all bases that have the gate must keep its limits."""
    values = contrast_by_base(gate.contrast, gate.outcome, evidence)
    if not values:
        return GateState(False, f"{gate.text} - not measured")
    mean = sum(values.values()) / len(values)
    limits = [("at least", "below", gate.at_least, 1.0), ("at most", "above", gate.at_most, -1.0)]
    kept = [
        (words if sign * mean >= sign * limit else broken, limit, sign * mean >= sign * limit)
        for words, broken, limit, sign in limits
        if limit is not None
    ]
    said = ", ".join(f"{words} {number(limit, 3)}" for words, limit, _ in kept)
    text = f"{gate.text}: mean {number(mean, 3)} over {len(values)} bases, {said}"
    return GateState(all(holds for _, _, holds in kept), text)
