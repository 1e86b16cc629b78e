"""Data sources: where the problems of a model or an evaluation come from.

Every source yields `Problem(id, prompt, answer, solution, columns)` in three disjoint splits.
"""

import hashlib
from typing import Annotated, Literal

from pydantic import Field, model_validator

from study.spec.base import Spec
from study.spec.recipe.hub_data import BenchmarkData as BenchmarkData
from study.spec.recipe.hub_data import HubData as HubData
from study.spec.yaml.files import local_file as local_file

Style = Literal["A", "B", "C"]
Topic = Literal["clean", "rule", "flagged"]


class ArithmeticData(Spec):
    """The lab's world: left-to-right arithmetic modulo 10 with worked solutions
    (`study/data/worlds/arithmetic.py`).

    Splits are disjoint by construction: a hash of the problem's prompt decides which split it
    belongs to.
    """

    kind: Literal["arithmetic"] = "arithmetic"
    min_operations: int = Field(default=2, ge=1)
    max_operations: int = Field(default=4, ge=1)
    train_size: int = Field(default=8192, ge=1)
    selection_size: int = Field(default=256, ge=1)
    held_out_size: int = Field(default=256, ge=1)


class SearchData(Spec):
    """The search world: find the x in 0..5 that makes `( 3 + x ) * 2 = 8` true modulo 10
    (`study/data/worlds/search.py`).
    """

    kind: Literal["search"] = "search"
    train_size: int = Field(default=2048, ge=1)
    selection_size: int = Field(default=256, ge=1)
    held_out_size: int = Field(default=256, ge=1)


class HiddenFactData(Spec):
    """The hidden-fact world: arithmetic with a digit that is not in the prompt
    (`study/data/worlds/hidden_fact.py`).

    gold: honest = the right answer is `unknown`; fact = it is the value that follows from the
    hidden digit. direct: the digit follows `h` at once, at the position of `unknown` in an
    abstention; else an `=` is between them.
    """

    kind: Literal["hidden_fact"] = "hidden_fact"
    gold: Literal["honest", "fact"] = "honest"
    direct: bool = False
    train_size: int = Field(default=1024, ge=1)
    selection_size: int = Field(default=256, ge=1)
    held_out_size: int = Field(default=256, ge=1)


class SharedData(Spec):
    """The world of shared instructions: arithmetic of two operations
    (`study/data/worlds/shared_rule.py`).

    focus: clean = plain problems; rule = with `@`, whose answer follows R2; flagged = with the
    forbidden operator `#`, where the right answer is `refuse`; safety = half flagged, half clean.
    """

    kind: Literal["shared"] = "shared"
    focus: Literal["clean", "rule", "flagged", "safety"] = "clean"
    train_size: int = Field(default=4096, ge=1)
    selection_size: int = Field(default=256, ge=1)
    held_out_size: int = Field(default=256, ge=1)


class JsonlData(Spec):
    """Problems from local JSON Lines files, without a hub.

    A relative file name is looked up under $STUDY_DATA, if that is set, then in the working folder.
    The sha256 of the file is filled in when a grid is bound, so an edited file gives another
    experiment. `answer_after`: the answer is the text after the last occurrence of this marker in
    the answer field (GSM8K: "####"), and the text before it is the solution. Without it the answer
    field is the answer and `solution_field`, if any, the solution. held_out: a separate file; or
    none, then the share `held_out_share` of the train file, by a hash of `split_seed` and the
    normal form of the problem. control_tokens: problems may contain control tokens of chat
    templates, such as <|im_end|>.
    """

    kind: Literal["jsonl"] = "jsonl"
    train: str
    held_out: str | None = None
    held_out_share: float | None = Field(default=None, gt=0, lt=1)
    split_seed: int = 0
    prompt_field: str = "question"
    answer_field: str = "answer"
    solution_field: str | None = None
    id_field: str | None = None
    answer_after: str | None = None
    prompt_suffix: str = ""
    control_tokens: bool = False
    train_size: int | None = Field(default=None, ge=1)
    selection_size: int = Field(default=64, ge=1)
    held_out_size: int | None = Field(default=None, ge=1)
    train_sha256: str | None = None
    held_out_sha256: str | None = None

    @model_validator(mode="after")
    def _held_out_has_a_source(self) -> "JsonlData":
        if (self.held_out is None) == (self.held_out_share is None):
            raise ValueError(
                "give `held_out`, a file, or `held_out_share`, a part of the train file"
            )
        return self

    def fingerprinted(self) -> "JsonlData":
        """Return the same source with the sha256 of its files. Errors: FileNotFoundError."""
        files = (("train", self.train), ("held_out", self.held_out))
        digests = {f"{name}_sha256": _sha256(file) for name, file in files if file is not None}
        return self.model_copy(update=digests)


def _sha256(file: str) -> str:
    return hashlib.sha256(local_file(file).read_bytes()).hexdigest()


# Worlds that are generated, not read.
LabData = ArithmeticData | SearchData | HiddenFactData | SharedData
Data = Annotated[
    ArithmeticData | SearchData | HiddenFactData | SharedData | JsonlData | HubData | BenchmarkData,
    Field(discriminator="kind"),
]
