"""A minus B: the paired difference of two arms, with its intervals, what it could have missed, and everything in which the arms differ.

d_bp = share of correct samples of problem p on base b, A minus B; problems aligned by id (by position where records share the hash of their
ids), bases by seed.
    over bases       t over the bases' means: the base student is the unit of replication; from two bases on
    over problems    percentile bootstrap over problems of the mean over bases: these bases, other problems of the kind
The headline is the interval over bases where there is one. Both carry the smallest true difference that this comparison would have found with
a power of 80 %, from the spread that it saw.
Refused unless asked: another grader, other decoding, another task, other problems, other bases. Nothing is dropped silently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.arms import CHECKED, Arm, Scores, Settings
from study.errors import SpecError
from study.stats.comparisons import Comparison, compare, minimum_detectable_effect
from study.stats.intervals import Interval, bootstrap_interval

SEED = 0
ABSENT = "-"
Setting = tuple[str, str, str]  # name, A, B
_ALLOW = "compare them all the same: --allow-differences"


@dataclass(frozen=True)
class Sighted:
    """A mean with its interval, and the smallest true difference that would have been found (None at n = 1)."""

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
    """One pair of arms. problems: compared ones. by_base: seed (or place in the row of files) -> difference."""

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
    identical: bool  # the same share on every problem and base: two readings of one result, most likely

    @property
    def headline(self) -> Sighted:
        return self.bases or self.over_problems


@dataclass(frozen=True)
class _Pair:
    name: str
    a: Scores
    b: Scores


@dataclass(frozen=True)
class _Aligned:
    """Shares and correct lengths of the same problems in the same order."""

    a_P: list[float]
    b_P: list[float]
    lengths: list[tuple[float, float] | None] | None
    note: str


def matched(a: Sequence[Arm], b: Sequence[Arm], task: str | None = None) -> tuple[list[tuple[Arm, Arm]], list[str]]:
    """(pairs, what stands on one side only). One arm a side is a pair whatever it is called; several are matched by cell id, else by labels."""
    left, right = _of_task(a, task, "A"), _of_task(b, task, "B")
    if len({arm.key for arm in left}) == len({arm.key for arm in right}) == 1:
        return _by_task(left, right), []
    for key in (lambda arm: (arm.key, arm.task), lambda arm: (arm.labels or arm.key, arm.task)):
        ours, theirs = {key(arm): arm for arm in left}, {key(arm): arm for arm in right}
        shared = [name for name in ours if name in theirs]
        if shared:
            alone = [f"A only: {ours[n].name}" for n in ours if n not in theirs] + [f"B only: {theirs[n].name}" for n in theirs if n not in ours]
            return [(ours[name], theirs[name]) for name in shared], alone
    few = "; ".join(f"{side} has {len(arms)}: {arms[0].name}{' ...' if len(arms) > 1 else ''}" for side, arms in (("A", left), ("B", right)))
    raise SpecError(f"no arm of A has the cell or the labels of one of B ({few})", hint="name one cell on each side")


def _of_task(arms: Sequence[Arm], task: str | None, side: str) -> list[Arm]:
    kept = [arm for arm in arms if task is None or arm.task in (task, None)]
    if not kept:
        raise SpecError(f"{side} has no task {task!r}", hint=f"tasks of {side}: {', '.join(sorted({str(arm.task) for arm in arms}))}")
    return kept


def _by_task(left: Sequence[Arm], right: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Tasks of the same name; one task on each side is compared whatever it is called, and refused later if the names differ."""
    if len(left) == len(right) == 1:
        return [(left[0], right[0])]
    pairs = [(one, other) for one in left for other in right if one.task == other.task]
    if not pairs:
        raise SpecError("A and B have no task in common", hint=f"A: {_tasks(left)}; B: {_tasks(right)}; choose one: --task NAME")
    return pairs


def _tasks(arms: Sequence[Arm]) -> str:
    return ", ".join(str(arm.task) for arm in arms)


