"""Compute intervals: Student's t over base students (the unit of replication), seeded bootstrap
over problems (descriptive).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.stats.distributions import bootstrap_mean, t_quantile, t_upper_tail


@dataclass(frozen=True)
class Interval:
    """A mean with its limits. `low` and `high` are None where n does not allow an interval (n = 1):
    an unknown width is not zero width.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    confidence: float = 0.95

    @property
    def flat(self) -> bool:
        """Whether all values are equal: their spread is not known, so the limits are no interval.
        Pages then show the value and say so.
        """
        return self.n > 1 and self.low is not None and self.low == self.high


class Span(NamedTuple):
    """The values that a contrast can take; None = no limit on this side.

    level: it is a value of the outcome itself, not a difference of two.
    """

    low: float | None = None
    high: float | None = None
    level: bool = False


UNLIMITED = Span()
FRACTION = Span(0.0, 1.0, level=True)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return mean +- t_{(1 + confidence) / 2, n - 1} * s / sqrt(n), with s the sample standard
    deviation (n - 1).

    Limits: n = 1 has no interval; equal values give one of zero width. Raises ValueError on no
    values or on one that is not finite.
    """
    mean, deviation = moments(values)
    n = len(values)
    if deviation is None:
        return Interval(mean, None, None, n, confidence)
    half = t_quantile((1.0 + confidence) / 2.0, n - 1) * deviation / n**0.5
    return Interval(mean, mean - half, mean + half, n, confidence)


def moments(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (n - 1) of a few values, sums exactly
    rounded; None for the deviation of one value. Equal values have exactly none.

    Plain Python: for a handful of bases several times faster than numpy, and a simulation of power
    needs it a million times. Raises ValueError on no values or on one that is not finite.
    """
    if not len(values) or not all(map(math.isfinite, values)):
        _finite(values)
    n = len(values)
    if n == 1:
        return float(values[0]), None
    if min(values) == max(values):
        return float(values[0]), 0.0
    mean = math.fsum(values) / n
    squares = math.fsum([(value - mean) ** 2 for value in values])
    return mean, math.sqrt(squares / (n - 1))


def span_interval(
    values: Sequence[float],
    confidence: float = 0.95,
    span: Span = UNLIMITED,
    thresholds: Sequence[float] = (),
) -> Interval:
    """Return the t-interval of the mean m, kept inside what is possible.

    A level with two limits (a fraction) has its limits from the logit of the mean, by the delta
    method: with u = (m - low) / (high - low) and the standard error e = s / sqrt(n) / (high - low),

        logit(u) +- t_{(1 + confidence) / 2, n - 1} * e / (u (1 - u)),    then back

    so the mean stays the plain mean, single values of exactly 0 or 1 need no correction, and the
    limits are inside (docs/statistics.md compares its coverage with that of other choices). All
    else - differences, outcomes with one limit, a mean at a limit (then all values are equal), and
    a level whose threshold is not strictly inside its limits - has the plain t-interval, cut at the
    limits. A mean that is outside its limits is not cut at all. Errors as in `t_interval`.
    """
    plain = t_interval(values, confidence)
    outside = _cut(plain.mean, span) != plain.mean
    if plain.low is None or plain.high is None or plain.flat or outside:
        return plain  # equal values: exactly their value, which the logit and back would round
    if not _on_logit_scale(plain.mean, span, thresholds):
        low, high = _cut(plain.low, span), _cut(plain.high, span)
        return Interval(plain.mean, low, high, plain.n, confidence)
    start, width = _origin(span)
    share = (plain.mean - start) / width
    half = (plain.high - plain.mean) / width / (share * (1.0 - share))
    low, high = (start + width * _expit(_logit(share) + side * half) for side in (-1.0, 1.0))
    return Interval(plain.mean, low, high, plain.n, confidence)


def span_p(
    values: Sequence[float],
    threshold: float,
    span: Span = UNLIMITED,
    thresholds: Sequence[float] = (),
) -> float:
    """Return the two-sided p of the t-test of the mean against a threshold, on the scale of
    `span_interval`: below 1 - confidence exactly where that interval leaves the threshold out.

    thresholds: all that the interval must leave out, which choose its scale. Equal values give 0,
    or 1 at the threshold itself. Raises ValueError below two values.
    """
    mean, deviation = moments(values)
    if deviation is None:
        raise ValueError("a t-test needs at least two values")
    n, distance = len(values), abs(mean - threshold)
    if deviation == 0.0:
        return 1.0 if distance == 0.0 else 0.0
    error = deviation / n**0.5
    if _on_logit_scale(mean, span, (threshold, *thresholds)):
        start, width = _origin(span)
        share, bar = (mean - start) / width, (threshold - start) / width
        distance = abs(_logit(share) - _logit(bar))
        error = error / width / (share * (1.0 - share))
    return 2.0 * t_upper_tail(distance / error, n - 1)


def _on_logit_scale(mean: float, span: Span, thresholds: Sequence[float]) -> bool:
    if not span.level or span.low is None or span.high is None:
        return False
    return all(span.low < value < span.high for value in (mean, *thresholds))


def _origin(span: Span) -> tuple[float, float]:
    """Return where a span with two limits starts, and its width."""
    assert span.low is not None
    assert span.high is not None
    return span.low, span.high - span.low


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))


def _expit(value: float) -> float:
    """Return 1 / (1 + exp(-value)) without overflow."""
    if value < 0.0:
        grown = math.exp(value)
        return grown / (1.0 + grown)
    return 1.0 / (1.0 + math.exp(-value))


def _cut(limit: float, span: Span) -> float:
    above = limit if span.low is None else max(limit, span.low)
    return above if span.high is None else min(above, span.high)


def bootstrap_interval(
    values_P: Sequence[float], *, seed: int, confidence: float = 0.95, resamples: int = 2000
) -> Interval:
    """Return the percentile bootstrap of the mean over problems (scipy.stats.bootstrap), the same
    bytes for the same seed.

    It says how much the score would move with other problems of the same kind, for these very
    students; it says nothing about other base students. Percentile and not BCa, because BCa is
    undefined where all problems score alike. One problem has no interval.
    """
    values = _finite(values_P)
    if values.size == 1:
        return Interval(float(values[0]), None, None, 1, confidence)
    low, high = bootstrap_mean(values, np.random.default_rng(seed), confidence, resamples)
    return Interval(float(np.mean(values)), low, high, int(values.size), confidence)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError("an interval needs at least one value")
    if not bool(np.all(np.isfinite(array))):
        raise ValueError(
            "an interval needs finite values; a run that broke is an outcome of its own, not a"
            " number"
        )
    return array
