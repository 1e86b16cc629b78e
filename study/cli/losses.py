"""`study losses`: compare the losses and their fixed points in seconds, without training."""

from pathlib import Path
from typing import Annotated

import typer


def losses(
    k: Annotated[
        list[int] | None,
        typer.Option("--k", "-k", help="K of the TopK losses; repeat it for several (default 5)."),
    ] = None,
    states: Annotated[int, typer.Option(min=1, help="Number of states (distributions).")] = 256,
    vocabulary: Annotated[
        int, typer.Option(min=2, help="Vocabulary size of the random states.")
    ] = 64,
    seed: Annotated[
        int, typer.Option(help="Seed of the random states, or of the student's rollouts.")
    ] = 0,
    student: Annotated[
        Path | None,
        typer.Option(help="A model folder; with --teacher: use their states, not random ones."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A model folder with the student's tokenizer.")
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="With --student: the name, in the scale, of the data that the student answers."
        ),
    ] = "math",
    scale: Annotated[
        str, typer.Option(help="With --student: the scale that names the data.")
    ] = "lab",
    fixed_support: Annotated[
        bool,
        typer.Option(
            "--fixed-support", help="Keep the TopK of the start during the descent (closed forms)."
        ),
    ] = False,
) -> None:
    """Compare every loss with the full reverse KL: value, gradient, bias, fixed point.

    A second table shows what each reduction does to the losses of a sampled token.
    """
    # torch takes two CPU seconds to import; `--help` does without it
    from study.cli.loss_comparison import Source, show_losses

    where = Source(states, vocabulary, seed, student, teacher, data, scale)
    show_losses(where, tuple(dict.fromkeys(k or [5])), fixed_support=fixed_support)
