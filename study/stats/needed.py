"""Compute how many bases would decide a claim, with a stated probability.

The per-base contrasts are taken as independent and normal, with the observed mean m and standard
deviation s as the true ones. A decision is that the paired t-interval with confidence 1 - alpha is
whole on that side of the threshold on which m is:

    positive, negative, not_worse   P(T > t_{1 - alpha / 2, n - 1}), T noncentral t with n - 1
                                    degrees and noncentrality |m - threshold| sqrt(n) / s
    equal, |m| < threshold          P(-threshold < low and high < threshold): the integral over the
                                    distribution of the sample's deviation, 4,000 equal parts
    equal, |m| > threshold          as above, with ||m| - threshold|

s itself is uncertain: s^2 (n - 1) / sigma^2 is chi-square with n - 1 degrees. The 80 % limits of
sigma give the range of the number of bases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from study.stats.distributions import (
    chi_square_quantiles,
    noncentral_t_upper_tail,
    normal_below,
    t_quantile,
)

FEWEST, MOST = 3, 2_000  # bases that a search looks at
PROBABILITY = 0.9
SPREAD_CONFIDENCE = 0.8
_PARTS = 4_000


@dataclass(frozen=True)
class Needed:
    """Bases at which a decision falls with `probability`; None = more than MOST.

    low, high: the same at the 80 % limits of the standard deviation.
    """

    n: int | None
    low: int | None
    high: int | None
    probability: float = PROBABILITY

    @property
    def text(self) -> str:
        """Write "about 11 bases (6 to 31) would decide it with probability 0.9"."""
        if self.n is None:
            return f"more than {MOST:,} bases would be needed at this spread"
        ends = f"{_count(self.low)} to {_count(self.high)}"
        return (
            f"about {self.n} bases ({ends}) would decide it with probability {self.probability:g}"
        )


def bases_needed(
    mean: float,
    deviation: float,
    n: int,
    threshold: float,
    expectation: str,
    alpha: float = 0.05,
    probability: float = PROBABILITY,
) -> Needed:
    """Return the fewest bases at which a decision falls with this probability, and its range.

    mean, deviation, n: of the per-base contrasts so far. threshold: the value, with its sign, that
    the interval must leave out; for `equal` the smallest effect. alpha: 1 - confidence of the
    interval that decides. Raises ValueError below two bases.
    """

    def fewest(spread: float) -> int | None:
        return _fewest(mean, spread, threshold, expectation, alpha, probability)

    low, high = deviation_limits(deviation, n)
    return Needed(fewest(deviation), fewest(low), fewest(high), probability)


def bases_needed_for(
    values: Sequence[float],
    threshold: float,
    expectation: str,
    alpha: float = 0.05,
    probability: float = PROBABILITY,
) -> Needed:
    """Return `bases_needed` of per-base contrasts."""
    array = np.asarray(values, dtype=np.float64)
    mean, deviation = float(np.mean(array)), float(np.std(array, ddof=1))
    return bases_needed(mean, deviation, array.size, threshold, expectation, alpha, probability)


def decision_chance(
    mean: float, deviation: float, n: int, threshold: float, expectation: str, alpha: float = 0.05
) -> float:
    """Return the probability of a decision by n new bases (formulas: this module).

    Limits: no spread decides for sure, unless the mean is on the threshold.
    """
    bar = abs(threshold)
    distance = abs(abs(mean) - bar) if expectation == "equal" else abs(mean - threshold)
    if deviation == 0.0:
        return float(distance > 0.0)
    if expectation == "equal" and abs(mean) < bar:
        return _within_chance(mean, deviation, n, bar, alpha)
    critical = t_quantile(1.0 - alpha / 2.0, n - 1)
    return noncentral_t_upper_tail(critical, n - 1, distance * n**0.5 / deviation)


def word_in_sight(mean: float, threshold: float, expectation: str) -> str:
    """Return the word that more bases would give if the mean so far is the true one."""
    if expectation == "equal":
        reached = abs(mean) < abs(threshold)
    elif expectation == "negative" or (expectation == "not_worse" and threshold > 0.0):
        reached = mean < threshold
    else:
        reached = mean > threshold
    return "REPRODUCED" if reached else "CONTRADICTED"


def deviation_limits(
    deviation: float, n: int, confidence: float = SPREAD_CONFIDENCE
) -> tuple[float, float]:
    """Return limits of the true standard deviation, given that of n normal values:
    s sqrt((n - 1) / chi-square quantile), the same tail left out on both sides.
    """
    if n < 2:
        raise ValueError("a spread needs at least two bases")
    tail = (1.0 - confidence) / 2.0
    high, low = chi_square_quantiles(np.array([tail, 1.0 - tail]), n - 1)
    return deviation * float(((n - 1) / low) ** 0.5), deviation * float(((n - 1) / high) ** 0.5)


def _fewest(
    mean: float,
    deviation: float,
    threshold: float,
    expectation: str,
    alpha: float,
    probability: float,
) -> int | None:
    def enough(n: int) -> bool:
        chance = decision_chance(mean, deviation, n, threshold, expectation, alpha)
        return chance >= probability

    high = FEWEST
    while not enough(high):
        if high >= MOST:
            return None
        high = min(2 * high, MOST)
    low = FEWEST if high == FEWEST else high // 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def _within_chance(mean: float, deviation: float, n: int, bar: float, alpha: float) -> float:
    """Return P(-bar < low and high < bar): given the half width h, the mean of n values must be
    within bar - h of zero.
    """
    error = deviation / n**0.5
    half = t_quantile(1.0 - alpha / 2.0, n - 1) * error * _relative_deviations(n - 1)
    room = bar - half
    inside = normal_below((room - mean) / error) - normal_below((-room - mean) / error)
    return float(np.mean(np.where(room > 0.0, inside, 0.0)))


@cache
def _relative_deviations(degrees: int) -> NDArray[np.float64]:
    """Return sample deviation / true deviation at the middles of equal parts of probability."""
    middles = (np.arange(_PARTS) + 0.5) / _PARTS
    return np.sqrt(chi_square_quantiles(middles, degrees) / degrees)


def _count(number: int | None) -> str:
    return f"over {MOST:,}" if number is None else str(number)
