"""Compute what a comparison of two arms can detect: variance components, the design, the smallest
effect it finds.

The difference of problem p on base b, with a = the true accuracy of an arm there:

    d_bp = effect + u_b + v_p + w_bp + error        variances: base, problem, both, sampling / k
    sampling = mean of a (1 - a), summed over the two arms: what one sample adds by chance
               (binomial)

and its mean over n bases and P problems has the variance

    over problems   problem / P + (both + sampling / k) / (n P)     t with P - 1: other problems of
                                                                    this kind, these bases
    over bases      base / n    + (both + sampling / k) / (n P)     t with n - 1: other bases, these
                                                                    problems

Unpaired (other problems, other bases in each arm): the components of one arm's scores, twice, and 2
P - 2 or 2 n - 2 degrees. Limits: k without end leaves problem / P; bases without end leave nothing
over bases. Scores near 0 or 1 vary less than this says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.stats.comparisons import detection_power, minimum_detectable_effect
from study.stats.distributions import t_quantile

Over = Literal["problems", "bases"]
Knob = Literal["problems", "k", "bases"]
MOST = 100_000  # the largest number of problems, samples or bases of a design
Counts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Components:
    """Variances of one number: an arm's score or the difference of two.

    Squares of accuracy as a fraction.
    """

    base: float
    problem: float
    both: float
    sampling: float


@dataclass(frozen=True)
class Spread:
    """Components of an arm and of a difference. score: of one arm. difference: of two arms on the
    same problems and bases.
    """

    score: Components
    difference: Components


@dataclass(frozen=True)
class Design:
    """P problems, k samples of each, n bases, in each of two arms."""

    problems: int
    k: int = 1
    bases: int = 1
    paired: bool = True

    @property
    def samples(self) -> int:
        """Count the samples of both arms together."""
        return 2 * self.problems * self.k * self.bases


@dataclass(frozen=True)
class Sight:
    """What a design can detect. critical: an observed difference is significant from here on.
    detectable: a true one is found with the requested power from here on.
    """

    critical: float
    detectable: float
    standard_error: float
    degrees: int


def assumed(
    accuracy: float = 0.5,
    *,
    between: float = 1 / 3,
    alike: float = 0.8,
    score_sd: float = 0.03,
    effect_sd: float = 0.02,
) -> Spread:
    """Return assumed components where nothing was measured.

    between: share of a single sample's variance m (1 - m) that is between problems (1/3: accuracies
    spread evenly over 0..1). alike: correlation of the problems' accuracies between the arms.
    score_sd, effect_sd: of scores and of the effect between bases.
    """
    whole = accuracy * (1.0 - accuracy)
    score = Components(score_sd**2, between * whole, 0.0, (1.0 - between) * whole)
    return Spread(
        score,
        Components(effect_sd**2, 2.0 * between * whole * (1.0 - alike), 0.0, 2.0 * score.sampling),
    )


def measured(a_BP: Counts, b_BP: Counts, k: int) -> Spread:
    """Estimate components from counts of k samples: B bases by P problems in each arm, the same on
    both sides.

    Two-way analysis of variance, negative estimates taken as 0. One base: the part of bases is not
    measured (base = both = 0). k = 1: chance and the joint part of problem and base are one number,
    `sampling`. Raises ValueError on shapes that differ or on fewer than two problems.
    """
    a, b = _shares(a_BP, k), _shares(b_BP, k)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] < 2:
        raise ValueError(
            "variance components need the same bases and the same problems, at least two, in both"
            " arms"
        )
    chance = [_chance(arm, k) for arm in (a, b)]
    scores = [_components(arm, one, k) for arm, one in zip((a, b), chance, strict=True)]
    return Spread(
        _median(scores),
        _components(a - b, None if None in chance else sum(c or 0.0 for c in chance), k),
    )


def typical(spreads: Sequence[Spread]) -> Spread:
    """Return the median of every component: one broken arm does not decide for all.

    Raises ValueError on none.
    """
    if not spreads:
        raise ValueError("no pair of arms to take components from")
    return Spread(_median([s.score for s in spreads]), _median([s.difference for s in spreads]))


def sight(
    spread: Spread, design: Design, over: Over, *, power: float = 0.8, alpha: float = 0.05
) -> Sight | None:
    """Return what a design can detect; None where there is only one problem or base: its noise
    cannot be separated from an effect.
    """
    units = design.problems if over == "problems" else design.bases
    if units < 2:
        return None
    error, degrees = standard_error(spread, design, over), (units - 1) * (1 if design.paired else 2)
    # The deviation of degrees + 1 differences with this standard error.
    as_paired = error * (degrees + 1) ** 0.5
    found = minimum_detectable_effect(as_paired, degrees + 1, power=power, alpha=alpha)
    return Sight(t_quantile(1.0 - alpha / 2.0, degrees) * error, found, error, degrees)


def standard_error(spread: Spread, design: Design, over: Over) -> float:
    """Return the standard error of the mean difference, by the formulas of this module."""
    parts, arms = (spread.difference, 1) if design.paired else (spread.score, 2)
    shared = (parts.both + parts.sampling / design.k) / (design.bases * design.problems)
    own = parts.problem / design.problems if over == "problems" else parts.base / design.bases
    return float((arms * (own + shared)) ** 0.5)


def power_of(
    effect: float, spread: Spread, design: Design, over: Over, *, alpha: float = 0.05
) -> float | None:
    """Return the chance that a true effect of this size is found."""
    seen = sight(spread, design, over, alpha=alpha)
    if seen is None:
        return None
    if seen.standard_error == 0.0:
        return 1.0 if effect else alpha
    return detection_power(
        effect, seen.standard_error * (seen.degrees + 1) ** 0.5, seen.degrees + 1, alpha
    )


def fewest(
    effect: float, spread: Spread, design: Design, over: Over, knob: Knob, *, power: float = 0.8
) -> int | None:
    """Return the smallest value of one knob at which the effect is found with this power, the
    others unchanged; None where none is enough.
    """

    def enough(value: int) -> bool:
        seen = sight(spread, replace(design, **{knob: value}), over, power=power)
        return seen is not None and seen.detectable <= abs(effect)

    high = 1
    while not enough(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _shares(counts_BP: Counts, k: int) -> NDArray[np.float64]:
    return np.asarray(counts_BP, dtype=np.float64) / k


def _chance(shares_BP: NDArray[np.float64], k: int) -> float | None:
    """Return an unbiased estimate of the mean of a (1 - a) / k; None at k = 1, where it cannot be
    separated.
    """
    return float(np.mean(shares_BP * (1.0 - shares_BP))) / (k - 1) if k > 1 else None


def _components(values_BP: NDArray[np.float64], chance: float | None, k: int) -> Components:
    """Estimate components by analysis of variance. chance: the variance that independent sampling
    gives an entry; arms that draw the same random numbers err together, and vary less.
    """
    bases, problems = values_BP.shape
    by_problem, by_base, mean = (
        values_BP.mean(axis=0),
        values_BP.mean(axis=1),
        float(values_BP.mean()),
    )
    if bases == 1:
        total = float(np.var(by_problem, ddof=1))
        sampling = total if chance is None else min(chance, total)
        return Components(0.0, total - sampling, 0.0, sampling * k)
    left = values_BP - by_problem - by_base[:, None] + mean
    residual = float(np.sum(left**2)) / ((bases - 1) * (problems - 1))
    problem = max(0.0, float(np.var(by_problem, ddof=1)) - residual / bases)
    base = max(0.0, float(np.var(by_base, ddof=1)) - residual / problems)
    sampling = residual if chance is None else min(chance, residual)
    return Components(base, problem, residual - sampling, sampling * k)


def _median(parts: Sequence[Components]) -> Components:
    """Return the median; of two values, their mean."""
    return Components(
        *np.median([[p.base, p.problem, p.both, p.sampling] for p in parts], axis=0).tolist()
    )
