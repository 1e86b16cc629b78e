"""The output of `study compare`: the difference, every base, costs and differing settings."""

from collections.abc import Sequence
from typing import TypeVar

from analysis.compare.compare import Row, Sighted, differing
from analysis.compare.sentences import costs, gathered, points, ratio, sentence, summary
from study.cli import console

_T = TypeVar("_T")
LISTED = 40  # differing settings shown; the JSON file has all


def show_rows(rows: Sequence[Row], labels: tuple[str | None, str | None]) -> None:
    if len(rows) == 1 or len({row.a.key for row in rows}) == 1:
        for side, arm, label in (("A", rows[0].a, labels[0]), ("B", rows[0].b, labels[1])):
            labels_text = f"  ({arm.labels})" if arm.labels else ""
            origin = "  external" if arm.external else ""
            console.say(f"{side}  {label or arm.name}{labels_text}{origin}")
        console.say()
    heads = (
        "arm",
        "task",
        "A",
        "B",
        "A - B, points [95 %]",
        "over",
        "detectable, power .8",
        "bases",
        "problems",
        "k",
    )
    least = ("k", "problems", "over", "bases", "detectable, power .8")
    console.table(heads, [_line(row) for row in rows], drop=least)
    console.say()
    for row in rows if len(rows) == 1 else ():
        _details(row)
    console.say(sentence(rows[0]) if len(rows) == 1 else summary(rows))
    _show_settings(rows)


def _line(row: Row) -> tuple[str, ...]:
    seen = row.headline
    return (
        row.a.name if row.a.name == row.b.name else "A / B", row.task, f"{100 * row.mean_a:.1f}",
        f"{100 * row.mean_b:.1f}",
        points(seen.interval), seen.over, _missed(seen), str(len(row.by_base)), str(row.problems),
        _k(row),
    )  # fmt: skip


def _missed(seen: Sighted) -> str:
    return "-" if seen.detectable is None else f"{100 * seen.detectable:.1f}"


def _k(row: Row) -> str:
    sizes = [
        ",".join(dict.fromkeys("mixed" if s.k is None else str(s.k) for s in arm.bases))
        for arm in (row.a, row.b)
    ]
    return sizes[0] if sizes[0] == sizes[1] else " / ".join(sizes)


def _details(row: Row) -> None:
    """Print the other interval, every base, lengths and costs."""
    seen = row.over_problems
    if row.bases is not None:
        console.say(f"over problems: {points(seen.interval)}, detectable {_missed(seen)}")
        console.say(
            "by base: "
            + ", ".join(f"{seed}: {100 * value:+.1f}" for seed, value in row.by_base.items())
        )
        console.say()
    if row.lengths is not None:
        low, high = row.lengths.difference.low, row.lengths.difference.high
        limits = "" if low is None or high is None else f" [{low:+.1f}, {high:+.1f}]"
        what = (
            f"{row.lengths.a:.1f} and {row.lengths.b:.1f}, A - B"
            f" {row.lengths.difference.mean:+.1f}{limits}"
        )
        console.say(
            f"tokens of correct completions, on the {row.lengths.problems} problems that both"
            f" solve: {what}"
        )
        console.say()
    lines = [
        (name, _shown(one), _shown(other), ratio(one, other)) for name, one, other in costs(row)
    ]
    if lines:
        console.table(("cost, mean of a base", "A", "B", "A / B"), lines, right=(1, 2, 3))
        console.say()


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _show_settings(rows: Sequence[Row]) -> None:
    """Print the settings that differ in all of several rows; the JSON file has those of each
    row.
    """
    lines = [
        [f"compared in spite of it: {name} {one} / {other}" for name, one, other in row.allowed]
        for row in rows
    ]
    lines = [
        [*some, *row.notes, *(f"cannot be checked: {line}" for line in row.unchecked)]
        for some, row in zip(lines, rows, strict=True)
    ]
    for line in _shared(lines):
        console.warn(line)
    unknown = [side for side, arm in (("A", rows[0].a), ("B", rows[0].b)) if not arm.recipe]
    if unknown:
        console.say(f"not in what was given: how {' and '.join(unknown)} came about", "dim")
    else:
        _show_recipes([gathered(row.a.recipe, row.b.recipe) for row in rows])
    made = _shared(
        [differing(row.a.made, row.b.made) if row.a.made and row.b.made else [] for row in rows]
    )
    if made:
        console.say(
            "made under, A -> B: "
            + "; ".join(f"{name} {one} -> {other}" for name, one, other in made),
            "dim",
        )


def _show_recipes(found: Sequence[Sequence[tuple[str, str, str]]]) -> None:
    shared = _shared(found)
    console.say()
    if shared:
        console.table(("setting that differs", "A", "B"), shared[:LISTED])
    elif not any(found):
        console.say("the same settings")
    more = max(len(each) for each in found) - min(len(shared), LISTED)
    if more:
        console.say(
            f"{'settings that differ in some rows only' if len(found) > 1 else f'and {more} more'}:"
            " --json FILE",
            "dim",
        )


def _shared(lists: Sequence[Sequence[_T]]) -> list[_T]:
    """Return the items that are in all lists."""
    return [each for each in dict.fromkeys(lists[0]) if all(each in other for other in lists[1:])]
