"""Claims -> verdicts, per base student.

d_r = the claim's contrast for base r; the interval is the paired t-interval over bases at 95%. With s = the smallest effect and the
expectation `negative` (mirrored for `positive`):

    REPRODUCED    the whole interval lies below -s        CONTRADICTED  the whole interval lies above -s
    UNDECIDED     the interval holds -s, or there are fewer than three bases; says what would decide it
    INVALID       a gate (control) failed, or the outcome is not a number somewhere: the comparison says nothing
    REPORTED      no expectation was declared: the effect is shown, no verdict is drawn

Three or four bases make a verdict provisional.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from analysis.costs import more_evidence
from analysis.frames import Evidence, arm_text
from analysis.render import interval_text, number
from analysis.tables import ends
from study.errors import SpecError
from study.spec.claim import Arm, Change, Claim, Claims, Contrast, Difference, Gate, Interaction, Start, arms
from study.stats.comparisons import Comparison, bases_to_decide, compare, holm, minimum_detectable_effect

Word = Literal["REPRODUCED", "CONTRADICTED", "UNDECIDED", "INVALID", "REPORTED"]
ENOUGH, FIRM = 3, 5  # bases for any verdict; bases from which it is no longer provisional


@dataclass(frozen=True)
class Verdict:
    """differences: the contrast by base. minimum_detectable: true effect found with power .8 here. reason: why this word."""

    claim: Claim
    word: Word
    differences: dict[int, float]
    comparison: Comparison | None
    minimum_detectable: float | None
    reason: str
    next_step: str = ""
    gates: tuple[str, ...] = ()
    p_holm: float | None = None

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def provisional(self) -> bool:
        return self.word in ("REPRODUCED", "CONTRADICTED", "INVALID") and self.n < FIRM

    @property
    def label(self) -> str:
        return f"{self.word} (provisional)" if self.provisional else self.word


def judge_all(page: Claims, evidence: Evidence) -> tuple[Verdict, ...]:
    """Every claim's verdict, in the order of the page, with Holm-adjusted p over the primary claims."""
    gates = {gate.id: gate for gate in page.gates}
    verdicts = [judge(claim, _gates_of(claim, gates), evidence) for claim in page.claims]
    p_values = {v.claim.id: v.comparison.p_value for v in verdicts if v.claim.primary and v.comparison and v.comparison.p_value is not None}
    adjusted = holm(p_values)
    return tuple(replace(verdict, p_holm=adjusted.get(verdict.claim.id)) for verdict in verdicts)


def judge(claim: Claim, gates: tuple[Gate, ...], evidence: Evidence) -> Verdict:
    by_base = contrast_by_base(claim.contrast, claim.outcome, evidence)
    broken = [base for base, value in by_base.items() if not math.isfinite(value)]
    comparison = compare(list(by_base.values())) if by_base and not broken else None
    spread = comparison.deviation if comparison else None
    detectable = minimum_detectable_effect(spread, len(by_base)) if spread is not None else None
    checked = [gate_state(gate, evidence) for gate in gates]
    verdict = Verdict(claim, "UNDECIDED", by_base, comparison, detectable, "", gates=tuple(text for _, text in checked))
    if len(by_base) < ENOUGH:
        return _too_few(verdict, evidence)
    if broken or comparison is None:
        return replace(verdict, word="INVALID", reason=f"the outcome is not a finite number for bases {broken}: it cannot carry this claim")
    failed = [text for holds, text in checked if not holds]
    if failed:
        return replace(verdict, word="INVALID", reason="a control failed: " + "; ".join(failed))
    return _ruled(verdict, comparison, evidence)


def _too_few(verdict: Verdict, evidence: Evidence) -> Verdict:
    seeds = [*evidence.seeds, *(seed for seed in range(ENOUGH) if seed not in evidence.seeds)][: max(ENOUGH, len(evidence.seeds))]
    plural = "base" if verdict.n == 1 else "bases"
    reason = f"{verdict.n} {plural} with every arm of this claim; a verdict needs {ENOUGH}"
    return replace(verdict, reason=reason, next_step=more_evidence(evidence, seeds).text)