def compared(a: Arm, b: Arm, *, allow: bool = False, confidence: float = 0.95) -> Row:
    """Errors: SpecError naming every difference that must not be, unless allowed."""
    pairs, base_notes = _pairs(a, b)
    refused, unchecked = _checks(a, b)
    if refused and not allow:
        shown = "; ".join(f"{name} {one} / {other}" for name, one, other in refused)
        regrade = "score both with one grader: study regrade RUN --grader NAME; or " if any(s[0] == "grader" for s in refused) else ""
        raise SpecError(f"A and B cannot be compared: {shown}", hint=f"{regrade}{_ALLOW}")
    aligned = [_aligned(pair, allow) for pair in pairs]
    sizes = {len(one.a_P) for one in aligned}
    if len(sizes) > 1:
        raise SpecError("the bases were evaluated on different numbers of problems", hint="compare one base: --seeds 0")
    a_BP, b_BP = np.array([one.a_P for one in aligned]), np.array([one.b_P for one in aligned])
    differences = a_BP - b_BP
    by_base = dict(zip([pair.name for pair in pairs], differences.mean(axis=1).tolist(), strict=True))
    stopped = [f"{pair.name} of {side} at step {one.collapsed_at}" for pair in pairs for side, one in (("A", pair.a), ("B", pair.b))
               if one.collapsed_at is not None]  # fmt: skip
    notes = dict.fromkeys([*base_notes, *(one.note for one in aligned if one.note), *[f"collapsed: base {', '.join(stopped)}"][: len(stopped)]])
    return Row(
        a, b, a.task or b.task or ABSENT, differences.shape[1], float(a_BP.mean()), float(b_BP.mean()), by_base,
        over_bases(list(by_base.values()), confidence), over_problems(differences.mean(axis=0).tolist(), confidence),
        _lengths(aligned, confidence), tuple(refused), tuple(unchecked), tuple(notes), not bool(differences.any()),
    )  # fmt: skip


def over_bases(values: Sequence[float], confidence: float = 0.95) -> Sighted | None:
    """None for a single base: it says nothing about others."""
    if len(values) < 2:
        return None
    found: Comparison = compare(values, confidence)
    return Sighted("bases", found.interval, _detectable(values), found.p_value)


def over_problems(values: Sequence[float], confidence: float = 0.95) -> Sighted:
    interval = bootstrap_interval(values, seed=SEED, confidence=confidence)
    return Sighted("problems", interval, _detectable(values), compare(values, confidence).p_value)


def _detectable(values: Sequence[float]) -> float | None:
    return minimum_detectable_effect(float(np.std(values, ddof=1)), len(values)) if len(values) > 1 else None


def _pairs(a: Arm, b: Arm) -> tuple[list[_Pair], list[str]]:
    """Bases by seed; where a side does not know its seeds, in the order given."""
    seeds = [[scores.seed for scores in arm.bases] for arm in (a, b)]
    known = all(seed is not None for side in seeds for seed in side) and all(len(set(side)) == len(side) for side in seeds)
    if known and set(seeds[0]) == set(seeds[1]):
        theirs = {scores.seed: scores for scores in b.bases}
        return [_Pair(str(one.seed), one, theirs[one.seed]) for one in sorted(a.bases, key=lambda s: s.seed or 0)], []
    if known and min(map(len, seeds)) > 0 and not len(seeds[0]) == len(seeds[1]) == 1:
        shared = sorted({seed for seed in seeds[0] if seed in seeds[1] and seed is not None})
        alone = sorted({seed for side in seeds for seed in side if seed is not None} - set(shared))
        hint = f"compare those that both have: --seeds {','.join(map(str, shared))}" if shared else "run both with the same seeds"
        raise SpecError(f"the seeds {alone} are on one side only: pairs are never dropped silently", hint=hint)
    if len(a.bases) != len(b.bases):
        counts = f"A has {len(a.bases)} bases, B has {len(b.bases)}, and they cannot be told apart by seed"
        raise SpecError(counts, hint="give as many files on both sides, joined by commas; or one base: --seeds 0")
    pairs = [_Pair(str(number), one, other) for number, (one, other) in enumerate(zip(a.bases, b.bases, strict=True))]
    return pairs, ["bases paired in the order given: a side does not know its seeds"] if len(pairs) > 1 else []


