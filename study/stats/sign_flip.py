"""Compute the exact sign-flip test of a mean: it assumes that differences are symmetric around the
tested value, and no normal distribution.

Of all 2^n choices of signs e, with d_i = value_i - tested value:

    p(mean is higher) = share of the choices with sum e_i d_i >= sum d_i

The observed choice is one of them, so p is at least 1 / 2^n, and a two-sided p (twice the one-sided
one) at least 2 / 2^n (Fisher 1935, The Design of Experiments, section 21).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FROM = 8  # bases; below, no family of more than 3 claims has a level that the test can reach
EXACT = 40  # bases; each half of the signs then has 2^20 choices
DRAWS = 100_000  # choices of signs beyond
_ROUNDING = 1e-12  # of the sum of all sizes: sums this close are equal but for rounding


def sign_flip_floor(n: int) -> float:
    """Return the smallest two-sided p that n differences can have: 2 / 2^n."""
    return 2.0 / 2.0**n


def largest_family(n: int, alpha: float = 0.05) -> int:
    """Return the largest m for which a p of n differences can reach alpha / m: 6 for n = 8, 25 for
    n = 10; 0 where n differences cannot even reach alpha.
    """
    return int(alpha / sign_flip_floor(n) + 1e-9)


def p_higher(differences: Sequence[float]) -> float:
    """Return the one-sided p that the mean is above zero; of the mean below zero: negate them.

    Exact up to 40 differences: the sums of both halves are sorted and matched, so the work grows
    with 2^(n / 2). Beyond, 100,000 choices of signs are drawn with a fixed seed and the observed
    one is added. Raises ValueError on no difference and on one that is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0 or not bool(np.isfinite(values).all()):
        raise ValueError("a sign-flip test needs at least one difference, all of them finite")
    least = float(values.sum()) - _ROUNDING * float(np.abs(values).sum())
    if values.size > EXACT:
        return _drawn(values, least)
    left, right = _sums(values[: values.size // 2]), np.sort(_sums(values[values.size // 2 :]))
    below = int(np.searchsorted(right, least - left, side="left").sum())
    return (left.size * right.size - below) / 2.0**values.size


def p_leaves(values: Sequence[float], thresholds: Sequence[float]) -> float:
    """Return the two-sided p of the mean against one threshold, or against both limits of an
    equivalence.

    Twice the one-sided p of the side on which the mean is; inside two limits the larger of the two,
    as both one-sided tests must reach alpha / 2; outside of them that of the nearer limit.
    """
    mean = math.fsum(values) / len(values)
    if len(thresholds) == 2 and not thresholds[0] < mean < thresholds[1]:
        thresholds = (min(thresholds, key=lambda bar: abs(mean - bar)),)
    sides = [(1.0 if mean > bar else -1.0, bar) for bar in thresholds]
    one_sided = [p_higher([side * (value - bar) for value in values]) for side, bar in sides]
    return min(1.0, 2.0 * max(one_sided))


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the values under each choice of their signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums - value, sums + value))
    return sums


def _drawn(values: NDArray[np.float64], least: float) -> float:
    generator = np.random.default_rng(0)
    reached = 1
    for _ in range(DRAWS // 1000):
        signs = generator.integers(0, 2, (1000, values.size)) * 2.0 - 1.0
        reached += int((signs @ values >= least).sum())
    return reached / (DRAWS + 1)
