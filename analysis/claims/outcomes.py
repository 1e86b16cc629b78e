"""An outcome of an arm, by base student (`study/spec/report/outcome.py` says how it is written).

What the frames hold is taken from there; whole curves, further tasks, probes and collapses are read
again from the records of the arm. A base without the measurement is left out, never zero. A value
that is not finite stays: it is an outcome that carries no claim.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.evidence.curves import curve_of, series_of
from analysis.evidence.definitions import canonical_metric
from analysis.evidence.frames import Evidence, mean_by_base
from study.errors import SpecError
from study.record.schema import Record, Score
from study.spec.report.outcome import COLLAPSED, ReportOutcome, bounds, outcome
from study.stats.collapse import fell_at
from study.stats.distributions import binomial_limits
from study.stats.estimators import pass_at_k
from study.stats.intervals import Interval, Span, span_interval

ACCURACY = "eval/avg@k"


class Lasting(NamedTuple):
    """How long a run lasted: the step at which it collapsed, or its last step."""

    step: int
    collapsed: bool


class Reached(NamedTuple):
    """When a curve reached a value: the step, or where it never did the step that counts."""

    step: int
    reached: bool


def by_base(evidence: Evidence, arm: Mapping[str, str], text: str) -> dict[int, float]:
    """The outcome for every base that has it, bases in order; the mean over its repeats."""
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
    found = ((record.seed, get(record)) for record in evidence.every_record(arm))
    return mean_by_base((seed, number) for seed, number in found if number is not None)


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
        case "collapsed":
            return None if (lasted := lasting(record)) is None else float(lasted.collapsed)
        case "pass":
            score = record.scores.get(wanted.task or task)
            return None if score is None else _pass_at_k(score, wanted.k)
        case "steps_to":
            return None if (reached := steps_to(record, wanted)) is None else float(reached.step)
        case _:
            return _of_curve(_curve(record, wanted), wanted)


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


def _pass_at_k(score: Score, k: int) -> float:
    """Unbiased pass@k from the correct samples of each problem. Errors: SpecError for more than
    there are.
    """
    if k > score.k:
        raise SpecError(
            f"pass@{k} needs at least {k} samples of a problem; this evaluation has {score.k}",
            hint=f"pass@1 to pass@{score.k}, or an evaluation with k: {k}",
        )
    return pass_at_k([int(digit, 36) for digit in score.correct], score.k, k)


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


def _curve(record: Record, wanted: ReportOutcome) -> list[tuple[int, float]]:
    return curve_of(series_of(record), canonical_metric(wanted.column))


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
            return math.nan if any(map(math.isnan, values)) else max(values)
        case _:
            return values[-1]


def steps_to(record: Record, wanted: ReportOutcome) -> Reached | None:
    """When the curve is at least `wanted.reached` for the first time; None without a curve.

    A run that never is counts its last step. One that the guard stopped before counts all steps
    that were declared for it: its early end is no early success.
    """
    points = _curve(record, wanted)
    if not points:
        return None
    for step, number in points:
        if math.isfinite(number) and number >= wanted.reached:
            return Reached(step, reached=True)
    last = points[-1][0]
    return Reached(last if record.collapsed_at is None else max(last, _declared(record)), False)


def _declared(record: Record) -> int:
    """The declared number of training steps of the run's own model; 0 where it is not trained."""
    training = record.spec.get("model", {}).get("training") or {}
    return int(training.get("steps", 0))


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


def interval_of(text: str, by_base: Mapping[int, float]) -> Interval | None:
    """The mean over bases with its 95% interval; None without a base.

    Student's t inside what the outcome allows, but exact (Clopper-Pearson) for `collapsed`, whose
    mean is a rate, where each base has one training seed. Of values that are not all finite the
    mean is nan and there is no interval.
    """
    values = list(by_base.values())
    if not values:
        return None
    if not all(map(math.isfinite, values)):
        return Interval(math.nan, None, None, len(values))
    if outcome(text).kind != "collapsed" or not set(values) <= {0.0, 1.0}:
        return span_interval(values, span=Span(*bounds(text), level=True))
    events = round(sum(values))
    return Interval(events / len(values), *binomial_limits(events, len(values)), len(values))


def note_of(evidence: Evidence, arm: Mapping[str, str], text: str) -> str:
    """What the mean of an outcome hides, for one arm: the rate of collapse with its exact interval,
    or how many runs are censored; empty for other outcomes and without a base.
    """
    wanted = outcome(text)
    if wanted.kind == "collapsed":
        return _rate(by_base(evidence, arm, text))
    if wanted.kind == "collapse":
        found = [lasting(record) for record in evidence.every_record(arm)]
        lasted = [each for each in found if each is not None]
        censored = sum(not each.collapsed for each in lasted)
        return _censored(censored, len(lasted), "did not collapse")
    if wanted.kind == "steps_to":
        reached = [steps_to(record, wanted) for record in evidence.every_record(arm)]
        runs = [each for each in reached if each is not None]
        never = sum(not each.reached for each in runs)
        return _censored(never, len(runs), f"never reached {wanted.reached:g}")
    return ""


def _rate(by_base: Mapping[int, float]) -> str:
    interval = interval_of(COLLAPSED, by_base)
    if interval is None or interval.low is None or interval.high is None:
        return ""
    if not set(by_base.values()) <= {0.0, 1.0}:
        return f"rate {interval.mean:.3f} over several training seeds per base: no exact interval"
    events = round(interval.mean * interval.n)
    limits = f"[{interval.low:.3f}, {interval.high:.3f}]"
    return f"{events} of {interval.n} collapsed, rate {interval.mean:.3f} {limits} (exact 95%)"


def _censored(count: int, runs: int, what: str) -> str:
    return f"{count} of {runs} {what} and count the steps they had" if runs else ""
