"""Pair the arms of two sides: base against base, problem against problem.

Arms: one a side is a pair whatever it is called; several are matched by cell id, else by labels.
Bases: by seed; where a side does not know its seeds, in the order given. Problems: by id; a record
keeps a hash of its ids, and is aligned by position with what has the same hash. Nothing is dropped
silently: what has no counterpart is an error, or named where the user has allowed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.compare.arms import Arm, Scores
from study.errors import SpecError

ALLOW = "--allow-differences"


@dataclass(frozen=True)
class Pair:
    name: str
    a: Scores
    b: Scores


@dataclass(frozen=True)
class Aligned:
    """Shares and correct lengths of the same problems in the same order."""

    a_P: list[float]
    b_P: list[float]
    lengths: list[tuple[float, float] | None] | None
    note: str


def matched(
    a: Sequence[Arm], b: Sequence[Arm], task: str | None = None
) -> tuple[list[tuple[Arm, Arm]], list[str]]:
    """(pairs, what is on one side only). Errors: SpecError where nothing has a counterpart."""
    left, right = _of_task(a, task, "A"), _of_task(b, task, "B")
    if len({arm.key for arm in left}) == len({arm.key for arm in right}) == 1:
        return _by_task(left, right), []
    for key in (lambda arm: (arm.key, arm.task), lambda arm: (arm.labels or arm.key, arm.task)):
        ours, theirs = {key(arm): arm for arm in left}, {key(arm): arm for arm in right}
        shared = [name for name in ours if name in theirs]
        if shared:
            alone = [f"A only: {ours[name].name}" for name in ours if name not in theirs]
            alone += [f"B only: {theirs[name].name}" for name in theirs if name not in ours]
            return [(ours[name], theirs[name]) for name in shared], alone
    named = [
        f"{side} has {len(arms)}: {arms[0].name}{' ...' if len(arms) > 1 else ''}"
        for side, arms in (("A", left), ("B", right))
    ]
    few = "; ".join(named)
    raise SpecError(
        f"no arm of A has the cell or the labels of one of B ({few})",
        hint=f"name one cell on each side; tasks of A: {_tasks(left)}; of B: {_tasks(right)}",
    )


def _of_task(arms: Sequence[Arm], task: str | None, side: str) -> list[Arm]:
    kept = [arm for arm in arms if task is None or arm.task in (task, None)]
    if not kept:
        raise SpecError(
            f"{side} has no task {task!r}",
            hint=f"tasks of {side}: {', '.join(sorted({str(arm.task) for arm in arms}))}",
        )
    return kept


def _by_task(left: Sequence[Arm], right: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Tasks of the same name; one task on each side is compared whatever it is called, and refused
    later if the names differ.
    """
    if len(left) == len(right) == 1:
        return [(left[0], right[0])]
    pairs = [(one, other) for one in left for other in right if one.task == other.task]
    if not pairs:
        raise SpecError(
            "A and B have no task in common",
            hint=f"A: {_tasks(left)}; B: {_tasks(right)}; choose one: --task NAME",
        )
    return pairs


def _tasks(arms: Sequence[Arm]) -> str:
    return ", ".join(dict.fromkeys(str(arm.task) for arm in arms))


def paired(a: Arm, b: Arm) -> tuple[list[Pair], list[str]]:
    """Bases by seed; where a side does not know its seeds, in the order given."""
    seeds = [[scores.seed for scores in arm.bases] for arm in (a, b)]
    known = all(seed is not None for side in seeds for seed in side) and all(
        len(set(side)) == len(side) for side in seeds
    )
    if known and set(seeds[0]) == set(seeds[1]):
        theirs = {scores.seed: scores for scores in b.bases}
        return [
            Pair(str(one.seed), one, theirs[one.seed])
            for one in sorted(a.bases, key=lambda s: s.seed or 0)
        ], []
    if known and min(map(len, seeds)) > 0 and not len(seeds[0]) == len(seeds[1]) == 1:
        shared = sorted({seed for seed in seeds[0] if seed in seeds[1] and seed is not None})
        alone = sorted({seed for side in seeds for seed in side if seed is not None} - set(shared))
        hint = (
            f"compare those that both have: --seeds {','.join(map(str, shared))}"
            if shared
            else "run both with the same seeds"
        )
        raise SpecError(
            f"the seeds {alone} are on one side only: pairs are never dropped silently", hint=hint
        )
    if len(a.bases) != len(b.bases):
        counts = (
            f"A has {len(a.bases)} bases, B has {len(b.bases)}, and nothing matches them up by seed"
        )
        raise SpecError(
            counts,
            hint="give as many files on both sides, joined by commas; or one base: --seeds 0",
        )
    pairs = [
        Pair(str(number), one, other)
        for number, (one, other) in enumerate(zip(a.bases, b.bases, strict=True))
    ]
    return pairs, (
        ["bases paired in the order given: a side does not know its seeds"]
        if len(pairs) > 1
        else []
    )


def aligned(pair: Pair, allow: bool) -> Aligned:
    a, b = pair.a, pair.b
    if a.ids is None or b.ids is None or a.ids == b.ids:
        if a.problems != b.problems or len(a.correct_P) != len(b.correct_P):
            counts = f"A has {len(a.correct_P)} problems, B has {len(b.correct_P)}"
            hint = (
                "a record keeps only a hash of its problems' ids: compare files that hold ids, or"
                " runs of one evaluation"
            )
            raise SpecError(
                f"{counts}, and they are not known to be the same ones, in the same order",
                hint=hint,
            )
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
        both = [
            (a.right_tokens_P[i], b.right_tokens_P[j])
            for i, j in zip(order_a, order_b, strict=True)
        ]
        lengths = [
            (one, other) if one is not None and other is not None else None for one, other in both
        ]
    return Aligned([share_a[i] for i in order_a], [share_b[j] for j in order_b], lengths, note)


def _id_note(ours: Sequence[str], theirs: Sequence[str], shared: Sequence[str], allow: bool) -> str:
    if not shared:
        raise SpecError(
            "A and B have no problem id in common",
            hint=f"ids of A: {ours[0]} ...; ids of B: {theirs[0]} ...",
        )
    if len(shared) == len(ours) == len(theirs):
        return ""
    what = (
        f"{len(shared)} problems are on both sides, {len(ours) - len(shared)} in A only,"
        f" {len(theirs) - len(shared)} in B only"
    )
    if not allow:
        raise SpecError(what, hint=f"compare those that both have: {ALLOW}")
    return f"{what}: compared on those of both sides"
