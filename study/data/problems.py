"""`Problem`, the same for every source, and its three disjoint splits: train, selection (to choose
checkpoints) and held_out (to evaluate them).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from study.grading.base import Sample

Split = Literal["train", "selection", "held_out"]


@dataclass(frozen=True)
class Problem:
    """A question with a verifiable answer.

    columns         further columns that a template of privileged information may use
    gold_is_float   the answer came as a JSON float, and `answer` is its shortest decimal
    """

    id: str
    prompt: str
    answer: str
    solution: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    gold_is_float: bool = False

    def sample(self, completion: str, *, truncated: bool = False) -> Sample:
        """Return a completion of this problem as every grader takes it."""
        return Sample(completion, self.answer, truncated, self.prompt, self.gold_is_float)

    def fields(self) -> dict[str, str]:
        """Return all columns by name, as templates see them."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "answer": self.answer,
            "solution": self.solution,
            **self.columns,
        }
