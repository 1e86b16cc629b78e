"""The three functions that the task files name: documents from memory, a filter that grades all k responses, and a problem's fractions.

lm-eval's default filter keeps the first response only and would turn k samples into one; this one keeps every one, graded.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import Dataset

from study.data.grading import Outcome, grade


def documents(rows: list[dict[str, str]], **_: Any) -> dict[str, Dataset]:
    """The problems handed over through the TaskManager's metadata, as the one split of the task."""
    return {"test": Dataset.from_list(rows)}


def graded(responses: Iterable[Sequence[str]], docs: Sequence[dict[str, str]]) -> list[list[Outcome]]:
    """[P][k] texts -> [P][k] outcomes. A plain string (from an engine that does not say why it stopped) counts as ended."""
    return [
        [grade(text, doc["answer"], truncated=getattr(text, "truncated", False)) for text in texts]
        for texts, doc in zip(responses, docs, strict=True)
    ]


def fractions(doc: dict[str, str], results: list[list[Outcome]]) -> dict[str, float]:  # noqa: ARG001 - the harness passes both
    """One problem's k outcomes -> its fractions; their means over problems are avg@k and its two companions."""
    outcomes = results[0]
    return {
        "accuracy": outcomes.count(Outcome.correct) / len(outcomes),
        "truncated_fraction": outcomes.count(Outcome.truncated) / len(outcomes),
        "unparsed_fraction": outcomes.count(Outcome.unparsed) / len(outcomes),
    }
