"""Simulate a declared study: the probability that each claim gets each word, with everything that a
verdict needs - gates, Holm's adjustment, placebos, the interval, the sign-flip test.

One study of n bases draws, independently of each other,

    contrast of a base                 normal, mean and standard deviation as planned
    contrast minus that of a placebo   normal, likewise
    a gate holds in a base             with its probability; a screened one holds in every base

and decides every claim by `study/stats/decision.py`, at the level that Holm's adjustment leaves it
in its family. Simplifications, all of them stated where the numbers are shown: claims and gates are
independent (claims that share arms are not: the probability for all claims of a family together is
then too low), and a base that fails a gate has the same contrast as the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from study.stats.comparisons import holm_factors
from study.stats.decision import TOLERATED, Decision, Failing, Rule, Word, decide, p_value
from study.stats.distributions import binomial_limits

ALPHA = 0.05
STUDIES = 1_000
WORDS: tuple[Word, ...] = ("REPRODUCED", "CONTRADICTED", "UNDECIDED", "INVALID")


@dataclass(frozen=True)
class PlannedGate:
    """passes: probability that the gate holds in a base. tolerated: share of bases that may fail.

    screened: bases are chosen by it, so it holds in all that are analysed.
    """

    name: str
    passes: float
    tolerated: float = TOLERATED
    screened: bool = False


@dataclass(frozen=True)
class Normal:
    """Mean and standard deviation between bases."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class PlannedClaim:
    """rule: without its level, which Holm's adjustment gives. contrast: per base. placebos: the
    contrast minus that of each placebo. family: None = outside every family, decided at 5 %.
    """

    name: str
    rule: Rule
    contrast: Normal
    family: str | None = None
    gates: tuple[PlannedGate, ...] = ()
    placebos: tuple[Normal, ...] = ()


@dataclass(frozen=True)
class Expected:
    """Shares of the simulated studies in which a claim gets each word."""

    name: str
    shares: Mapping[Word, float]
    studies: int

    def chance(self, word: Word = "REPRODUCED") -> float:
        return self.shares[word]

    def limits(self, word: Word = "REPRODUCED") -> tuple[float, float]:
        """Return 95 % limits of what the simulation itself leaves open."""
        return binomial_limits(round(self.shares[word] * self.studies), self.studies)


@dataclass(frozen=True)
class JointPower:
    """claims: by name. families: the share of studies in which every claim of a family gets
    REPRODUCED. whole: the share in which none of its claims is INVALID.
    """

    bases: int
    studies: int
    claims: dict[str, Expected]
    families: dict[str, float]
    whole: dict[str, float]


@dataclass
class _Counts:
    words: dict[str, Counter[Word]]
    families: Counter[str] = field(default_factory=Counter[str])
    whole: Counter[str] = field(default_factory=Counter[str])


def joint_power(
    claims: Sequence[PlannedClaim],
    bases: int,
    *,
    others: Mapping[str, int] | None = None,
    studies: int = STUDIES,
    seed: int = 0,
) -> JointPower:
    """Return the expected words of claims that are tested together on `bases` bases.

    others: family -> number of its claims that are not simulated here (of other grids, withdrawn);
    they count for Holm's adjustment. Claims with the same gate name share the gate's draws. The
    same arguments give the same numbers. Raises ValueError on two claims of one name.
    """
    if len({claim.name for claim in claims}) != len(claims):
        raise ValueError("two planned claims have the same name")
    generator = np.random.default_rng(seed)
    draws = [_draw(claim, bases, studies, generator) for claim in claims]
    gates = _draw_gates(claims, bases, studies, generator)
    counts = _Counts({claim.name: Counter() for claim in claims})
    for study in range(studies):
        values = [draw.contrast[study].tolist() for draw in draws]
        levels = _levels(claims, values, others or {})
        words: dict[str, list[Word]] = {}
        for claim, draw, contrast, alpha in zip(claims, draws, values, levels, strict=True):
            decision = _decided(claim, draw, contrast, alpha, gates, study)
            counts.words[claim.name][decision.word] += 1
            if claim.family is not None:
                words.setdefault(claim.family, []).append(decision.word)
        for family, found in words.items():
            counts.families[family] += all(word == "REPRODUCED" for word in found)
            counts.whole[family] += "INVALID" not in found
    return _summary(claims, bases, studies, counts)


@dataclass(frozen=True)
class _Draw:
    """Of one claim: studies x bases, and for each placebo likewise."""

    contrast: NDArray[np.float64]
    excess: list[NDArray[np.float64]]


def _draw(claim: PlannedClaim, bases: int, studies: int, generator: np.random.Generator) -> _Draw:
    def values(normal: Normal) -> NDArray[np.float64]:
        return generator.normal(normal.mean, normal.deviation, (studies, bases))

    return _Draw(values(claim.contrast), [values(placebo) for placebo in claim.placebos])


def _draw_gates(
    claims: Sequence[PlannedClaim], bases: int, studies: int, generator: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    """Return gate -> the bases of each study in which it fails."""
    found: dict[str, NDArray[np.bool_]] = {}
    for gate in (gate for claim in claims for gate in claim.gates):
        if gate.name not in found:
            passes = 1.0 if gate.screened else gate.passes
            found[gate.name] = generator.random((studies, bases)) >= passes
    return found


def _levels(
    claims: Sequence[PlannedClaim], values: Sequence[list[float]], others: Mapping[str, int]
) -> list[float]:
    """Return alpha of each claim in one study."""
    by_family: dict[str, dict[str, float]] = {}
    sizes: Counter[str] = Counter(others)
    for claim, contrast in zip(claims, values, strict=True):
        if claim.family is None:
            continue
        sizes[claim.family] += 1
        p = p_value(contrast, claim.rule)
        if p is not None:
            by_family.setdefault(claim.family, {})[claim.name] = p
    factors = {
        name: factor
        for family, p_values in by_family.items()
        for name, factor in holm_factors(p_values, sizes[family]).items()
    }
    return [
        ALPHA if claim.family is None else ALPHA / factors.get(claim.name, sizes[claim.family])
        for claim in claims
    ]


def _decided(
    claim: PlannedClaim,
    draw: _Draw,
    contrast: list[float],
    alpha: float,
    gates: Mapping[str, NDArray[np.bool_]],
    study: int,
) -> Decision:
    failing = [
        Failing(np.flatnonzero(gates[gate.name][study]).tolist(), gate.tolerated)
        for gate in claim.gates
    ]
    excess = [values[study].tolist() for values in draw.excess]
    return decide(contrast, replace(claim.rule, alpha=alpha), gates=failing, excess=excess)


def _summary(
    claims: Sequence[PlannedClaim], bases: int, studies: int, counts: _Counts
) -> JointPower:
    expected = {
        claim.name: Expected(
            claim.name,
            {word: counts.words[claim.name][word] / studies for word in WORDS},
            studies,
        )
        for claim in claims
    }
    families = sorted({claim.family for claim in claims if claim.family is not None})
    return JointPower(
        bases,
        studies,
        expected,
        {family: counts.families[family] / studies for family in families},
        {family: counts.whole[family] / studies for family in families},
    )
