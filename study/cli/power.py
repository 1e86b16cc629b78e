"""`study power`: the smallest effects that a comparison of two arms can detect, and its cost,
before anything is run; with `--claims`, what the undecided claims of a study need.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.compare.designs import Measured, from_arms
from analysis.compare.selectors import Place, arms_of
from study.cli import console, power_claims, power_designs, power_expected
from study.errors import SpecError
from study.record.store import atomic_write
from study.stats.power import Design, assumed

BASES = 10  # of a study whose words are simulated
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
        typer.Option(min=1, help="Samples per problem; default: as in the records, else 1."),
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
    claims: Annotated[
        bool,
        typer.Option(
            "--claims", help="Show what the undecided claims need; of --grid, or of all grids."
        ),
    ] = False,
    expected: Annotated[
        bool,
        typer.Option(
            "--expected",
            help="With --claims: also simulate the words of all claims on --bases (10) bases.",
        ),
    ] = False,
    rules: Annotated[
        str, typer.Option(help="Rules of evidence for --claims: 1, or 2 as in docs/claims.md.")
    ] = "2",
    output: Annotated[
        Path | None, typer.Option("--json", help="Write everything to this file.")
    ] = None,
) -> None:
    """Show what a comparison can detect (two-sided 5 %, power 80 %), paired and unpaired, and
    its cost. With --claims: the bases that each undecided claim needs.
    """
    if claims:
        every = None if grid in (None, "all") else grid
        page = power_claims.show(every, scale, results, rules)
        if expected:
            page |= {"expected": power_expected.show(every, scale, results, bases or BASES)}
    else:
        guess = _Assumed(accuracy / 100.0, between, alike)
        page = _designs(
            tasks, k, bases, effect, _measured(grid, scale, pair, results), guess, tokens
        )
    if output is not None:
        _write(output, page)


def _designs(
    tasks: str | None,
    k: int | None,
    bases: int | None,
    effect: float | None,
    found: Measured | None,
    guess: _Assumed,
    tokens: float | None,
) -> dict[str, Any]:
    """Show what each task's design can detect; return it as data."""
    _check_effect(effect)
    if found is None:
        spread = assumed(guess.accuracy, between=guess.between, alike=guess.alike)
        origin = guess.text
    else:
        median = (
            f"the median of {found.pairs} pairs of cells"
            if found.pairs > 1
            else "one pair of cells"
        )
        spread = found.spread
        origin = (
            f"measured: {median}, {found.bases} bases, {found.problems} problems, k = {found.k}"
            f" ({found.task})"
        )
    samples = k or (found.k if found else 1)
    units = bases or (found.bases if found else 1)
    designs = [(name, Design(size, samples, units)) for name, size in _tasks(tasks, found)]
    pages = [
        power_designs.page(name, design, spread, effect, found, tokens) for name, design in designs
    ]
    power_designs.show(pages, origin, spread, effect)
    for name, design in designs if effect is not None else ():
        power_designs.show_needed(name, design, spread, effect or 0.0)
    return {"origin": origin, "spread": asdict(spread), "effect": effect, "tasks": pages}


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


def _write(output: Path, page: dict[str, Any]) -> None:
    atomic_write(
        output, (json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    )
    console.say(f"written: {output}", "dim")