def _ruled(verdict: Verdict, comparison: Comparison, evidence: Evidence) -> Verdict:
    claim, interval = verdict.claim, comparison.interval
    if claim.expectation == "none" or interval.low is None or interval.high is None:
        return replace(verdict, word="REPORTED", reason="no expectation was declared; the effect is shown as it is")
    sign = -1.0 if claim.expectation == "negative" else 1.0
    near, far = sorted((sign * interval.low, sign * interval.high))  # the effect in the expected direction
    shown, bar = interval_text(interval, 3), number(sign * claim.smallest_effect, 3)
    if near > claim.smallest_effect:
        return replace(verdict, word="REPRODUCED", reason=f"the whole interval {shown} lies beyond {bar}")
    if far < claim.smallest_effect:
        return replace(
            verdict, word="CONTRADICTED", reason=f"the whole interval {shown} falls short of {bar}: an effect of that size is excluded"
        )
    return replace(
        verdict, reason=f"the interval {shown} holds {bar}", next_step=_deciding_step(comparison, sign * claim.smallest_effect, evidence)
    )


def _deciding_step(comparison: Comparison, threshold: float, evidence: Evidence) -> str:
    needed = bases_to_decide(comparison.interval.mean, comparison.deviation or 0.0, threshold)
    if needed is None:
        return "more than 50 bases would be needed at this spread: a smaller question or a less noisy outcome is the better way"
    count = max(needed, len(evidence.seeds) + 1)
    unused = (seed for seed in range(2 * count + max(evidence.seeds) + 1) if seed not in evidence.seeds)
    seeds = [*evidence.seeds, *(next(unused) for _ in range(count - len(evidence.seeds)))]
    return f"about {count} bases would decide it: {more_evidence(evidence, seeds).text}"


def gate_state(gate: Gate, evidence: Evidence) -> tuple[bool, str]:
    """Whether a control holds, and the sentence about it. One that was not measured does not hold."""
    by_base = contrast_by_base(gate.contrast, gate.outcome, evidence)
    if not by_base:
        return False, f"{gate.text} - not measured"
    mean = sum(by_base.values()) / len(by_base)
    holds = mean >= gate.at_least
    return (
        holds,
        f"{gate.text}: mean {number(mean, 3)} over {len(by_base)} bases, {'at least' if holds else 'below'} {number(gate.at_least, 3)}",
    )


def contrast_by_base(contrast: Contrast, outcome: str, evidence: Evidence) -> dict[int, float]:
    """The contrast for every base that has all of its arms; bases without one of them are counted as missing, never as zero."""
    match contrast:
        case Change():
            parts = [_history(contrast.arm, outcome, "last", evidence), _history(contrast.arm, outcome, "first", evidence)]
            weights = [1.0, -1.0]
        case Start():
            parts, weights = [_history(contrast.arm, outcome, "first", evidence)], [1.0]
        case Difference():
            parts, weights = [_final(arm, outcome, evidence) for arm in arms(contrast)], [1.0, -1.0]
        case Interaction():
            parts, weights = [_final(arm, outcome, evidence) for arm in arms(contrast)], [1.0, -1.0, -1.0, 1.0]
    shared = set.intersection(*(set(part) for part in parts))
    return {base: sum(w * part[base] for w, part in zip(weights, parts, strict=True)) for base in sorted(shared)}


def _final(arm: Arm, outcome: str, evidence: Evidence) -> dict[int, float]:
    return evidence.scores(arm) if outcome == "score" else _history(arm, outcome, "last", evidence)


def _history(arm: Arm, outcome: str, which: str, evidence: Evidence) -> dict[int, float]:
    if outcome == "score":
        raise SpecError("a change or a start needs a history column as outcome", hint="use outcome: eval/avg@k")
    return ends(evidence, arm, outcome, which)


def contrast_text(contrast: Contrast) -> str:
    """The contrast in words."""
    match contrast:
        case Change():
            return f"last step minus step 0 of [{arm_text(contrast.arm)}]"
        case Start():
            return f"step 0 of [{arm_text(contrast.arm)}]"
        case Difference():
            return f"[{arm_text(contrast.arm)}] minus [{arm_text(contrast.versus)}]"
        case Interaction():
            first = f"([{arm_text(contrast.arm)}] minus [{arm_text(contrast.versus)}])"
            return f"{first} minus ([{arm_text(contrast.control_arm)}] minus [{arm_text(contrast.control_versus)}])"


def _gates_of(claim: Claim, gates: dict[str, Gate]) -> tuple[Gate, ...]:
    unknown = [name for name in claim.gates if name not in gates]
    if unknown:
        raise SpecError(
            f"claims.yaml: claim {claim.id} names the gate {unknown[0]!r}, which is not there", hint=f"known gates: {', '.join(gates)}"
        )
    return tuple(gates[name] for name in claim.gates)
