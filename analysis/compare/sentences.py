"""Write a comparison in words and as data: points of accuracy, costs next to each other, a
sentence for a person who reads one line.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from analysis.compare.arms import Arm, Settings
from analysis.compare.compare import ABSENT, Row, Setting, Sighted, differing
from study.stats.comparisons import holm
from study.stats.intervals import Interval


def summary(rows: Sequence[Row]) -> str:
    """Many comparisons at once find something by chance: Holm's adjustment over all of them."""
    identical = sum(row.identical for row in rows)
    adjusted = holm(
        {
            str(i): row.headline.p_value
            for i, row in enumerate(rows)
            if row.headline.p_value is not None
        }
    )
    shown, firm = sum(row.headline.shown for row in rows), sum(p < 0.05 for p in adjusted.values())
    same = f"; {identical} have the same counts on every problem" if identical else ""
    return (
        f"{len(rows)} comparisons: {shown} intervals leave out 0, {firm} after Holm's adjustment"
        f" for all of them (p < .05){same}."
    )


def points(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return (
            f"{100 * interval.mean:+.1f} [no"
            f" interval{' at n = 1' if interval.n == 1 else ': all alike'}]"
        )
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def costs(row: Row) -> list[tuple[str, float | None, float | None]]:
    """What each side took, only what at least one of them knows."""
    a, b = row.a.bases, row.b.bases
    found = [
        (
            "core minutes, own stages",
            _mean([_minutes(s.spent.own_s) for s in a]),
            _mean([_minutes(s.spent.own_s) for s in b]),
        ),
        (
            "core minutes, shared stages",
            _mean([_minutes(s.spent.shared_s) for s in a]),
            _mean([_minutes(s.spent.shared_s) for s in b]),
        ),
        (
            "tokens sampled in training",
            _mean([s.spent.trained_tokens for s in a]),
            _mean([s.spent.trained_tokens for s in b]),
        ),
        (
            "tokens sampled in evaluation",
            _mean([s.spent.sampled_tokens for s in a]),
            _mean([s.spent.sampled_tokens for s in b]),
        ),
        (
            "seconds of the evaluation",
            _mean([s.spent.seconds for s in a]),
            _mean([s.spent.seconds for s in b]),
        ),
        (
            "tokens of a completion",
            _mean([s.mean_tokens for s in a]),
            _mean([s.mean_tokens for s in b]),
        ),
    ]
    return [
        (name, one, other) for name, one, other in found if one is not None or other is not None
    ]


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60.0


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def ratio(one: float | None, other: float | None) -> str:
    return "-" if one is None or not other else f"{one / other:.2f}"


def sentence(row: Row) -> str:
    """The whole of it for a person who reads one line."""
    seen, task = row.headline, "" if row.task == "-" else f"{row.task}: "
    if row.identical:
        return f"{task}A and B have the same counts on every one of {row.problems} problems."
    if seen.interval.low is None:
        return f"{task}A - B is {points(seen.interval)} points: that shows nothing."
    if seen.shown:
        size = (
            f"{abs(100 * seen.interval.mean):.1f} points"
            f" {'above' if seen.interval.mean > 0 else 'below'} B"
        )
        return f"{task}A is {size} ({points(seen.interval)}; {_basis(row, seen)})."
    return (
        f"{task}no difference is shown: A - B = {points(seen.interval)}"
        f" ({_basis(row, seen)}){_missed(seen)}{_elsewhere(row)}."
    )


def _basis(row: Row, seen: Sighted) -> str:
    over_bases = f"t over {len(row.by_base)} bases, {row.problems} problems"
    return (
        over_bases
        if seen.over == "bases"
        else f"bootstrap over {row.problems} problems, {_bases(row)}"
    )


def _bases(row: Row) -> str:
    return "one base" if len(row.by_base) == 1 else f"these {len(row.by_base)} bases"


def _missed(seen: Sighted) -> str:
    if seen.detectable is None:
        return ""
    if seen.detectable >= 1.0:
        return (
            f"; {seen.interval.n} {seen.over} with this spread could miss any difference (power"
            " 80 %)"
        )
    return (
        f"; a true difference below {100 * seen.detectable:.1f} points could well be missed (power"
        " 80 %)"
    )


def _elsewhere(row: Row) -> str:
    """What holds for the bases that were looked at need not hold for others."""
    if row.bases is None or row.bases.shown or not row.over_problems.shown:
        return ""
    alone = points(row.over_problems.interval)
    return (
        f"; of these {len(row.by_base)} bases alone it is shown ({alone}), but they differ too much"
        " to speak for others"
    )


def gathered(a: Settings, b: Settings) -> list[Setting]:
    """The settings that differ; a whole branch that only one side has is one line."""
    rows: dict[str, Setting] = {}
    for name, one, other in differing(a, b):
        lacking = b if other == ABSENT else a if one == ABSENT else None
        branch = None if lacking is None else _branch(name, lacking)
        if branch is None:
            rows[name] = (name, one, other)
            continue
        size = sum(key.startswith(f"{branch}.") for key in (b if lacking is a else a))
        there = f"{size} values" if size > 1 else other if lacking is a else one
        rows[branch] = (
            f"{branch}.*" if size > 1 else name,
            ABSENT if lacking is a else there,
            there if lacking is a else ABSENT,
        )
    return list(rows.values())


def _branch(name: str, lacking: Settings) -> str | None:
    """The shortest beginning of a dotted path under which this side has nothing."""
    parts = name.split(".")
    beginnings = (".".join(parts[:i]) for i in range(1, len(parts)))
    return next(
        (
            each
            for each in beginnings
            if not any(key == each or key.startswith(f"{each}.") for key in lacking)
        ),
        None,
    )


def as_data(row: Row) -> dict[str, Any]:
    """Accuracies as fractions."""
    return {
        "a": _arm(row.a),
        "b": _arm(row.b),
        "task": row.task,
        "problems": row.problems,
        "mean_a": row.mean_a,
        "mean_b": row.mean_b,
        "by_base": dict(row.by_base),
        "over_bases": None if row.bases is None else asdict(row.bases),
        "over_problems": asdict(row.over_problems),
        "lengths": None if row.lengths is None else asdict(row.lengths),
        "costs": {name: {"a": one, "b": other} for name, one, other in costs(row)},
        "settings_that_differ": [list(each) for each in differing(row.a.recipe, row.b.recipe)]
        if row.a.recipe and row.b.recipe
        else None,
        "made_under": [list(each) for each in differing(row.a.made, row.b.made)],
        "allowed": [list(each) for each in row.allowed],
        "cannot_be_checked": list(row.unchecked),
        "notes": list(row.notes),
        "sentence": sentence(row),
    }


def _arm(arm: Arm) -> dict[str, Any]:
    bases = [
        {
            "source": s.source,
            "seed": s.seed,
            "k": s.k,
            "mean": s.mean,
            "problems": s.problems,
            **s.settings,
        }
        for s in arm.bases
    ]
    return {
        "name": arm.name,
        "key": arm.key,
        "labels": arm.labels,
        "external": arm.external,
        "bases": bases,
    }
