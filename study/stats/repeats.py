"""Separate the variance of training from that of bases, where bases have several training seeds.

The value of repeat j on base i is

    x_ij = mean + u_i + e_ij        variances: base (u), repeat (e: training, and what one
                                    evaluation adds)

and by the method of moments of a one-way layout with b bases, r_i repeats of base i and N values,

    within  = sum_ij (x_ij - mean_i)^2 / (N - b)              estimates repeat
    between = sum_i r_i (mean_i - mean)^2 / (b - 1)           estimates repeat + r0 base
    r0      = (N - sum_i r_i^2 / N) / (b - 1)                 r where all bases have r

A base whose value is the mean of r repeats varies by base + repeat / r (Searle, Casella, McCulloch
1992, Variance Components, section 3.6).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RepeatComponents:
    """Variances between bases and between the repeats of a base; a negative estimate of the first
    is 0. repeats: r0, the number of repeats per base.
    """

    base: float
    repeat: float
    repeats: float

    def deviation(self, repeats: int) -> float:
        """Return the standard deviation between bases, each the mean of so many repeats."""
        return (self.base + self.repeat / repeats) ** 0.5


def repeat_components(values_by_base: Sequence[Sequence[float]]) -> RepeatComponents | None:
    """Estimate both components; None unless two bases are there and one of them has two repeats."""
    groups = [np.asarray(values, dtype=np.float64) for values in values_by_base if len(values)]
    sizes = np.array([group.size for group in groups])
    bases, total = len(groups), int(sizes.sum())
    if bases < 2 or total == bases:
        return None
    means = np.array([float(group.mean()) for group in groups])
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / (total - bases)
    grand = float((sizes * means).sum()) / total
    between = float((sizes * (means - grand) ** 2).sum()) / (bases - 1)
    repeats = (total - float((sizes**2).sum()) / total) / (bases - 1)
    return RepeatComponents(max(0.0, (between - within) / repeats), within, repeats)
