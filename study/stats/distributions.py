"""The few things taken from scipy, with types: scipy ships none, and everything above this file is checked strictly."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_stats: Any = import_module("scipy.stats")
_optimize: Any = import_module("scipy.optimize")
_AT_ONCE = 50_000_000  # resampled values of a bootstrap held at a time


def t_quantile(probability: float, degrees: int) -> float:
    """The value that Student's t with `degrees` degrees of freedom stays below with this probability."""
    return float(_stats.t.ppf(probability, degrees))


def t_upper_tail(value: float, degrees: int) -> float:
    """P(T > value)."""
    return float(_stats.t.sf(value, degrees))


def noncentral_t_upper_tail(value: float, degrees: int, shift: float) -> float:
    """P(T > value) for a noncentral t with noncentrality `shift`."""
    return float(_stats.nct.sf(value, degrees, shift))


def binomial_limits(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) limits of a probability of which `successes` of `trials` independent trials are known."""
    found = _stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that changes its sign between low and high is zero (Brent)."""
    return float(_optimize.brentq(function, low, high))


def bootstrap_mean(values: NDArray[np.float64], generator: np.random.Generator, confidence: float, resamples: int) -> tuple[float, float]:
    """Percentile limits of the mean under resampling with replacement (scipy.stats.bootstrap), so many at a time as fit into 400 MB."""
    batch = None if values.size * resamples <= _AT_ONCE else max(1, _AT_ONCE // values.size)
    result = _stats.bootstrap(
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
