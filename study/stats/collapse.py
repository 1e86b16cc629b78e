"""Estimate the time to collapse with censoring: a run that did not collapse within its training is
known to last at least so long. Descriptive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.stats.distributions import survival


@dataclass(frozen=True)
class Survival:
    """The Kaplan-Meier curve of one arm: `shares[i]` of its bases had not collapsed after
    `times[i]`. restricted_mean: see `kaplan_meier`.
    """

    times: tuple[float, ...]
    shares: tuple[float, ...]
    collapsed: int
    n: int
    restricted_mean: float


def kaplan_meier(times: Sequence[float], collapsed: Sequence[bool], horizon: float) -> Survival:
    """Return the Kaplan-Meier curve and its restricted mean, the area under the curve up to
    `horizon`: steps that a base lasts on average, of the first `horizon`.

    times: the step of the collapse, or the last step of a run that did not collapse. Limits:
    without any collapse it is the horizon; without censoring before the horizon it is the mean of
    the times cut at the horizon. Raises ValueError on no run.
    """
    if not times:
        raise ValueError("time to collapse of no run is not defined")
    at, shares = survival(
        np.asarray(times, dtype=np.float64), np.asarray(collapsed, dtype=np.bool_)
    )
    area, before, share = 0.0, 0.0, 1.0
    for time, after in zip(at, shares, strict=True):
        area += share * (min(time, horizon) - before)
        before, share = min(time, horizon), after
    return Survival(
        tuple(at), tuple(shares), sum(collapsed), len(times), area + share * (horizon - before)
    )


def fell_at(steps: Sequence[int], accuracy: Sequence[float], *, share: float = 0.5) -> int | None:
    """Return the first step from which accuracy stays below `share` of its highest value so far
    until the end; None if it does not.

    Both the fall and its duration count: a dip from which a run comes back is not a collapse.
    """
    best, since = float("-inf"), None
    for step, value in zip(steps, accuracy, strict=True):
        best = max(best, value)
        low = value < share * best
        since = (step if since is None else since) if low else None
    return since
