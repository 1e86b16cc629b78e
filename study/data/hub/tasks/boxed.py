"""The three functions that the task files name: documents, a filter that grades all k responses,
and the fractions of a problem.

lm-eval's default filter keeps only the first response, which would turn k samples into one; this
filter keeps and grades all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from datasets import Dataset

from study.data.hub.benchmarks import read
from study.data.hub.eval_tasks import document_rows, parse_source
from study.grading.boxed import GRADER, Outcome
from study.grading.registry import Grade, Sample, open_grader


def documents(
    rows: Sequence[Mapping[str, Any]] | None = None,
    source: Mapping[str, Any] | None = None,
    grader: str = GRADER,
    **_: Any,
) -> dict[str, Dataset]:
    """Return the only split of a task: the rows that `study` passes, else (in plain lm-eval) those
    of the task file's source.
    """
    if rows is None:
        rows = document_rows(read("of this page", parse_source("of this page", source)).problems)
    return {"test": Dataset.from_list([{**row, "grader": grader} for row in rows])}


def graded(
    responses: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]
) -> list[list[Grade]]:
    """Return [P][k] results for [P][k] texts.

    A plain string (from an engine that does not say why it stopped) counts as ended.
    """
    texts = [list(row) for row in responses]
    samples = [
        Sample(
            text,
            doc["answer"],
            getattr(text, "truncated", False),
            doc["prompt"],
            doc.get("gold_is_float", False),
        )
        for row, doc in zip(texts, docs, strict=True)
        for text in row
    ]
    with open_grader(docs[0]["grader"]) as judge:
        results = iter(judge.grade_many(samples))
    return [[next(results) for _ in row] for row in texts]


def fractions(
    doc: Mapping[str, str],  # noqa: ARG001 - lm-eval passes both
    results: Sequence[Sequence[Grade]],
) -> dict[str, float]:
    """Turn one problem's k results into its fractions; their means over problems are avg@k and the
    other measures.
    """
    graded_S = results[0]
    strict = [result.outcome for result in graded_S]
    named = {
        f"{outcome}_fraction": strict.count(outcome) / len(strict)
        for outcome in (Outcome.truncated, Outcome.unparsed, Outcome.timed_out)
    }
    relaxed = sum(result.relaxed is Outcome.correct for result in graded_S)
    return {
        "accuracy": strict.count(Outcome.correct) / len(strict),
        "relaxed_accuracy": relaxed / len(strict),
        **named,
    }
