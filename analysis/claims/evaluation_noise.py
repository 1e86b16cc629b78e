"""Estimate which share of a contrast's variance between bases is sampling of the evaluation."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from analysis.claims.outcomes import ACCURACY
from analysis.evidence.definitions import canonical_metric
from analysis.evidence.frames import Evidence
from study.record.schema import Score
from study.spec.report.claim import Claim
from study.spec.report.contrast import Change, Difference, Interaction, Level, Start, arms
from study.spec.report.outcome import ArmLabels, ReportOutcome, outcome


def sampling_share(
    claim: Claim, evidence: Evidence, bases: Iterable[int], deviation: float
) -> float | None:
    """Return (variance that sampled answers give the contrast of one base) / deviation^2.

    - final accuracy, of each arm: mean over problems of a (1 - a) / (k - 1), divided by the number
      of problems; a = the share of k samples that is correct. Unbiased for independent samples.
    - accuracy on the curve, whose counts by problem no record keeps: m (1 - m) / (k problems) with
      the mean m; an upper bound.

    Variances of the arms add up; the mean over bases counts. Above 1: the bases differ less than
    independent samples would make them. None: not known (other outcomes, ratios, no spread).
    """
    variances = _by_base(claim, evidence)
    known = [variances[base] for base in bases if base in variances]
    if not known or deviation <= 0.0:
        return None
    return float(np.mean(known)) / deviation**2


def _by_base(claim: Claim, evidence: Evidence) -> dict[int, float]:
    """Return base -> variance; only bases for which that of every arm is known."""
    contrast, wanted = claim.contrast, outcome(claim.outcome)
    ratio = isinstance(contrast, Change | Difference) and contrast.scale == "log"
    if ratio or not isinstance(contrast, Change | Start | Level | Difference | Interaction):
        return {}
    if wanted.kind == "score" and wanted.column == "score":
        parts = [_of_scores(evidence, arm, wanted.task) for arm in arms(contrast)]
    elif canonical_metric(wanted.column) == ACCURACY and wanted.kind in ("last", "step"):
        points: dict[str, tuple[str, ...]] = {"change": ("first", "last"), "start": ("first",)}
        ends = points.get(contrast.kind, ("last",))
        parts = [_of_curve(evidence, arm, wanted, end) for arm in arms(contrast) for end in ends]
    else:
        return {}
    shared = set.intersection(*(set(part) for part in parts))
    return {base: sum(part[base] for part in parts) for base in sorted(shared)}


def _of_scores(evidence: Evidence, arm: ArmLabels, task: str | None) -> dict[int, float]:
    name = task or evidence.task_of(arm)
    found: dict[int, list[float]] = {}
    for record in evidence.every_record(arm):
        score = record.scores.get(name)
        variance = None if score is None else score_variance(score)
        if variance is not None:
            found.setdefault(record.seed, []).append(variance)
    return {seed: _of_mean(variances) for seed, variances in found.items()}


def _of_mean(variances: list[float]) -> float:
    """Return the variance of the mean of independent values with these variances."""
    return sum(variances) / len(variances) ** 2


def score_variance(score: Score) -> float | None:
    """Return the variance of avg@k over other samples of the same problems; None at k = 1, where
    it cannot be separated.
    """
    if score.k < 2:
        return None
    shares = np.array([int(digit, 36) for digit in score.correct]) / score.k
    return float(np.mean(shares * (1.0 - shares))) / (score.k - 1) / score.num_problems


def _of_curve(
    evidence: Evidence, arm: ArmLabels, wanted: ReportOutcome, end: str
) -> dict[int, float]:
    samples = _curve_samples(evidence, arm)
    if samples is None:
        return {}
    if wanted.kind == "step":
        points = evidence.series(arm, ACCURACY)
        means = {point.seed: point.value for point in points if point.step == wanted.step}
    else:
        ends = evidence.ends(arm, ACCURACY)
        means = {
            seed: value for seed, at in ends.items() if (value := getattr(at, end)) is not None
        }
    repeats = Counter(int(row["seed"]) for row in evidence.runs_of(arm))
    return {seed: mean * (1.0 - mean) / (samples * repeats[seed]) for seed, mean in means.items()}


def _curve_samples(evidence: Evidence, arm: Mapping[str, str]) -> int | None:
    """Return k * problems of the curve that an arm's training measures; None without one."""
    training: Any = getattr(evidence.cell_of(arm).cell.model, "training", None)
    curve = getattr(training, "curve", None)
    return None if curve is None else curve.problems * curve.k
