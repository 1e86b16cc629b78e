"""`study power`: the smallest effects that a comparison of two arms can detect, and its cost,
before anything is run.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.compare.designs import Measured, from_arms, minutes
from analysis.compare.selectors import Place, arms_of
from study.cli import console
from study.errors import SpecError
from study.record.store import atomic_write
from study.stats.power import Design, Over, Sight, Spread, assumed, fewest, power_of, sight

SIZES = {
    "math500": 500,
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "gsm8k": 1319,
    "gpqa_diamond": 198,
    "mmlu_pro": 12032,
    "lab_math": 256,
}
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


@dataclass(frozen=True)
class _Assumed:
    accuracy: float
    between: float
    alike: float

    @property
    def text(self) -> str:
        return (
            f"assumed: accuracy {self.accuracy:.0%}, {self.between:.2f} of a sample's variance"
            f" between problems, problems' accuracies correlated {self.alike:g} between the arms;"
            " bases: score sd 3 points, effect sd 2 points"
        )


def power(
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Benchmarks, name=problems or numbers, joined by commas: aime24,mine=200,30."
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(min=1, help="Samples per problem; of the records, or 1, by default."),
    ] = None,
    bases: Annotated[
        int | None,
        typer.Option(
            min=1, help="Seeds, each with a base student of its own, or models of one kind."
        ),
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option(help="The smallest effect that matters, in points of accuracy: 5 is 5 %."),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option("--grid", "-g", help="Use variances and costs of the records of this grid."),
    ] = None,
    scale: Annotated[str, typer.Option(help="The scale of the grid.")] = "lab",
    pair: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Use these two cells only.")
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder with the records.")] = Path(
        "results"
    ),
    accuracy: Annotated[
        float,
        typer.Option(min=1, max=99, help="Assumed accuracy in %, where nothing was measured."),
    ] = 50.0,
    between: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Assumed share of variance between problems; 1/3: uniform over 0 to 1.",
        ),
    ] = 1 / 3,
    alike: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Assumed correlation of the problems' accuracies between the arms."
        ),
    ] = 0.8,
    tokens: Annotated[
        float | None, typer.Option(min=1, help="Tokens of a completion, for the cost.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Write everything to this file.")
    ] = None,
) -> None:
    """Show what a comparison can detect (two-sided 5 %, power 80 %), paired and unpaired, and
    its cost.
    """
    _check_effect(effect)
    found = _measured(grid, scale, pair, results)
    if found is None:
        guess = _Assumed(accuracy / 100.0, between, alike)
        spread, origin = assumed(guess.accuracy, between=between, alike=alike), guess.text
    else:
        median = (
            f"the median of {found.pairs} pairs of cells"
            if found.pairs > 1
            else "one pair of cells"
        )
        spread, origin = (
            found.spread,
            (
                f"measured: {median}, {found.bases} bases, {found.problems} problems, k = {found.k}"
                f" ({found.task})"
            ),
        )
    named = _tasks(tasks, found)
    designs = [
        (
            name,
            Design(size, k or (found.k if found else 1), bases or (found.bases if found else 1)),
        )
        for name, size in named
    ]
    pages = [_page(name, design, spread, effect, found, tokens) for name, design in designs]
    _show(pages, origin, spread, effect)
    for name, design in designs if effect is not None else ():
        _show_needed(name, design, spread, effect or 0.0)
    if output is not None:
        _write(
            output, {"origin": origin, "spread": asdict(spread), "effect": effect, "tasks": pages}
        )


def _check_effect(effect: float | None) -> None:
    if effect is not None and not 0.1 <= effect <= 100.0:
        hint = f"5 is 5 %; for the fraction {effect:g}: --effect {100 * effect:g}"
        raise SpecError(
            f"--effect {effect:g} points of accuracy is not between 0.1 and 100", hint=hint
        )


def _measured(
    grid: str | None, scale: str, pair: tuple[str, str] | None, results: Path
) -> Measured | None:
    if grid is None and pair is None:
        return None
    place = Place(grid or "math", scale, results)
    return from_arms([arm for name in pair or (place.grid,) for arm in arms_of(name, place)])


def _tasks(text: str | None, found: Measured | None) -> list[tuple[str, int]]:
    """Return (name, number of problems) of every task of --tasks."""
    if text is None:
        if found is None:
            raise SpecError(
                "--tasks is missing",
                hint="study power --tasks aime24,math500 --k 16; or --grid math",
            )
        return [(found.task, found.problems)]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return [_task(part) for part in parts]


def _task(text: str) -> tuple[str, int]:
    name, _, size = text.rpartition("=")
    if text.lower() in SIZES:
        return text.lower(), SIZES[text.lower()]
    if re.fullmatch(r"[0-9]{1,7}", size) and int(size) > 0:
        return name or f"{size} problems", int(size)
    raise SpecError(
        f"--tasks: how many problems has {text!r}?",
        hint=f"{name or text}=NUMBER; known: {', '.join(SIZES)}",
    )


def _page(
    name: str,
    design: Design,
    spread: Spread,
    effect: float | None,
    found: Measured | None,
    tokens: float | None,
) -> dict[str, Any]:
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


def _show(
    pages: Sequence[dict[str, Any]], origin: str, spread: Spread, effect: float | None
) -> None:
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


def _show_needed(name: str, design: Design, spread: Spread, effect: float) -> None:
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


def _write(output: Path, page: dict[str, Any]) -> None:
    atomic_write(
        output, (json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    )
    console.say(f"written: {output}", "dim")
