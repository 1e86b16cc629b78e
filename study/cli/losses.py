"""`study losses`: what each loss asks for and where it ends, in seconds and without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.console import say, table
from study.errors import SpecError

if TYPE_CHECKING:
    from study.models.loss_table import Report, Row
    from study.objectives.landscape import Shape, States

HEADERS = ("loss", "K", "value", "cosine", "error", "bias", "mass", "KL", "entropy")
LEGEND = (
    "value    mean loss, nats",
    "cosine   of the gradient in the logits to that of the full-vocabulary reverse KL",
    (
        "error    norm of their difference, relative to the full gradient; 1 is as wrong as no"
        " gradient"
    ),
    (
        "bias     norm of the gradient of the TopK mass that is part of the loss's gradient,"
        " relative to the full gradient"
    ),
    "mass     where descent on the distributions ends: probability on {support}",
    "         (for a loss without K: of the first K asked for)",
    "KL       there: exact reverse KL to the teacher; entropy: there, nats",
    (
        "One draw has no fixed point. In expectation the plain sampled loss has no gradient: every"
        " point is a fixed point."
    ),
)
OWN_SUPPORT = "the student's K likeliest tokens, chosen anew at each step as in training"
HELD_SUPPORT = "the K tokens that were likeliest at the start, held as in the closed forms"


def losses(
    k: Annotated[
        list[int] | None,
        typer.Option("--k", "-k", help="K of the TopK forms; repeat for several (default 5)"),
    ] = None,
    states: Annotated[int, typer.Option(min=1, help="number of states (distributions)")] = 256,
    vocabulary: Annotated[
        int, typer.Option(min=2, help="size of the random states' vocabulary")
    ] = 64,
    seed: Annotated[
        int, typer.Option(help="seed of the random states, or of the student's rollouts")
    ] = 0,
    student: Annotated[
        Path | None,
        typer.Option(help="a model folder; with --teacher: their states instead of random ones"),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="a model folder with the student's tokenizer")
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="with --student: whose problems the student answers, by the name the scale gives"
        ),
    ] = "math",
    scale: Annotated[
        str, typer.Option(help="with --student: the scale that names the data")
    ] = "lab",
    fixed_support: Annotated[
        bool,
        typer.Option("--fixed-support", help="descend with the TopK of the start (closed forms)"),
    ] = False,
) -> None:
    """Compare every loss with the full reverse KL: value, gradient, bias, fixed point."""
    import torch

    from study.models.loss_table import report

    torch.set_num_threads(1)
    where = _states(states, vocabulary, seed, student, teacher, data, scale)
    result = report(where, tuple(dict.fromkeys(k or [5])), fixed_support=fixed_support)
    origin = (
        f"the states of {student} on its own completions, teacher {teacher}"
        if student
        else f"random states, seed {seed}"
    )
    say(
        f"{result.num_states} states over {result.vocabulary} tokens: {origin}; fixed points on"
        f" {result.descent_states} of them",
        "bold",
    )
    table(HEADERS, _cells(result), right=range(1, len(HEADERS)))
    say()
    for line in LEGEND:
        say(line.format(support=HELD_SUPPORT if fixed_support else OWN_SUPPORT), "dim")


def _states(
    number: int,
    vocabulary: int,
    seed: int,
    student: Path | None,
    teacher: Path | None,
    data: str,
    scale: str,
) -> "States":
    if (student is None) != (teacher is None):
        raise SpecError(
            "--student and --teacher belong together",
            hint="study losses --student DIR --teacher DIR",
        )
    if student is None or teacher is None:
        from study.objectives.landscape import random_states

        return random_states(number, vocabulary, seed)
    from study.models.loss_table import pair_states
    from study.spec.grid.scale import load_scale
    from study.spec.yaml.load import Located

    source = load_scale(scale).data(Located(data, "--data"), "data").spec
    return pair_states(student, teacher, source, num_states=number, seed=seed)


def _cells(result: "Report") -> list[tuple[str, ...]]:
    rows = [_row(row) for row in result.rows]
    for k, start in result.student.items():
        rows.append(("student at the start", str(k), "", "", "", "", *_shape(start)))
        rows.append(("teacher", str(k), "", "", "", "", *_shape(result.teacher[k])))
    return rows


def _row(row: "Row") -> tuple[str, ...]:
    measured = (row.comparison.value, row.comparison.cosine, row.comparison.error, row.bias)
    return (
        row.preset,
        str(row.k or ""),
        *(_number(value) for value in measured),
        *_shape(row.fixed_point),
    )


def _shape(shape: "Shape | None") -> tuple[str, ...]:
    return tuple(_number(value) for value in (shape if shape is not None else (None, None, None)))


def _number(value: float | None) -> str:
    """Three decimals; a dash where there is nothing to measure; no minus zero."""
    return "-" if value is None else f"{value + 0.0:.3f}".replace("-0.000", "0.000")
