"""Where problems come from. Every source yields `Problem(id, prompt, answer, solution, columns)` in three disjoint splits."""

from typing import Annotated, Literal

from pydantic import Field

from study.spec.base import Spec

Style = Literal["A", "B", "C"]


class ArithmeticData(Spec):
    """The lab's world: left-to-right arithmetic modulo 10 with worked solutions (`study/data/arithmetic.py`).

    Splits are disjoint by construction: a hash of the problem's prompt decides which split it belongs to.
    """

    kind: Literal["arithmetic"] = "arithmetic"
    min_operations: int = Field(default=2, ge=1)
    max_operations: int = Field(default=4, ge=1)
    train_size: int = Field(default=8192, ge=1)
    selection_size: int = Field(default=256, ge=1)
    held_out_size: int = Field(default=256, ge=1)


class JsonlData(Spec):
    """Problems from local JSON Lines files: any world, no hub.

    `answer_after`: the answer is the text after the last occurrence of this marker in the answer field (GSM8K: "####"); the text
    before it is the solution. Without it the answer field is the answer and `solution_field`, if any, the solution.
    """

    kind: Literal["jsonl"] = "jsonl"
    train: str
    held_out: str
    prompt_field: str = "question"
    answer_field: str = "answer"
    solution_field: str | None = None
    id_field: str | None = None
    answer_after: str | None = None
    prompt_suffix: str = ""
    train_size: int | None = Field(default=None, ge=1)
    selection_size: int = Field(default=64, ge=1)
    held_out_size: int | None = Field(default=None, ge=1)


Data = Annotated[ArithmeticData | JsonlData, Field(discriminator="kind")]
