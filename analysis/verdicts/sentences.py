"""Why a verdict has its word, in sentences."""

from analysis.evidence.frames import arm_text
from analysis.pages.render import interval_text, number
from analysis.verdicts.verdict import Verdict
from study.stats.decision import OverPlacebo, Ruling
from study.stats.sign_flip import sign_flip_floor


def reason(verdict: Verdict) -> str:
    """The reason of a decided or undecided claim, from its decision."""
    decision = verdict.decision
    assert decision is not None
    assert decision.every is not None
    every = _ruling(verdict, decision.every)
    if decision.passing is None:
        return every
    left_out = _bases(verdict.failing)
    passing = _ruling(verdict, decision.passing)
    if decision.because == "differs":
        return (
            f"{decision.every.word} with all {decision.every.n} bases ({every}), but"
            f" {decision.passing.word} without {left_out}, where a control fails ({passing}): a"
            " decided word needs both"
        )
    return f"{every}; without {left_out}, where a control fails: {passing}"


def placebo_texts(verdict: Verdict) -> tuple[str, ...]:
    """A sentence per placebo that was compared, on the bases that gave the word."""
    counts = verdict.decision.counts if verdict.decision else None
    return () if counts is None else _placebos(verdict, counts)


def _placebos(verdict: Verdict, ruling: Ruling) -> tuple[str, ...]:
    return tuple(
        _placebo(arm_text(arm), found)
        for arm, found in zip(verdict.claim.placebos, ruling.placebos, strict=False)
    )


def _placebo(name: str, found: OverPlacebo) -> str:
    if found.interval is None:
        return f"placebo [{name}]: not measured on 3 bases"
    said = {
        "REPRODUCED": "beaten",
        "CONTRADICTED": "not beaten: a gain below its placebo is not a gain",
    }.get(found.word, "not separated yet")
    flip = ", the sign-flip test does not agree" if found.flip == "disagrees" else ""
    excess = interval_text(found.interval, 3)
    return f"placebo [{name}]: {said}, the claim's contrast minus the placebo's is {excess}{flip}"


def _ruling(verdict: Verdict, ruling: Ruling) -> str:
    """Why one set of bases gives its word."""
    if ruling.interval is None:
        return f"{ruling.n} bases are left; a verdict needs 3"
    shown = _level_text(verdict, ruling)
    bar = number(verdict.threshold, 3)
    match ruling.because:
        case "holds":
            return f"the {shown} contains {_held(verdict, bar)}"
        case "short":
            text = f"the whole {shown} {_short(verdict, bar)}"
        case "sign_flip":
            p = number(ruling.sign_flip or 0.0, 4)
            return (
                f"the whole {shown} is on one side of {bar}, but the exact sign-flip test does not"
                f" agree: p {p}, the level is {number(verdict.alpha, 4)}"
            )
        case _:
            text = f"the whole {shown} {_beyond(verdict, bar)}"
    if ruling.flip == "out of reach":
        floor, level = number(sign_flip_floor(ruling.n), 4), number(verdict.alpha, 4)
        text += (
            f"; the sign-flip test cannot confirm it: with {ruling.n} bases its p is at least"
            f" {floor}, the level is {level}"
        )
    if ruling.because == "placebo":
        texts = zip(_placebos(verdict, ruling), ruling.placebos, strict=True)
        lost = [said for said, found in texts if found.word != "REPRODUCED"]
        text += f", but {'; '.join(lost)}"
    return text


def _beyond(verdict: Verdict, bar: str) -> str:
    match verdict.claim.expectation:
        case "equal":
            return f"is within {bar} of no difference"
        case "not_worse":
            return f"is {_side(verdict)} {bar}: not worse by that much"
        case _:
            return f"is beyond {bar}"


def _short(verdict: Verdict, bar: str) -> str:
    match verdict.claim.expectation:
        case "equal":
            return f"is further than {bar} from no difference"
        case "not_worse":
            return f"is not {_side(verdict)} {bar}: worse by more than that"
        case _:
            return f"falls short of {bar}: an effect of that size is excluded"


def _held(verdict: Verdict, bar: str) -> str:
    return f"a difference of {bar}" if verdict.claim.expectation == "equal" else bar


def _side(verdict: Verdict) -> str:
    return "above" if verdict.sign > 0 else "below"


def _level_text(verdict: Verdict, ruling: Ruling) -> str:
    assert ruling.interval is not None
    percent = f"{100 * (1.0 - verdict.alpha):.3g}% " if verdict.factor > 1.0 else ""
    return f"{percent}interval {interval_text(ruling.interval, 3)}"


def _bases(bases: tuple[int, ...]) -> str:
    listed = ", ".join(map(str, bases))
    return f"base {listed}" if len(bases) == 1 else f"bases {listed}"
