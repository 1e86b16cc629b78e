"""A minus B: the paired difference of two arms, its intervals, what it could have missed, and
everything in which the arms differ.

d_bp = share of correct samples of problem p on base b, A minus B; problems aligned by id (by
position where records share the hash of their ids), bases by seed.

    over bases       t over the bases' means, from two bases on: the base student is the unit of
                     replication
    over problems    percentile bootstrap over problems of the mean over bases: these bases, other
                     problems of the kind

The headline is the interval over bases where there is one. Both carry the smallest true difference
that this comparison would have found with a power of 80 %, from the spread that it saw. Refused
unless allowed: another grader, other decoding, another task, other problems, other bases. Nothing
is dropped silently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.compare.arms import CHECKED, Arm, Settings
from analysis.compare.pairing import ALLOW, Aligned, Pair, aligned, paired
from study.errors import SpecError
from study.stats.comparisons import Comparison, compare, minimum_detectable_effect
from study.stats.intervals import Interval, bootstrap_interval

SEED = 0
ABSENT = "-"
Setting = tuple[str, str, str]  # name, A, B


@dataclass(frozen=True)
class Sighted:
    """A mean with its interval, and the smallest true difference that would have been found (None
    where nothing varies).
    """

    over: Literal["bases", "problems"]
    interval: Interval
    detectable: float | None
    p_value: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        low, high = self.interval.low, self.interval.high
        return low is not None and high is not None and not low <= 0.0 <= high


@dataclass(frozen=True)
class Lengths:
    """Tokens of correct completions, A minus B, on the problems that both solve at least once."""

    problems: int
    a: float
    b: float
    difference: Interval


@dataclass(frozen=True)
class Row:
    """One pair of arms. problems: compared ones. by_base: seed (or place in the row of files) ->
    difference.
    """

    a: Arm
    b: Arm
    task: str
    problems: int
    mean_a: float
    mean_b: float
    by_base: Mapping[str, float]
    bases: Sighted | None
    over_problems: Sighted
    lengths: Lengths | None
    allowed: tuple[Setting, ...]  # would have been refused
    unchecked: tuple[str, ...]
    notes: tuple[str, ...]
    identical: (
        bool  # the same share on every problem and base: two readings of one result, most likely
    )

    @property
    def headline(self) -> Sighted:
        return self.bases or self.over_problems


def compared(a: Arm, b: Arm, *, allow: bool = False, confidence: float = 0.95) -> Row:
    """Errors: SpecError naming every difference that must not be, unless allowed."""
    pairs, base_notes = paired(a, b)
    refused, unchecked = _checks(a, b)
    if refused and not allow:
        shown = "; ".join(f"{name} {one} / {other}" for name, one, other in refused)
        regrade = (
            "score both with one grader: study regrade RUN --grader NAME; or "
            if any(s[0] == "grader" for s in refused)
            else ""
        )
        raise SpecError(
            f"A and B cannot be compared: {shown}",
            hint=f"{regrade}compare them all the same: {ALLOW}",
        )
    found = [aligned(pair, allow) for pair in pairs]
    sizes = {len(one.a_P) for one in found}
    if len(sizes) > 1:
        raise SpecError(
            "the bases were evaluated on different numbers of problems",
            hint="compare one base: --seeds 0",
        )
    a_BP, b_BP = np.array([one.a_P for one in found]), np.array([one.b_P for one in found])
    differences = a_BP - b_BP
    by_base = dict(
        zip([pair.name for pair in pairs], differences.mean(axis=1).tolist(), strict=True)
    )
    notes = dict.fromkeys(
        [*base_notes, *(one.note for one in found if one.note), *_warnings(pairs)]
    )
    return Row(
        a, b, a.task or b.task or ABSENT, differences.shape[1], float(a_BP.mean()),
        float(b_BP.mean()), by_base,
        over_bases(list(by_base.values()), confidence),
        over_problems(differences.mean(axis=0).tolist(), confidence),
        _lengths(found, confidence), tuple(refused), tuple(unchecked), tuple(notes),
        not bool(differences.any()),
    )  # fmt: skip


def _warnings(pairs: Sequence[Pair]) -> list[str]:
    """What a reader must know next to the numbers."""
    if not any(any(one.correct_P) for pair in pairs for one in (pair.a, pair.b)):
        return ["nothing is correct on either side; if answers have no box: --relaxed"]
    sides = [
        (pair.name, side, one.collapsed_at)
        for pair in pairs
        for side, one in (("A", pair.a), ("B", pair.b))
    ]
    return [
        f"collapsed: base {base} of {side} at step {step}"
        for base, side, step in sides
        if step is not None
    ]


def over_bases(values: Sequence[float], confidence: float = 0.95) -> Sighted | None:
    """None for a single base: it says nothing about others."""
    if len(values) < 2:
        return None
    found: Comparison = compare(values, confidence)
    return Sighted("bases", found.interval, _detectable(values), found.p_value)


def over_problems(values: Sequence[float], confidence: float = 0.95) -> Sighted:
    """Differences that are all alike have no interval: one of no width would be a certainty that
    no one has.
    """
    if len(set(values)) == 1:
        return Sighted("problems", Interval(values[0], None, None, len(values), confidence), None)
    interval = bootstrap_interval(values, seed=SEED, confidence=confidence)
    return Sighted("problems", interval, _detectable(values), compare(values, confidence).p_value)


def _detectable(values: Sequence[float]) -> float | None:
    return (
        minimum_detectable_effect(float(np.std(values, ddof=1)), len(values))
        if len(values) > 1
        else None
    )


def _checks(a: Arm, b: Arm) -> tuple[list[Setting], list[str]]:
    """(settings that must not differ and do, settings that a side does not know)."""
    refused: list[Setting] = []
    unknown: dict[str, list[str]] = {}
    for key in CHECKED:
        ours, theirs = _values(a, key), _values(b, key)
        if ours is None or theirs is None:
            sides = " and ".join(
                side for side, found in (("A", ours), ("B", theirs)) if found is None
            )
            unknown.setdefault(sides, []).append(key)
        elif ours != theirs:
            refused.append((key, ours, theirs))
    unchecked = [f"{', '.join(keys)} (not known of {sides})" for sides, keys in unknown.items()]
    if (
        len(a.bases) == len(b.bases) == 1
        and None not in (a.bases[0].seed, b.bases[0].seed)
        and a.bases[0].seed != b.bases[0].seed
    ):
        refused.append(("seed", str(a.bases[0].seed), str(b.bases[0].seed)))
    return refused, unchecked


def _values(arm: Arm, key: str) -> str | None:
    found = [scores.settings.get(key) for scores in arm.bases]
    return None if None in found else ", ".join(sorted({str(value) for value in found}))


def _lengths(aligned: Sequence[Aligned], confidence: float) -> Lengths | None:
    """Per problem the mean over bases; a problem counts where both arms solve it on some base."""
    if any(one.lengths is None for one in aligned):
        return None
    columns = list(zip(*(one.lengths or [] for one in aligned), strict=True))
    found = [[pair for pair in column if pair is not None] for column in columns]
    solved = [
        (sum(p[0] for p in pairs) / len(pairs), sum(p[1] for p in pairs) / len(pairs))
        for pairs in found
        if pairs
    ]
    if not solved:
        return None
    interval = bootstrap_interval(
        [one - other for one, other in solved], seed=SEED, confidence=confidence
    )
    return Lengths(
        len(solved),
        sum(one for one, _ in solved) / len(solved),
        sum(other for _, other in solved) / len(solved),
        interval,
    )


def differing(a: Settings, b: Settings) -> list[Setting]:
    """(name, A, B) of every value that differs, in the order of the fields; a dash where a side has
    no such value.
    """
    keys = [*a, *(key for key in b if key not in a)]
    return [
        (key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys if a.get(key) != b.get(key)
    ]
