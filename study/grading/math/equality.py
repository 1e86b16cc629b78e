"""Define the result of comparing two answers, `Equality`, and combine the equalities of parts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """The kind of comparison that decided."""

    exact = "exact"
    numeric = "numeric"
    symbolic = "symbolic"


@dataclass(frozen=True)
class Equality:
    """The result of a comparison. equal: True, False, or None where a symbolic tier must find all
    of `pending` (candidate, reference) equal.
    """

    equal: bool | None
    tier: Tier
    pending: tuple[tuple[str, str], ...] = ()


SAME = Equality(True, Tier.exact)
OTHER = Equality(False, Tier.exact)


@dataclass(frozen=True)
class Comparison:
    """How parts of answers are compared: `parts(candidate, reference)` by all the rules, one level
    deeper.
    """

    parts: Callable[[str, str], Equality]
    relaxed: bool


def either(equalities: Sequence[Equality]) -> Equality:
    """Return the first that is equal, else the first that is open, else a difference."""
    open_one = next((each for each in equalities if each.equal is None), OTHER)
    return next((each for each in equalities if each.equal), open_one)


def every(equalities: Sequence[Equality]) -> Equality:
    """Return equal if all are: one difference decides, open ones stay pending together."""
    different = [each.tier for each in equalities if each.equal is False]
    if different:
        return Equality(False, highest(different))
    pending = tuple(pair for each in equalities for pair in each.pending)
    return Equality(None if pending else True, highest(e.tier for e in equalities), pending)


def in_order(lefts: Sequence[str], rights: Sequence[str], comparison: Comparison) -> Equality:
    """Compare part by part."""
    if len(lefts) != len(rights):
        return OTHER
    pairs = zip(lefts, rights, strict=True)
    return every([comparison.parts(left.strip(), right.strip()) for left, right in pairs])


def as_sets(
    lefts: Sequence[str], rights: Sequence[str], whole: tuple[str, str], comparison: Comparison
) -> Equality:
    """Compare as sets: every part has an equal one on the other side; a repeated part counts once.

    Where that depends on formulas, each formula with one possible partner is pending alone,
    otherwise the whole pair.
    """
    table = [[comparison.parts(left.strip(), right.strip()) for right in rights] for left in lefts]
    columns = [[row[index] for row in table] for index in range(len(rights))]
    tiers = [each.tier for row in table for each in row if each.equal is not None]
    unsettled = list[Equality]()
    for line in (*table, *columns):
        possible = [each for each in line if each.equal is not False]
        if not possible:
            return Equality(False, highest(tiers))
        if not any(each.equal for each in possible):
            unsettled += (
                possible if len(possible) == 1 else [Equality(None, Tier.symbolic, (whole,))]
            )
    if not unsettled:
        return Equality(True, highest(tiers))
    pending = dict.fromkeys(pair for each in unsettled for pair in each.pending)
    return Equality(None, Tier.symbolic, (whole,) if whole in pending else tuple(pending))


def highest(tiers: Iterable[Tier]) -> Tier:
    return max(tiers, key=list(Tier).index, default=Tier.exact)
