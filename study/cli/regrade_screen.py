"""The output of `study regrade`: both scores, changed outcomes, rates and lengths of replies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.cli import console
from study.evaluate.regrade import Change, Regraded
from study.evaluate.replies import Item, Judged, lengths

SHOWN = 12  # changed completions on the screen; the file has all


def show(source: Path, done: Regraded) -> None:
    head, scores = done.generations.header, done.scores()
    console.say(f"{source}: {head.task}, {len(done.after)} problems, k = {head.k}")
    if head.cut:
        console.warn(
            "some completions were cut for storage, and only their end was kept: the grader did not"
            " see the beginning"
        )
    console.say()
    rows = [
        (
            name,
            percent(scores["before"][name]),
            percent(scores["after"][name]),
            percent(scores["relaxed"][name]),
        )
        for name in scores["before"]
    ]
    console.table(
        ("measure", f"before: {head.grader}", f"after: {done.grader}", "after, relaxed"), rows
    )
    change = scores["change"][f"avg@{head.k}"]
    limits = (
        ""
        if change.low is None or change.high is None
        else f" [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    )
    console.say(
        f"change of avg@{head.k}: {100 * change.mean:+.1f}{limits} points, 95 % bootstrap over"
        " problems"
    )
    console.say()
    _show_changes(done.changes, done.transitions)


def _show_changes(changes: Sequence[Change], transitions: Sequence[tuple[str, str, int]]) -> None:
    if not changes:
        console.say("no outcome changed")
        return
    console.table(("before", "after", "completions"), transitions, right=(2,))
    console.say()
    lines = [
        (each.id, each.sample, each.before, each.after, each.extracted or "-", each.answer)
        for each in changes[:SHOWN]
    ]
    console.table(("problem", "sample", "before", "after", "read", "gold answer"), lines)
    if len(changes) > SHOWN:
        console.say(f"... and {len(changes) - SHOWN} more completions", "dim")


def percent(interval: Any) -> str:
    """Format mean and interval. An interval of width 0, from problems that are all alike, is no
    certainty and is not shown.
    """
    limits = (
        ""
        if interval.low == interval.high
        else f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
    )
    return f"{100 * interval.mean:.1f}%{limits}"


def show_rates(source: Path, items: Sequence[Item], found: Judged) -> None:
    console.say(
        f"{source}: {len(items)} prompts, {sum(len(item.completions) for item in items)} replies,"
        f" {found.version}"
    )
    console.say()
    rows = [
        (name, percent(value.interval), value.interval.n, value.samples)
        for name, value in found.rates.items()
    ]
    console.table(("rate", "share [95 %]", "prompts", "replies"), rows, right=(2, 3))
    console.say()
    if found.version.startswith("refusal") and not any(item.kind for item in items):
        console.warn(
            "it is not known which prompts are unsafe, so refusal and over-refusal are counted"
            " together; --prompts FILE says it"
        )


def show_lengths(source: Path, items: Sequence[Item]) -> None:
    console.say(str(source))
    console.say()
    rows = [
        (
            each.group,
            "-" if each.mean_tokens is None else f"{each.mean_tokens:.1f}",
            each.completions,
        )
        for each in lengths(items)
    ]
    console.table(("completions", "mean tokens", "number"), rows, right=(1, 2))
    console.say()
    console.say(
        "two arms at equal accuracy: study compare A B counts tokens on the problems that both"
        " solve",
        "dim",
    )
