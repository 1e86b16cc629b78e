"""`study losses`: what each loss asks for and where it ends, in seconds and without training."""

from pathlib import Path
from typing import Annotated

import typer


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
    # torch takes two CPU seconds to import; `--help` does without it
    from study.cli.loss_comparison import Source, show_losses

    where = Source(states, vocabulary, seed, student, teacher, data, scale)
    show_losses(where, tuple(dict.fromkeys(k or [5])), fixed_support=fixed_support)
