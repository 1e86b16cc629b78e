"""Compare arms: paired differences per base student, Holm's adjustment, and what a design can
detect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from study.stats.distributions import noncentral_t_upper_tail, root, t_quantile, t_upper_tail
from study.stats.intervals import UNLIMITED, Interval, Span, span_interval

ENOUGH, FIRM = 3, 5  # bases for any verdict; bases from which it is no longer provisional


@dataclass(frozen=True)
class Comparison:
    """Per-base differences, their mean with a t-interval, their standard deviation and a two-sided
    p against zero (None at n = 1).
    """

    differences: tuple[float, ...]
    interval: Interval
    deviation: float | None
    p_value: float | None


def paired_differences(
    a_by_base: Mapping[int, float], b_by_base: Mapping[int, float]
) -> dict[int, float]:
    """Return a - b for each base, in the order of the bases.

    Raises ValueError unless both sides have the same bases: pairs are never dropped.
    """
    if a_by_base.keys() != b_by_base.keys():
        unpaired = sorted(a_by_base.keys() ^ b_by_base.keys())
        raise ValueError(f"bases {unpaired} are on one side of the pair only")
    return {base: a_by_base[base] - b_by_base[base] for base in sorted(a_by_base)}


def compare(
    differences: Sequence[float], confidence: float = 0.95, span: Span = UNLIMITED
) -> Comparison:
    """Compare by the paired t: the mean difference with t_{n-1} limits, and p = 2 P(T_{n-1} >
    |mean| sqrt(n) / s).

    Limits: s = 0 gives p = 0 for a difference other than zero and p = 1 for none; n = 1 has neither
    interval nor p. span: what is possible (`span_interval`); p does not depend on it.
    """
    interval = span_interval(differences, confidence, span)
    if interval.n == 1:
        return Comparison(tuple(differences), interval, None, None)
    deviation = float(np.std(np.asarray(differences, dtype=np.float64), ddof=1))
    return Comparison(
        tuple(differences), interval, deviation, _two_sided_p(interval.mean, deviation, interval.n)
    )


def holm(p_by_name: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's step-down adjusted p: for the i-th smallest of m, max over j <= i of min(1, (m
    - j + 1) p_(j)).
    """
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, name in enumerate(sorted(p_by_name, key=lambda key: (p_by_name[key], key))):
        running = max(running, min(1.0, (len(p_by_name) - rank) * p_by_name[name]))
        adjusted[name] = running
    return adjusted


def holm_factors(p_by_name: Mapping[str, float], family: int = 0) -> dict[str, float]:
    """Return c with adjusted p = min(1, c p), so that the interval at confidence 1 - alpha / c
    decides exactly when adjusted p < alpha.

    For the i-th smallest p of m: c_i = max over j <= i of (m - j + 1) p_(j) / p_(i), at least m - i
    + 1. `family`: m, where claims without a p count too (they count as the largest p).
    """
    size, running = max(family, len(p_by_name)), 0.0
    factors: dict[str, float] = {}
    for rank, name in enumerate(sorted(p_by_name, key=lambda key: (p_by_name[key], key))):
        p = p_by_name[name]
        running = max(running, (size - rank) * p)
        factors[name] = running / p if p > 0.0 else float(size - rank)
    return factors


def p_against(comparison: Comparison, value: float) -> float | None:
    """Return the two-sided p of the paired t-test against a true mean of `value`; None at n = 1."""
    if comparison.deviation is None:
        return None
    return _two_sided_p(
        comparison.interval.mean - value, comparison.deviation, comparison.interval.n
    )


def detection_power(effect: float, deviation: float, n: int, alpha: float = 0.05) -> float:
    """Return the power of the paired t-test: P(|T| > t_{1 - alpha / 2, n - 1}) with T noncentral t,
    noncentrality |effect| sqrt(n) / deviation.
    """
    critical = t_quantile(1.0 - alpha / 2.0, n - 1)
    shift = abs(effect) * n**0.5 / deviation
    # From 5 on it is below 1e-8, and scipy's nct breaks down.
    far_tail = noncentral_t_upper_tail(critical, n - 1, -shift) if shift < 5.0 else 0.0
    return noncentral_t_upper_tail(critical, n - 1, shift) + far_tail


def minimum_detectable_effect(
    deviation: float, n: int, *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the smallest true mean difference that the paired t-test finds with this power, given
    the spread of per-base differences.

    Same unit as `deviation`. Limits: 0 where the differences do not vary. Raises ValueError below
    two bases.
    """
    if n < 2:
        raise ValueError("a paired comparison needs at least two bases")
    if deviation == 0.0:
        return 0.0
    standard_error = deviation / n**0.5
    upper = standard_error * 2.0 * (t_quantile(1.0 - alpha / 2.0, n - 1) + t_quantile(power, n - 1))

    def surplus(effect: float) -> float:
        return detection_power(effect, deviation, n, alpha) - power

    return root(surplus, 0.0, upper)


def bases_to_decide(
    mean: float, deviation: float, threshold: float, *, most: int = 50, alpha: float = 0.05
) -> int | None:
    """Return the fewest bases at which an interval around this mean, with this spread, would be on
    one side of `threshold`; None beyond `most`.

    This is a plan made from the data so far, not a promise: both numbers will change with more
    bases.
    """
    distance = abs(mean - threshold)
    for n in range(3, most + 1):
        if t_quantile(1.0 - alpha / 2.0, n - 1) * deviation / n**0.5 < distance:
            return n
    return None


def _two_sided_p(mean: float, deviation: float, n: int) -> float:
    if deviation == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return 2.0 * t_upper_tail(abs(mean) * n**0.5 / deviation, n - 1)
