"""Estimate the cost and the noise of a design from the records of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from analysis.compare.arms import Arm, Scores
from study.errors import SpecError
from study.stats.power import Design, Spread, measured, typical


@dataclass(frozen=True)
class Measured:
    """spread: the median over `pairs` pairs of arms. Per run, means over arms and bases: tokens of
    a completion, seconds of a core.
    """

    spread: Spread
    pairs: int
    task: str
    problems: int
    k: int
    bases: int
    tokens: float | None
    evaluation_s: float | None  # of one sample
    training_s: float | None  # of one arm's own stages on one base
    shared_s: float | None  # of the stages that the arms share, on one base


def from_arms(arms: Sequence[Arm]) -> Measured:
    """Errors: SpecError where no two arms have the same problems, k and bases."""
    pairs = [(a, b) for a, b in combinations(arms, 2) if _comparable(a, b)]
    if not pairs:
        raise SpecError(
            "no two arms with records of the same problems, k and bases",
            hint="name two cells: --pair A B; or no --grid",
        )
    first = pairs[0][0]
    bases = [
        base
        for arm in {id(arm): arm for pair in pairs for arm in pair}.values()
        for base in arm.bases
    ]
    k, size = int(first.bases[0].samples_P[0]), len(first.bases[0].correct_P)
    return Measured(
        typical([measured(_counts(a), _counts(b), k) for a, b in pairs]), len(pairs),
        str(first.task), size, k, len(first.bases),
        _mean([s.mean_tokens for s in bases]), _mean([_each(s) for s in bases]),
        _mean([_training(s) for s in bases]),
        _mean([s.spent.shared_s for s in bases]),
    )  # fmt: skip


def _comparable(a: Arm, b: Arm) -> bool:
    def shape(arm: Arm) -> tuple[object, ...]:
        return (arm.task, *((s.seed, s.problems, s.samples_P) for s in _in_order(arm)))

    return shape(a) == shape(b) and all(s.k is not None for s in a.bases)


def _in_order(arm: Arm) -> list[Scores]:
    return sorted(arm.bases, key=lambda scores: scores.seed or 0)


def _counts(arm: Arm) -> list[list[int]]:
    return [[int(count) for count in scores.correct_P] for scores in _in_order(arm)]


def _each(scores: Scores) -> float | None:
    """Seconds of one sample: the evaluation's, greedy answers and loading included, over its
    samples.
    """
    return (
        None
        if scores.spent.evaluation_s is None
        else scores.spent.evaluation_s / sum(scores.samples_P)
    )


def _training(scores: Scores) -> float | None:
    own, evaluation = scores.spent.own_s, scores.spent.evaluation_s
    return None if own is None else own - (evaluation or 0.0)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def minutes(design: Design, found: Measured) -> dict[str, float]:
    """Core minutes of a design: evaluation, training of both arms, and the stages that they share.

    Only what was measured.
    """
    seconds = {
        "evaluation": found.evaluation_s and found.evaluation_s * design.samples,
        "training of both arms": found.training_s and found.training_s * 2 * design.bases,
        "shared stages": found.shared_s and found.shared_s * design.bases,
    }
    return {name: value / 60.0 for name, value in seconds.items() if value}
