"""Compute a claim's contrast for each base student, and write it in words."""

import math
from collections.abc import Mapping

import numpy as np

from analysis.claims.outcomes import by_base
from analysis.evidence.definitions import canonical_metric
from analysis.evidence.frames import Evidence
from analysis.pages.tables import ends
from study.spec.report.claim import Claim
from study.spec.report.contrast import (
    Change,
    Contrast,
    Difference,
    Interaction,
    Level,
    Share,
    Start,
    arms,
)
from study.spec.report.outcome import ArmLabels, outcome
from study.stats.intervals import Interval, bootstrap_interval
from study.stats.repeats import RepeatComponents, repeat_components

WEIGHTS: dict[str, tuple[float, ...]] = {
    "level": (1.0,),
    "difference": (1.0, -1.0),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}


def contrast_by_base(contrast: Contrast, text: str, evidence: Evidence) -> dict[int, float]:
    """The contrast for every base that has all of its arms; bases without one of them are counted
    as missing, never as zero. nan: undefined for this base.
    """
    match contrast:
        case Change():
            metric = canonical_metric(text)
            parts = [
                ends(evidence, contrast.arm, metric, "last"),
                ends(evidence, contrast.arm, metric, "first"),
            ]
            weights = WEIGHTS["difference"]
        case Start():
            parts, weights = [ends(evidence, contrast.arm, canonical_metric(text), "first")], (1.0,)
        case Share():
            parts, weights = [by_base(evidence, arm, text) for arm in arms(contrast)], ()
        case Level() | Difference() | Interaction():
            parts, weights = (
                [by_base(evidence, arm, text) for arm in arms(contrast)],
                WEIGHTS[contrast.kind],
            )
    shared = sorted(set.intersection(*(set(part) for part in parts)))
    by_part = {base: [part[base] for part in parts] for base in shared}
    if isinstance(contrast, Share):
        return {base: _share(contrast, *values) for base, values in by_part.items()}
    if isinstance(contrast, Change | Difference) and contrast.scale == "log":
        return {base: _log_ratio(*values) for base, values in by_part.items()}
    return {
        base: sum(w * value for w, value in zip(weights, values, strict=True))
        for base, values in by_part.items()
    }


def components(contrast: Contrast, text: str, evidence: Evidence) -> RepeatComponents | None:
    """The variance of a contrast between bases and between the training seeds of one base; None
    where no arm has repeats.

    Repeat j of an arm is taken with repeat j of the others, an arm without repeats with its one
    run.
    """
    if not any(row["repeat"] for arm in arms(contrast) for row in evidence.runs_of(arm)):
        return None
    found: dict[int, list[float]] = {}
    for repeat in range(evidence.repeats):
        each = contrast_by_base(contrast, text, evidence.of_repeat(repeat))
        for base, value in each.items():
            if math.isfinite(value):
                found.setdefault(base, []).append(value)
    return repeat_components(list(found.values()))


def _share(contrast: Share, arm: float, start: float, full: float) -> float:
    """(arm - start) / (full - start); nan where `full` moves less than declared."""
    moved = full - start
    return (arm - start) / moved if abs(moved) >= contrast.moves_at_least else math.nan


def undefined_bases(contrast: Contrast, text: str, evidence: Evidence) -> frozenset[int]:
    """The bases for which a share is undefined: `full` moves less than declared. A base with a
    number that is not finite is not among them.
    """
    if not isinstance(contrast, Share):
        return frozenset()
    arm, start, full = (by_base(evidence, each, text) for each in arms(contrast))
    return frozenset(
        base
        for base in arm.keys() & start.keys() & full.keys()
        if abs(full[base] - start[base]) < contrast.moves_at_least
    )


def _log_ratio(arm: float, versus: float) -> float:
    """log(arm / versus); nan unless both are positive."""
    return math.log(arm / versus) if arm > 0.0 and versus > 0.0 else math.nan


def over_placebo(claim: Claim, placebo: ArmLabels, evidence: Evidence) -> dict[int, float]:
    """The claim's contrast minus the same contrast with the placebo in place of `arm`, by base."""
    whole = contrast_by_base(claim.contrast, claim.outcome, evidence)
    without = contrast_by_base(
        claim.contrast.model_copy(update={"arm": placebo}), claim.outcome, evidence
    )
    return {base: whole[base] - without[base] for base in sorted(whole.keys() & without.keys())}


def over_problems(contrast: Contrast, text: str, evidence: Evidence) -> Interval | None:
    """Bootstrap over problems of a contrast of scores, each problem's mean over the bases; None for
    other outcomes. Descriptive.

    It speaks for other problems of the kind and these very bases, where the verdict speaks for
    other bases.
    """
    wanted = outcome(text)
    linear = isinstance(contrast, Level | Difference | Interaction) and not (
        isinstance(contrast, Difference) and contrast.scale == "log"
    )
    if wanted.kind != "score" or wanted.column != "score" or not linear:
        return None
    sides = [_shares(evidence, arm, wanted.task or evidence.task_of(arm)) for arm in arms(contrast)]
    shared = sorted(set.intersection(*(set(side) for side in sides)))
    rows = [[side[base] for base in shared] for side in sides]
    if (
        not shared
        or len({(problems, len(values)) for side in rows for problems, values in side}) != 1
    ):
        return None  # other problems in one of the arms: nothing to pair
    weighted = [
        w * np.mean([values for _, values in side], axis=0)
        for w, side in zip(WEIGHTS[contrast.kind], rows, strict=True)
    ]
    return bootstrap_interval([float(number) for number in np.sum(weighted, axis=0)], seed=0)


def _shares(
    evidence: Evidence, arm: Mapping[str, str], task: str
) -> dict[int, tuple[str, list[float]]]:
    """Base -> the hash of its problems and each problem's share of correct samples."""
    scores = {
        record.seed: record.scores[task]
        for record in evidence.records(arm)
        if task in record.scores
    }
    return {
        base: (score.problems, [int(digit, 36) / score.k for digit in score.correct])
        for base, score in scores.items()
    }
