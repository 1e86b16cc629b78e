"""One `Problem` for every source, in three disjoint splits: train, selection (to choose
checkpoints) and held_out (to judge them).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from study.spec.recipe.data import (
    ArithmeticData,
    BenchmarkData,
    Data,
    HiddenFactData,
    HubData,
    JsonlData,
    SearchData,
    SharedData,
)  # fmt: skip

Split = Literal["train", "selection", "held_out"]


@dataclass(frozen=True)
class Problem:
    """A question with a verifiable answer.

    `columns` holds whatever else a template of privileged information may want.
    """

    id: str
    prompt: str
    answer: str
    solution: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, str]:
        """All columns by name, as templates see them."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "answer": self.answer,
            "solution": self.solution,
            **self.columns,
        }


def load(data: Data, split: Split) -> tuple[Problem, ...]:
    """The problems of one split, always the same and in the same order.

    Raises PrerequisiteError when a local file is missing or a declared column is not in it.
    """
    from study.data import jsonl
    from study.data.hub import datasets as sources
    from study.data.worlds import arithmetic, search
    from study.data.worlds import hidden_fact as hidden
    from study.data.worlds import shared_rule as shared

    match data:
        case ArithmeticData():
            return arithmetic.problems(data, split)  # pyright: ignore[reportArgumentType] - a frozen spec is hashable
        case SearchData():
            return search.problems(data, split)  # pyright: ignore[reportArgumentType]
        case HiddenFactData():
            return hidden.problems(data, split)  # pyright: ignore[reportArgumentType]
        case SharedData():
            return shared.problems(data, split)  # pyright: ignore[reportArgumentType]
        case JsonlData():
            return jsonl.problems(data, split)
        case HubData():
            return sources.problems(data, split)
        case BenchmarkData():
            return sources.benchmark_problems(data, split)
        case _:
            assert_never(data)
