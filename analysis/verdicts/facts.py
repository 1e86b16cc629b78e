"""Say everything there is on one claim, a bullet each: what was compared, why this word, what it
rests on, what would help.
"""

from analysis.claims.contrasts import components
from analysis.claims.decide import NOT_TESTABLE, Verdict
from analysis.claims.outcomes import note_of
from analysis.evidence.frames import Evidence, arm_text
from analysis.pages.render import interval_text, number
from analysis.pages.tables import estimator_notes
from study.spec.report.claim import all_arms
from study.spec.report.sentences import contrast_words
from study.stats.decision import Flip
from study.stats.sign_flip import FROM

FLIPS: dict[Flip | None, str] = {
    "agrees": "agrees",
    "disagrees": "disagrees",
    "out of reach": "it cannot reach the level with so many claims",
    "not needed": f"below {FROM} bases it is not applied",
    None: "not applied",
}


def _without(verdict: Verdict, evidence: Evidence) -> str:
    """The declared bases that are not in the verdict, which would be left out in silence else."""
    left = [base for base in evidence.seeds if base not in verdict.differences]
    listed = ", ".join(f"base {base}" for base in left)
    return f"; left out, because an arm has no record or no such number: {listed}" if left else ""


def facts(verdict: Verdict, evidence: Evidence) -> list[str]:
    """What there is to say on one claim, a bullet each."""
    claim = verdict.claim
    per_base = (
        ", ".join(f"base {base}: {number(value, 3)}" for base, value in verdict.differences.items())
        or "none"
    )
    lines = [
        f"- Source: {claim.source}.",
        (
            f"- Outcome: `{claim.outcome}`; contrast: {contrast_words(claim.contrast)}; expected:"
            f" {claim.expectation}."
        ),
        f"- Per base: {per_base}{_without(verdict, evidence)}.",
        *_variances(verdict, evidence),
        *([f"- Screening: {evidence.screening}."] if evidence.screening else []),
        *_notes(verdict, evidence),
        *_estimators(verdict, evidence),
        *_why(verdict),
    ]
    lines += [f"- Control: {gate}." for gate in verdict.gates]
    lines += [f"- Control: {placebo}." for placebo in verdict.placebos]
    lines += [f"- {text}" for text in [_descriptive(verdict)] if text]
    lines += [f"- Declared: {verdict.declared.text}."]
    lines += [f"- Preregistered: {text}." for text in verdict.declared.preregistered]
    if verdict.next_step and verdict.word != NOT_TESTABLE:
        lines += [f"- What would help: {verdict.next_step}."]
    return lines


def _variances(verdict: Verdict, evidence: Evidence) -> list[str]:
    """What several training seeds on one base say; nothing where there is one."""
    found = components(verdict.claim.contrast, verdict.claim.outcome, evidence)
    if found is None:
        return []
    return [
        f"- Variance: standard deviation {number(found.base**0.5, 3)} between bases,"
        f" {number(found.repeat**0.5, 3)} between training seeds on one base"
        f" ({found.repeats:.3g} per base; the value of a base is their mean)."
    ]


def _why(verdict: Verdict) -> list[str]:
    """The reason of the word and how firm it is; of a claim that these worlds cannot test the
    reason, and the world that could.
    """
    declared = verdict.claim.not_testable
    if verdict.word != NOT_TESTABLE or declared is None:
        said = [f"- Why: {verdict.reason}.", *both_ways(verdict), *_firmness(verdict)]
        return [*said, *_family(verdict)]
    return [
        f"- Not testable here: {_sentence(declared.reason)}",
        f"- A world that would test it: {_sentence(declared.world)}",
        "- Effect and bases above: measured, no verdict.",
    ]


def both_ways(verdict: Verdict) -> list[str]:
    """The word with all bases and the word without those that fail a control, where some do."""
    decision = verdict.decision
    if decision is None or decision.every is None or decision.passing is None:
        return []
    left_out = ", ".join(map(str, verdict.failing))
    which = "base" if len(verdict.failing) == 1 else "bases"
    return [
        f"- Both ways: {decision.every.word} with all {decision.every.n} bases,"
        f" {decision.passing.word} without {which} {left_out}; a decided word needs both."
    ]


def _firmness(verdict: Verdict) -> list[str]:
    """Whether the exact sign-flip test stands behind a decided word."""
    if verdict.normal:
        return [
            "- Rests on normality: no sign-flip test confirms it"
            f" ({FLIPS[sign_flip_state(verdict)]})."
        ]
    return ["- Sign-flip test: agrees."] if sign_flip_state(verdict) == "agrees" else []


def _family(verdict: Verdict) -> list[str]:
    """With how many claims a primary claim shares 5 %, and its level."""
    if not verdict.family:
        return []
    return [
        f"- Family: {verdict.family}, {verdict.family_size} primary claims; this one is decided at"
        f" {100 * (1.0 - verdict.alpha):.3g}% confidence."
    ]


def sign_flip_state(verdict: Verdict) -> Flip | None:
    """What the exact sign-flip test says of the word; None where it was not decided by the rule."""
    ruling = verdict.decision.counts if verdict.decision else None
    return ruling.flip if ruling else None


def _sentence(text: str) -> str:
    return text.strip().removesuffix(".") + "."


def _notes(verdict: Verdict, evidence: Evidence) -> list[str]:
    """What the outcome's mean hides in each arm of the claim: rates, censored runs."""
    found = [
        (arm, note_of(evidence, arm, verdict.claim.outcome)) for arm in all_arms(verdict.claim)
    ]
    return [f"- [{arm_text(arm)}]: {note}." for arm, note in found if note]


def _estimators(verdict: Verdict, evidence: Evidence) -> list[str]:
    """Which arms of the claim were trained by a biased estimator, and how it is biased."""
    cells = [evidence.cell_of(arm) for arm in all_arms(verdict.claim)]
    return [f"- {note}" for note in estimator_notes(cells)]


def _descriptive(verdict: Verdict) -> str:
    """Numbers that no verdict depends on.

    With n bases the smallest two-sided sign-flip p is 2 / 2^n.
    """
    if verdict.sign_flip is None:
        return ""
    flip = (
        f"sign-flip p {p_text(verdict.sign_flip)} (the smallest possible with {verdict.n} bases:"
        f" {p_text(2 / 2**verdict.n)})"
    )
    problems = (
        f"; over problems, for these bases: {interval_text(verdict.problems, 3)} (bootstrap)"
        if verdict.problems
        else ""
    )
    return f"Descriptive: {flip}{problems}."


def p_text(p: float) -> str:
    return "< .0001" if p < 1e-4 else number(p, 4)
