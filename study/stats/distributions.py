"""Compute the few distributions that the statistics need, with types: scipy has none, and
everything that uses this file is checked strictly.
"""

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 50_000_000  # resampled values of a bootstrap in memory at a time
_SIGN_DRAWS = 10_000


@cache
def _scipy(part: str) -> Any:
    """Import a part of scipy at its first use. scipy.stats is not used: it takes more than half a
    second to import, and scipy.special holds the same functions.
    """
    return import_module(f"scipy.{part}")


def t_quantile(probability: float, degrees: int) -> float:
    """Return the value that Student's t with `degrees` degrees of freedom stays below with this
    probability.
    """
    return float(_scipy("special").stdtrit(degrees, probability))


def t_upper_tail(value: float, degrees: int) -> float:
    """Return P(T > value)."""
    return float(_scipy("special").stdtr(degrees, -value))


def noncentral_t_upper_tail(value: float, degrees: int, shift: float) -> float:
    """Return P(T > value) for a noncentral t with noncentrality `shift`.

    It is P(-T < -value), and -T is noncentral t with noncentrality -shift: so a small tail keeps
    its digits, which 1 - P(T <= value) would lose.
    """
    below = float(_scipy("special").nctdtr(degrees, -shift, -value))
    given = (value, float(degrees), shift)
    # The sum of a tail below 1e-16 can end below zero, which scipy answers with nan.
    return 0.0 if math.isnan(below) and degrees > 0 and all(map(math.isfinite, given)) else below


def chi_square_quantiles(probabilities: NDArray[np.float64], degrees: int) -> NDArray[np.float64]:
    """Return the values that chi-square with `degrees` degrees of freedom stays below with these
    probabilities.
    """
    halves = _scipy("special").gammaincinv(degrees / 2.0, probabilities)
    return np.asarray(2.0 * halves, dtype=np.float64)


def normal_below(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(Z < value) of the standard normal distribution."""
    return np.asarray(_scipy("special").ndtr(values), dtype=np.float64)


def binomial_limits(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) limits of the probability of success, given `successes` of
    `trials` independent trials.

    The lower limit is the tail / 2 quantile of Beta(successes, failures + 1), the upper one the
    1 - tail / 2 quantile of Beta(successes + 1, failures). Raises ValueError unless
    0 <= successes <= trials and trials > 0.
    """
    _refuse_impossible(successes, trials)
    if trials == 0:
        raise ValueError("the limits of a share need at least one trial")
    failures, tail = trials - successes, (1.0 - confidence) / 2.0
    quantile = _scipy("special").betaincinv
    low = float(quantile(successes, failures + 1, tail)) if successes else 0.0
    high = float(quantile(successes + 1, failures, 1.0 - tail)) if failures else 1.0
    return low, high


def binomial_p(successes: int, trials: int) -> float:
    """Return the exact two-sided p of `successes` of `trials` against a fair coin (McNemar's test
    of discordant pairs): twice the smaller tail, at most 1; 1 without a trial.

    Raises ValueError unless 0 <= successes <= trials.
    """
    _refuse_impossible(successes, trials)
    fewer = min(successes, trials - successes)
    if 2 * fewer == trials:  # also without a trial; both tails hold the middle
        return 1.0
    return min(1.0, 2.0 * float(_scipy("special").bdtr(fewer, trials, 0.5)))


def _refuse_impossible(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials are impossible")


def sign_flip_p(values: NDArray[np.float64], generator: np.random.Generator) -> float:
    """Return the two-sided p of the mean under random signs: exact up to 13 values, else 10,000
    draws. It is twice the smaller of the shares of signs whose mean is at least, and at most, the
    observed one.

    The draws and the tolerance of ties are those of scipy.stats.permutation_test, so that the same
    values have the same p.
    """
    n, exact = values.size, 2**values.size <= _SIGN_DRAWS
    if exact:
        choices = np.arange(2**n, dtype=np.int64)
        flipped = (choices >> np.arange(n, dtype=np.int64)[:, np.newaxis]) % 2 == 1
    else:
        pairs = np.tile(np.arange(2), (_SIGN_DRAWS, n, 1))
        flipped = generator.permuted(pairs, axis=-1)[:, :, 0].T == 1
    means = np.sum(np.where(flipped, -values[:, np.newaxis], values[:, np.newaxis]), axis=0) / n
    observed = np.mean(values)
    ties = np.abs(observed) * 100.0 * np.finfo(np.float64).eps
    at_most = np.count_nonzero(means <= observed + ties)
    at_least = np.count_nonzero(means >= observed - ties)
    drawn = 0 if exact else 1  # the observed signs are one more draw
    return float(min(1.0, 2.0 * (min(at_most, at_least) + drawn) / (means.size + drawn)))


def survival(
    times: NDArray[np.float64], ended: NDArray[np.bool_]
) -> tuple[list[float], list[float]]:
    """Return the Kaplan-Meier estimate: the distinct times, and the share that has not ended by
    each. ended = False: censored.

    share(t) = product over times u <= t of 1 - ended at u / still there before u
    """
    at, place = np.unique(times, return_inverse=True)
    leaving = np.bincount(place, minlength=at.size)
    ending = np.bincount(place, weights=ended, minlength=at.size)
    still_there = times.size - np.cumsum(leaving) + leaving
    shares = np.cumprod((still_there - ending) / still_there)
    return [float(time) for time in at], [float(share) for share in shares]


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that changes its sign between low and high is zero (Brent)."""
    return float(_scipy("optimize").brentq(function, low, high))


def bootstrap_mean(
    values: NDArray[np.float64], generator: np.random.Generator, confidence: float, resamples: int
) -> tuple[float, float]:
    """Return percentile limits of the mean under resampling with replacement, as many resamples at
    a time as fit into 400 MB.

    The draws and the limits are those of scipy.stats.bootstrap with the same generator.
    """
    at_once = max(1, min(resamples, _AT_ONCE // values.size))
    means: list[NDArray[np.float64]] = []
    for done in range(0, resamples, at_once):
        rows = min(at_once, resamples - done)
        chosen = generator.integers(0, values.size, (rows, values.size))
        means.append(values[chosen].mean(axis=-1))
    tail = (1.0 - confidence) / 2.0
    low, high = np.percentile(np.concatenate(means), [100.0 * tail, 100.0 * (1.0 - tail)])
    return float(low), float(high)
