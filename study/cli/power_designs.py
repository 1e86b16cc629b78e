"""What a design can detect, and what it costs: the tables of `study power`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from analysis.compare.designs import Measured, minutes
from study.cli import console
from study.stats.power import Design, Over, Sight, Spread, fewest, power_of, sight

LEGEND = (
    (
        "points of accuracy. significant: the smallest observed difference with p < .05; found: the"
        " smallest true difference that 80 % of studies find"
    ),
    (
        "other: what the result generalises to: other problems of the kind with these bases, or"
        " other bases on these problems"
    ),
)
_OVER: tuple[Over, ...] = ("problems", "bases")


def page(
    name: str,
    design: Design,
    spread: Spread,
    effect: float | None,
    found: Measured | None,
    tokens: float | None,
) -> dict[str, Any]:
    """Return what a design detects and costs, as data. effect: in points of accuracy."""
    length = tokens or (found.tokens if found else None)
    spent = minutes(design, found) if found else {}
    return {
        "task": name, "problems": design.problems, "k": design.k, "bases": design.bases,
        "samples": design.samples,
        "tokens": None if length is None else round(length * design.samples),
        "core_minutes": sum(spent.values()) or None, "minutes_of": spent,
        "over": {over: _over(design, spread, over, effect) for over in _OVER},
    }  # fmt: skip


def _over(design: Design, spread: Spread, over: Over, effect: float | None) -> dict[str, Any]:
    def one(paired: bool) -> dict[str, Any] | None:
        chosen = replace(design, paired=paired)
        seen: Sight | None = sight(spread, chosen, over)
        if seen is None:
            return None
        chance = None if effect is None else power_of(effect / 100.0, spread, chosen, over)
        return {"critical": seen.critical, "detectable": seen.detectable, "power": chance}

    return {"paired": one(True), "unpaired": one(False)}


def show(
    pages: Sequence[dict[str, Any]], origin: str, spread: Spread, effect: float | None
) -> None:
    """Print where the variances come from, what is detected, and the cost."""
    console.say(origin)
    parts = spread.difference
    named = (
        ("between problems", parts.problem),
        ("between bases", parts.base),
        ("both", parts.both),
        ("a sample of each arm", parts.sampling),
    )
    deviations = ", ".join(f"{name} {100 * variance**0.5:.1f}" for name, variance in named)
    console.say(f"standard deviation of the difference, points: {deviations}", "dim")
    console.say()
    heads = (
        "task",
        "problems",
        "k",
        "bases",
        "other",
        "paired: significant",
        "found",
        "unpaired: significant",
        "found",
    )
    chance = ("power",) if effect is not None else ()
    console.table(
        (*heads, *chance), [line for page in pages for line in _lines(page, effect is not None)]
    )
    console.say()
    for line in LEGEND:
        console.say(line, "dim")
    console.say()
    console.table(
        ("task", "samples of both arms", "tokens", "core minutes"),
        [_cost(page) for page in pages],
        right=(1, 2),
    )


def _lines(page: dict[str, Any], with_power: bool) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for over in _OVER:
        paired, unpaired = page["over"][over]["paired"], page["over"][over]["unpaired"]
        if paired is not None:
            shown = [
                f"{100 * each[part]:.1f}"
                for each in (paired, unpaired)
                for part in ("critical", "detectable")
            ]
            power = (f"{paired['power']:.0%}",) if with_power else ()
            lines.append(
                (
                    page["task"],
                    str(page["problems"]),
                    str(page["k"]),
                    str(page["bases"]),
                    over,
                    *shown,
                    *power,
                )
            )
    nothing = ("-", *["nothing at n = 1"] * 4, *["-"] * with_power)
    return lines or [
        (page["task"], str(page["problems"]), str(page["k"]), str(page["bases"]), *nothing)
    ]


def _cost(page: dict[str, Any]) -> tuple[str, str, str, str]:
    spent = ", ".join(f"{name} {value:.1f}" for name, value in page["minutes_of"].items())
    tokens = "not known: --tokens" if page["tokens"] is None else f"{page['tokens']:,}"
    return (
        page["task"],
        f"{page['samples']:,}",
        tokens,
        f"{page['core_minutes']:.1f} ({spent})" if spent else "not known: --grid",
    )


def show_needed(name: str, design: Design, spread: Spread, effect: float) -> None:
    """Show how much of each setting would be enough with the others unchanged."""
    problems, k = (
        fewest(effect / 100.0, spread, design, "problems", knob) for knob in ("problems", "k")
    )
    line = f"{name}: to find {effect:g} points, paired, over problems: "
    joint = "; " if k is None else ", or "
    line += f"{_needed(problems, 'problems')}{joint}{_needed(k, 'samples per problem')}"
    if design.bases > 1:
        line += (
            "; over bases:"
            f" {_needed(fewest(effect / 100.0, spread, design, 'bases', 'bases'), 'bases')}"
        )
    console.say(line)


def _needed(number: int | None, what: str) -> str:
    return f"more {what} alone are not enough" if number is None else f"{number:,} {what}"
