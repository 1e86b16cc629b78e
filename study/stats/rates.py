"""Compute the rate at which replies do something: a mean over problems of the share of their
replies, with an interval over problems.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from study.stats.distributions import binomial_limits
from study.stats.intervals import Interval, bootstrap_interval

SEED = 0


@dataclass(frozen=True)
class Rate:
    """Mean over problems of a share of their replies; `samples` replies in all."""

    interval: Interval
    samples: int


def rate(flags_PS: Sequence[Sequence[bool]]) -> Rate | None:
    """Return the rate of P problems with S flags each; None without problems.

    The limits are a bootstrap over problems (fixed seed). Where all problems have the same share
    resampling cannot move the mean: limits are exact (Clopper-Pearson over problems) for shares of
    0 and 1, and None otherwise.
    """
    if not flags_PS:
        return None
    shares = [sum(flags) / len(flags) for flags in flags_PS]
    samples = sum(map(len, flags_PS))
    if len(set(shares)) > 1:
        return Rate(bootstrap_interval(shares, seed=SEED), samples)
    low, high = None, None
    if shares[0] in (0.0, 1.0):
        low, high = binomial_limits(round(shares[0] * len(shares)), len(shares))
    return Rate(Interval(shares[0], low, high, len(shares)), samples)
