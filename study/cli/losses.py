"""`study losses`: compare the losses and their fixed points in seconds, without training."""

from pathlib import Path
from typing import Annotated

import typer

from study.errors import SpecError

REAL_VOCABULARY = 151_936  # of Qwen3, the paper's models
DEFAULT_COST_K = 20  # the paper's


def losses(
    k: Annotated[
        list[int] | None,
        typer.Option("--k", "-k", help="K of the TopK losses; repeat it for several (default 5)."),
    ] = None,
    states: Annotated[int, typer.Option(min=1, help="Number of states (distributions).")] = 256,
    vocabulary: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Vocabulary size of the random states (default 64), or with --cost (151936).",
        ),
    ] = None,
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
    cost: Annotated[
        bool,
        typer.Option(
            "--cost", help="Instead: measure what every loss costs here, in time and memory."
        ),
    ] = False,
    tokens: Annotated[int, typer.Option(min=1, help="With --cost: number of tokens.")] = 32,
    hidden: Annotated[int, typer.Option(min=1, help="With --cost: hidden size.")] = 1024,
) -> None:
    """Compare every loss with the full reverse KL: value, gradient, bias, fixed point.

    A second table shows what each reduction does to the losses of a sampled token.
    """
    # torch takes two CPU seconds to import; `--help` does without it
    if cost:
        from study.cli.loss_cost import show_cost
        from study.models.chunked.cost import Sizes

        sizes = Sizes(tokens, hidden, vocabulary or REAL_VOCABULARY, (k or [DEFAULT_COST_K])[0])
        if sizes.k > sizes.vocabulary:
            raise SpecError(
                f"K = {sizes.k} is larger than the vocabulary of {sizes.vocabulary} tokens",
                hint="study losses --cost --k 20",
            )
        show_cost(sizes)
        return
    from study.cli.loss_comparison import Source, show_losses

    where = Source(states, vocabulary or 64, seed, student, teacher, data, scale)
    show_losses(where, tuple(dict.fromkeys(k or [5])), fixed_support=fixed_support)
