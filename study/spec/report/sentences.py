"""Write claims and gates as sentences, from what is computed alone.

A claim's own text is written by a person and can say something else than its contrast tests. These
sentences are generated, so they can be read next to it (`study check --sentences`).
"""

from collections.abc import Mapping

from study.spec.report.claim import Claim, Gate, Judged
from study.spec.report.contrast import (
    Change,
    Contrast,
    Difference,
    Interaction,
    Level,
    Share,
    Start,
)


def claim_sentence(claim: Claim) -> str:
    """Return what a claim tests, over the base students: outcome, contrast and what is expected."""
    said = f"{_measured(claim)} {_expected(claim)}"
    for placebo in claim.placebos:
        said += f"; and beyond the same with [{arm_words(placebo)}] in the first arm's place"
    return said


def gate_sentence(gate: Gate) -> str:
    """Return what a gate requires."""
    limits = [
        f"{words} {number:g}"
        for words, number in (("at least", gate.at_least), ("at most", gate.at_most))
        if number is not None
    ]
    return f"{_measured(gate)} is {' and '.join(limits)} in each base"


def failing_rule(gate: Gate) -> str:
    """Return what follows where a gate fails."""
    if not gate.tolerated:
        return "one base in which it fails makes the claim INVALID"
    return (
        f"if it fails in more than {100 * gate.tolerated:g} % of the bases, the claim is INVALID;"
        " if in fewer, the verdict is computed with and without them, and the weaker one counts"
    )


def _measured(judged: Judged) -> str:
    return f"{judged.outcome}: {contrast_words(judged.contrast)}"


def _expected(claim: Claim) -> str:
    effect = claim.smallest_effect
    bar = f"{effect:g}" if effect else "0"
    match claim.expectation:
        case "positive":
            return f"is above {bar}"
        case "negative":
            return f"is below {f'-{bar}' if effect else bar}"
        case "equal":
            return f"is between -{bar} and {bar}"
        case "not_worse":
            limit = f"above -{bar}" if claim.better == "higher" else f"below {bar}"
            return f"is {limit}, where {claim.better} is better"
        case "none":
            return "is reported, without a verdict"


def contrast_words(contrast: Contrast) -> str:
    """Return a contrast in words."""
    match contrast:
        case Change(scale="log"):
            return f"log of last step / step 0 of [{arm_words(contrast.arm)}]"
        case Change():
            return f"last step minus step 0 of [{arm_words(contrast.arm)}]"
        case Start():
            return f"step 0 of [{arm_words(contrast.arm)}]"
        case Level():
            return f"[{arm_words(contrast.arm)}]"
        case Difference(scale="log"):
            return f"log of [{arm_words(contrast.arm)}] / [{arm_words(contrast.versus)}]"
        case Difference():
            return f"[{arm_words(contrast.arm)}] minus [{arm_words(contrast.versus)}]"
        case Share():
            start = arm_words(contrast.start)
            return (
                f"([{arm_words(contrast.arm)}] minus [{start}]) as a share of"
                f" ([{arm_words(contrast.full)}] minus [{start}])"
            )
        case Interaction():
            first = f"([{arm_words(contrast.arm)}] minus [{arm_words(contrast.versus)}])"
            return (
                f"{first} minus ([{arm_words(contrast.control_arm)}] minus"
                f" [{arm_words(contrast.control_versus)}])"
            )


def arm_words(arm: Mapping[str, str]) -> str:
    """Return an arm by its labels: `teacher=rlvr objective=full`."""
    return " ".join(f"{factor}={level}" for factor, level in arm.items())
