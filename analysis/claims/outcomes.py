"""An outcome of an arm, by base student (`study/spec/report/outcome.py` says how it is written).

What the frames hold is taken from there; whole curves, further tasks, probes and collapses are read
again from the records of the arm. A base without the measurement is left out, never zero. A value
that is not finite stays: it is an outcome that carries no claim.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.evidence.curves import series_of
from analysis.evidence.definitions import canonical_metric
from analysis.evidence.frames import Evidence
from study.record.schema import Record, Score
from study.spec.report.outcome import ReportOutcome, outcome
from study.stats.collapse import fell_at

ACCURACY = "eval/avg@k"


class Lasting(NamedTuple):
    """How long a run lasted: the step at which it collapsed, or its last step."""

    step: int
    collapsed: bool


def by_base(evidence: Evidence, arm: Mapping[str, str], text: str) -> dict[int, float]:
    """The outcome for every base that has it, bases in order."""
    wanted = outcome(text)
    if (
        wanted.kind == "score"
        and wanted.task is None
        and wanted.column in ("score", "truncated_fraction", "unparsed_fraction", "mean_tokens")
    ):
        return evidence.by_base(arm, wanted.column)
    if wanted.kind == "last":
        ends = evidence.ends(arm, canonical_metric(wanted.column))
        return {seed: curve.last for seed, curve in ends.items() if curve.last is not None}
    return _read(evidence, arm, lambda record: value(record, wanted, evidence.task_of(arm)))


def _read(
    evidence: Evidence, arm: Mapping[str, str], get: Callable[[Record], float | None]
) -> dict[int, float]:
    found = {record.seed: get(record) for record in evidence.records(arm)}
    return {seed: number for seed, number in found.items() if number is not None}


def value(record: Record, wanted: ReportOutcome, task: str) -> float | None:
    """One record's outcome; None where it was not measured. task: the cell's own."""
    match wanted.kind:
        case "score":
            score = record.scores.get(wanted.task or task)
            return None if score is None else of_score(score, wanted.column)
        case "probe":
            return _of_probe(record, wanted)
        case "signal_gap":
            return _signal_gap(record)
        case "collapse":
            return None if (lasted := lasting(record)) is None else float(lasted.step)
        case _:
            return _of_curve(series_of(record).get(canonical_metric(wanted.column), []), wanted)


def of_score(score: Score, column: str) -> float | None:
    """parsed_accuracy = correct / samples with a readable answer, which truncated and unparsed ones
    have not; nan where none has.
    """
    match column:
        case "score":
            return score.mean
        case "parsed_accuracy":
            readable = 1.0 - score.unparsed_fraction - score.truncated_fraction
            return score.mean / readable if readable > 1e-9 else math.nan
        case _:
            return getattr(score, column)


def _of_probe(record: Record, wanted: ReportOutcome) -> float | None:
    found = record.probes.get(wanted.probe, {}).get(wanted.column)
    return None if found is None else float(found)


def _signal_gap(record: Record) -> float | None:
    """None where the start of training has no completion of one of the two kinds."""
    first = next(iter(record.log_ratio.get("points", [])), None)
    means = (
        [_pooled(first[kind], first[f"{kind}_tokens"]) for kind in ("wrong", "correct")]
        if first
        else []
    )
    return None if not means or means[0] is None or means[1] is None else means[0] - means[1]


def _pooled(values: Sequence[float | None], tokens: Sequence[int]) -> float | None:
    held = [(value, n) for value, n in zip(values, tokens, strict=True) if value is not None and n]
    return sum(abs(value) * n for value, n in held) / sum(n for _, n in held) if held else None


def _of_curve(points: list[tuple[int, float]], wanted: ReportOutcome) -> float | None:
    if not points:
        return None
    steps, values = [step for step, _ in points], [number for _, number in points]
    match wanted.kind:
        case "step":
            return dict(points).get(wanted.step or 0)
        case "auc":
            return (
                float(np.trapezoid(values, steps)) / (steps[-1] - steps[0])
                if steps[-1] > steps[0]
                else None
            )
        case "best":
            return max(values)
        case _:
            return values[-1]


def lasting(record: Record) -> Lasting | None:
    """The guard's stop, or the step from which sampled accuracy stays below half of its best, or
    the last step; None without a curve.
    """
    if record.collapsed_at is not None:
        return Lasting(record.collapsed_at, True)
    points = series_of(record).get(ACCURACY, [])
    if not points:
        return None
    fell = fell_at([step for step, _ in points], [number for _, number in points])
    return Lasting(points[-1][0], False) if fell is None else Lasting(fell, True)


def lastings(evidence: Evidence, arm: Mapping[str, str]) -> dict[int, Lasting]:
    """`lasting` by base."""
    return {
        record.seed: lasted
        for record in evidence.records(arm)
        if (lasted := lasting(record)) is not None
    }
