"""Compute intervals: Student's t over base students (the unit of replication), seeded bootstrap
over problems (descriptive).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.stats.distributions import bootstrap_mean, t_quantile


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


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return mean +- t_{(1 + confidence) / 2, n - 1} * s / sqrt(n), with s the sample standard
    deviation (n - 1).

    Limits: n = 1 has no interval; equal values give one of zero width. Raises ValueError on no
    values or on one that is not finite.
    """
    values_R = _finite(values)
    mean, n = float(np.mean(values_R)), int(values_R.size)
    if n == 1:
        return Interval(mean, None, None, n, confidence)
    half = t_quantile((1.0 + confidence) / 2.0, n - 1) * float(np.std(values_R, ddof=1)) / n**0.5
    return Interval(mean, mean - half, mean + half, n, confidence)


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
