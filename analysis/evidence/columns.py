"""The columns of the tidy frames, declared with type and meaning, and the rows that records give
for them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.evidence.curves import Curves

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """dtype: the pandas type; meaning: one line for the reader of a notebook."""

    name: str
    dtype: str
    meaning: str


RUN_COLUMNS: tuple[Column, ...] = (
    Column("run", "string", "run id"),
    Column("cell", "string", "cell id"),
    Column("arm", "string", "level labels of the cell, in the order of the grid's factors"),
    Column("seed", "int64", "seed = base student: a seed starts at pretraining"),
    Column("repeat", "int64", "which training seed on this base; 0 is the first"),
    Column("scale", "string", "lab or paper"),
    Column(
        "objective.family",
        "string",
        "full, biased, stop_gradient, renormalised, tail_bucket, sampled_pg, sampled_plain or"
        " other",
    ),
    Column("objective.preset", "string", "name of the loss tuple"),
    Column("objective.k", "Int64", "TopK size; absent where the support is not a TopK"),
    Column("steps", "Int64", "training steps; absent where the model is not distilled here"),
    Column(
        "task", "string", "name of the score: the evaluation task, or the name of the evaluation"
    ),
    Column("score", "float64", "avg@k of the final evaluation"),
    Column("k", "int64", "samples per problem"),
    Column("num_problems", "int64", "problems of the final evaluation"),
    Column("truncated_fraction", "float64", "share of final samples cut at the length limit"),
    Column("unparsed_fraction", "float64", "share of final samples without a readable answer"),
    Column("mean_tokens", "float64", "mean length of the final samples"),
    Column("own_minutes", "float64", "core minutes of this run's own stages"),
    Column(
        "claims",
        "string",
        "hash of the claims files when the run started (results/declared); absent where"
        " there were none",
    ),
    Column(
        "shared_minutes",
        "float64",
        "core minutes of the stages it shares with other runs of its seed",
    ),
)

HISTORY_COLUMNS: tuple[Column, ...] = (
    Column("run", "string", "run id"),
    Column("cell", "string", "cell id"),
    Column("arm", "string", "level labels of the cell"),
    Column("seed", "int64", "base student"),
    Column("step", "int64", "optimiser steps done before the measurement"),
    Column("metric", "string", "name as in docs/metrics.md"),
    Column("value", "float64", "the measurement"),
)

_RUN = HISTORY_COLUMNS[:4]

COMPLETION_COLUMNS: tuple[Column, ...] = (
    *_RUN,
    Column("step", "int64", "optimiser steps done before it was sampled"),
    Column("prompt", "string", "the problem as the student saw it"),
    Column("completion", "string", "what the student wrote in training"),
    Column("outcome", "string", "its grade: correct, wrong, unparsed or truncated"),
)

REPEATED_COLUMNS: tuple[Column, ...] = (
    *_RUN,
    Column("step", "int64", "first step of the window"),
    Column(
        "token", "string", "a token at positions whose 3-gram ended earlier in the same response"
    ),
    Column("count", "int64", "such positions in the window"),
)

PROBLEM_COLUMNS: tuple[Column, ...] = (
    *_RUN,
    Column("task", "string", "name of the score"),
    Column(
        "problem",
        "int64",
        "place of the problem in its task, the same for all runs with the same problems",
    ),
    Column("k", "int64", "samples"),
    Column("correct", "int64", "samples that are right"),
    Column("truncated", "int64", "samples cut at the length limit"),
)


def history_rows(runs: Rows, curves: Curves) -> Iterator[tuple[Any, ...]]:
    for row in runs:
        for metric, points in curves.whole(row["run"]).items():
            yield from ((*_named(row), step, metric, value) for step, value in points)


def completion_rows(runs: Rows, curves: Curves) -> Iterator[tuple[Any, ...]]:
    for row in runs:
        found = curves.record(row["run"]).completions
        yield from (
            (*_named(row), each.step, each.prompt, each.completion, each.outcome) for each in found
        )


def repeated_rows(runs: Rows, curves: Curves) -> Iterator[tuple[Any, ...]]:
    for row in runs:
        windows = sorted(
            curves.record(row["run"]).repeated_tokens.items(), key=lambda item: int(item[0])
        )
        yield from (
            (*_named(row), int(step), token, count)
            for step, pairs in windows
            for token, count in pairs
        )


def problem_rows(runs: Rows, curves: Curves) -> Iterator[tuple[Any, ...]]:
    for row in runs:
        for task, score in curves.record(row["run"]).scores.items():
            counts = zip(score.correct, score.truncated, strict=True)
            yield from (
                (*_named(row), task, i, score.k, int(right, 36), int(cut, 36))
                for i, (right, cut) in enumerate(counts)
            )


def _named(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["run"], row["cell"], row["arm"], row["seed"]


def frame(
    columns: Sequence[Column], rows: Iterable[Any], labels: Sequence[str] = ()
) -> pd.DataFrame:
    """A frame with the declared types; labels: further text columns."""
    types = {column.name: column.dtype for column in columns} | dict.fromkeys(labels, "string")
    return pd.DataFrame(list(rows), columns=list(types)).astype(types)
