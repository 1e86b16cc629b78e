"""Wrap the few functions taken from scipy, with types: scipy has none, and everything that uses
this file is checked strictly.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 50_000_000  # resampled values of a bootstrap in memory at a time


@cache
def _scipy(part: str) -> Any:
    """Import a part of scipy at its first use: scipy.stats takes over a second to import."""
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
    """Return P(T > value) for a noncentral t with noncentrality `shift`."""
    return float(_scipy("stats").nct.sf(value, degrees, shift))


def chi_square_quantiles(probabilities: NDArray[np.float64], degrees: int) -> NDArray[np.float64]:
    """Return the values that chi-square with `degrees` degrees of freedom stays below with these
    probabilities.
    """
    return np.asarray(_scipy("stats").chi2.ppf(probabilities, degrees), dtype=np.float64)


def normal_below(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(Z < value) of the standard normal distribution."""
    return np.asarray(_scipy("special").ndtr(values), dtype=np.float64)


def binomial_limits(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) limits of the probability of success, given `successes` of
    `trials` independent trials.
    """
    found = _scipy("stats").binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def binomial_p(successes: int, trials: int) -> float:
    """Return the exact two-sided p of `successes` of `trials` against a fair coin (McNemar's test
    of discordant pairs); 1 without a trial.
    """
    return float(_scipy("stats").binomtest(successes, trials, 0.5).pvalue) if trials else 1.0


def sign_flip_p(values: NDArray[np.float64], generator: np.random.Generator) -> float:
    """Return the two-sided p of the mean under random signs (scipy.stats.permutation_test): exact
    up to 13 values, else 10,000 draws.
    """
    found = _scipy("stats").permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        rng=generator,
        alternative="two-sided",
    )
    return float(found.pvalue)


def survival(
    times: NDArray[np.float64], ended: NDArray[np.bool_]
) -> tuple[list[float], list[float]]:
    """Return the Kaplan-Meier estimate (scipy.stats.ecdf of censored data): times and the share
    that has not ended by them. ended = False: censored.
    """
    data = _scipy("stats").CensoredData(uncensored=times[ended], right=times[~ended])
    curve = _scipy("stats").ecdf(data).sf
    return [float(time) for time in curve.quantiles], [
        float(share) for share in curve.probabilities
    ]


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that changes its sign between low and high is zero (Brent)."""
    return float(_scipy("optimize").brentq(function, low, high))


def bootstrap_mean(
    values: NDArray[np.float64], generator: np.random.Generator, confidence: float, resamples: int
) -> tuple[float, float]:
    """Return percentile limits of the mean under resampling with replacement
    (scipy.stats.bootstrap), as many at a time as fit into 400 MB.
    """
    batch = None if values.size * resamples <= _AT_ONCE else max(1, _AT_ONCE // values.size)
    result = _scipy("stats").bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=batch,
        method="percentile",
        vectorized=True,
        rng=generator,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