def _checks(a: Arm, b: Arm) -> tuple[list[Setting], list[str]]:
    """(settings that must not differ and do, settings that a side does not know)."""
    refused: list[Setting] = []
    unchecked: list[str] = []
    for key in CHECKED:
        ours, theirs = _values(a, key), _values(b, key)
        if ours is None or theirs is None:
            sides = [side for side, found in (("A", ours), ("B", theirs)) if found is None]
            unchecked.append(f"{key} (not known of {' and '.join(sides)})")
        elif ours != theirs:
            refused.append((key, ours, theirs))
    if len(a.bases) == len(b.bases) == 1 and None not in (a.bases[0].seed, b.bases[0].seed) and a.bases[0].seed != b.bases[0].seed:
        refused.append(("seed", str(a.bases[0].seed), str(b.bases[0].seed)))
    return refused, unchecked


def _values(arm: Arm, key: str) -> str | None:
    found = [scores.settings.get(key) for scores in arm.bases]
    return None if None in found else ", ".join(sorted({str(value) for value in found}))


def _aligned(pair: _Pair, allow: bool) -> _Aligned:
    a, b = pair.a, pair.b
    if a.ids is None or b.ids is None or a.ids == b.ids:
        if a.problems != b.problems or len(a.correct_P) != len(b.correct_P):
            what = f"A has {len(a.correct_P)} problems, B has {len(b.correct_P)}, and they are not known to be the same ones, in the same order"
            raise SpecError(what, hint="a record keeps only a hash of its problems' ids: compare files that hold ids, or runs of one evaluation")
        order_a = order_b = range(len(a.correct_P))
        note = ""
    else:
        shared = [problem for problem in a.ids if problem in set(b.ids)]
        note = _id_note(a.ids, b.ids, shared, allow)
        place_a, place_b = ({name: i for i, name in enumerate(ids)} for ids in (a.ids, b.ids))
        order_a, order_b = [place_a[name] for name in shared], [place_b[name] for name in shared]
    share_a, share_b = a.share_P, b.share_P
    lengths = None
    if a.right_tokens_P is not None and b.right_tokens_P is not None:
        both = [(a.right_tokens_P[i], b.right_tokens_P[j]) for i, j in zip(order_a, order_b, strict=True)]
        lengths = [(one, other) if one is not None and other is not None else None for one, other in both]
    return _Aligned([share_a[i] for i in order_a], [share_b[j] for j in order_b], lengths, note)


def _id_note(ours: Sequence[str], theirs: Sequence[str], shared: Sequence[str], allow: bool) -> str:
    if not shared:
        raise SpecError("A and B have no problem id in common", hint=f"ids of A: {ours[0]} ...; ids of B: {theirs[0]} ...")
    if len(shared) == len(ours) == len(theirs):
        return ""
    what = f"{len(shared)} problems are on both sides, {len(ours) - len(shared)} in A only, {len(theirs) - len(shared)} in B only"
    if not allow:
        raise SpecError(what, hint=f"compare those that both have: {_ALLOW.partition(': ')[2]}")
    return f"{what}: compared on those of both sides"


def _lengths(aligned: Sequence[_Aligned], confidence: float) -> Lengths | None:
    """Per problem the mean over bases; a problem counts where both arms solve it on some base."""
    if any(one.lengths is None for one in aligned):
        return None
    columns = list(zip(*(one.lengths or [] for one in aligned), strict=True))
    found = [[pair for pair in column if pair is not None] for column in columns]
    solved = [(sum(p[0] for p in pairs) / len(pairs), sum(p[1] for p in pairs) / len(pairs)) for pairs in found if pairs]
    if not solved:
        return None
    interval = bootstrap_interval([one - other for one, other in solved], seed=SEED, confidence=confidence)
    return Lengths(len(solved), sum(one for one, _ in solved) / len(solved), sum(other for _, other in solved) / len(solved), interval)


def differing(a: Settings, b: Settings) -> list[Setting]:
    """(name, A, B) of every value that differs, in the order of the fields; a dash where a side has no such value."""
    keys = [*a, *(key for key in b if key not in a)]
    return [(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys if a.get(key) != b.get(key)]
