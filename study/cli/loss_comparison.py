"""The output of `study losses`: each loss compared with the full reverse KL on given states."""

from dataclasses import dataclass
from pathlib import Path

import torch

from study.cli.console import say, table
from study.errors import SpecError
from study.models.loss_table import Report, Row, report
from study.models.pair_states import Pair, completion_states, open_pair, pair_states
from study.models.reduction_table import (
    TREE_DEPTH,
    TREE_VOCABULARY,
    BiasRow,
    pair_rows,
    tree_rows,
)
from study.objectives.landscape import Shape, random_states
from study.spec.grid.scale import load_scale
from study.spec.yaml.load import Located

HEADERS = ("loss", "K", "value", "cosine", "error", "bias", "mass", "KL", "entropy")
LEGEND = (
    "value    mean loss, nats",
    "cosine   of the gradient in the logits to that of the full-vocabulary reverse KL",
    (
        "error    norm of their difference, relative to the full gradient; 1 is as wrong as a"
        " zero gradient"
    ),
    (
        "bias     norm of the gradient of the TopK mass that is part of the loss's gradient,"
        " relative to the full gradient"
    ),
    "mass     where descent on the distributions ends: probability on {support}",
    "         (for a loss without K: of the first --k)",
    "KL       at that point: exact reverse KL to the teacher; entropy: at that point; nats",
    (
        "One draw has no fixed point. In expectation, at one state, the plain sampled loss and the"
        " constant advantage have no gradient: every point is a fixed point."
    ),
)
BIAS_HEADERS = ("loss", "reduction", "bias", "cosine", "end", "full at end")
PAIR_HEADERS = ("loss", "reduction", "end", "standard error", "full at end")
BIAS_LEGEND = (
    "bias     expected gradient minus its target, relative to the full gradient; target: the full",
    "         reverse KL under the same reduction, or zero for a loss without a teacher",
    "cosine   of the expected gradient to that of the full reverse KL under the same reduction",
)
END_LEGEND = (
    "end      the bias in the logit of the end token, summed over the states of a completion;",
    "         positive: descent makes ending rarer. full at end: the full gradient there",
    "B: responses per batch. constant divides by {limit} tokens per response. docs/losses.md",
)
OWN_SUPPORT = "the student's K likeliest tokens, chosen anew at each step as in training"
HELD_SUPPORT = "the K tokens that were likeliest at the start, held as in the closed forms"


@dataclass(frozen=True)
class Source:
    """The states to compare on: those of a student and a teacher, or random ones."""

    number: int
    vocabulary: int
    seed: int
    student: Path | None
    teacher: Path | None
    data: str
    scale: str


def show_losses(source: Source, ks: tuple[int, ...], *, fixed_support: bool) -> None:
    """Print the comparison of every loss, on one thread, so that equal seeds give equal digits."""
    torch.set_num_threads(1)
    pair = _pair(source)
    states = (
        pair_states(pair, source.number, source.seed)
        if pair
        else random_states(source.number, source.vocabulary, source.seed)
    )
    result = report(states, ks, fixed_support=fixed_support)
    origin = f"random states, seed {source.seed}"
    if source.student:
        origin = f"the states of {source.student} on its own completions, teacher {source.teacher}"
    say(
        f"{result.num_states} states over {result.vocabulary} tokens: {origin}; fixed points on"
        f" {result.descent_states} of them",
        "bold",
    )
    table(HEADERS, _cells(result), right=range(1, len(HEADERS)))
    say()
    for line in LEGEND:
        say(line.format(support=HELD_SUPPORT if fixed_support else OWN_SUPPORT), "dim")
    say()
    _show_bias(source, pair)
    say()
    say("next: study plan --grid math --only 'biased_*'  # the runs that train with these losses")


def _pair(source: Source) -> Pair | None:
    """Open the student and the teacher and let the student write; None without a pair."""
    if (source.student is None) != (source.teacher is None):
        raise SpecError(
            "--student and --teacher belong together",
            hint="study losses --student DIR --teacher DIR",
        )
    if source.student is None or source.teacher is None:
        return None
    data = load_scale(source.scale).data(Located(source.data, "--data"), "data").spec
    return open_pair(
        source.student,
        source.teacher,
        data,
        num_completions=max(8, source.number // 8),
        seed=source.seed,
    )


def _show_bias(source: Source, pair: Pair | None) -> None:
    """Print what each reduction does to the sampled losses."""
    legend, limit = (*BIAS_LEGEND, *END_LEGEND), TREE_DEPTH
    if pair is None:
        say(
            f"sampled losses with their reduction: every completion of a random tree,"
            f" {TREE_VOCABULARY} tokens, at most {TREE_DEPTH} of them, seed {source.seed}",
            "bold",
        )
        rows, headers = tree_rows(source.seed), BIAS_HEADERS
    else:
        legend, limit = END_LEGEND, pair.limit
        say(
            f"sampled losses with their reduction: estimated on {len(pair.texts)} whole"
            " completions of the student",
            "bold",
        )
        rows, headers = pair_rows(completion_states(pair), pair.ends, pair.limit), PAIR_HEADERS
    table(headers, [_bias_row(row) for row in rows], right=range(2, len(headers)))
    say()
    for line in legend:
        say(line.format(limit=limit), "dim")


def _bias_row(row: BiasRow) -> tuple[str, ...]:
    if row.standard_error is None:
        numbers = (row.bias, row.cosine, row.end, row.full_end)
    else:
        numbers = (row.end, row.standard_error, row.full_end)
    return (row.preset, row.reduction, *(_small(value) for value in numbers))


def _cells(result: Report) -> list[tuple[str, ...]]:
    rows = [_row(row) for row in result.rows]
    for k, start in result.student.items():
        rows.append(("student at the start", str(k), "", "", "", "", *_shape(start)))
        rows.append(("teacher", str(k), "", "", "", "", *_shape(result.teacher[k])))
    return rows


def _row(row: Row) -> tuple[str, ...]:
    measured = (row.comparison.value, row.comparison.cosine, row.comparison.error, row.bias)
    return (
        row.preset,
        str(row.k or ""),
        *(_number(value) for value in measured),
        *_shape(row.fixed_point),
    )


def _shape(shape: Shape | None) -> tuple[str, ...]:
    return tuple(_number(value) for value in (shape if shape is not None else (None, None, None)))


def _number(value: float | None) -> str:
    """Format with three decimals; a dash for None; no negative zero."""
    return "-" if value is None else f"{value + 0.0:.3f}".replace("-0.000", "0.000")


def _small(value: float | None) -> str:
    """Format with four decimals: a bias of token_mean is small."""
    return "-" if value is None else f"{value + 0.0:.4f}".replace("-0.0000", "0.0000")
