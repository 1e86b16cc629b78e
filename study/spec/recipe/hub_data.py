"""Data sets of the hub, declared as data: which rows, which columns, what the answer is, what is
kept out of training. A new one needs no Python.

A row becomes a `Problem`: prompt = problem + prompt_suffix, columns `problem` (without it) and the
ones that `columns` names. Columns are dotted paths (`messages.0.content`); of a list of paths the
first that a row has is used.
"""

from typing import Literal

from pydantic import Field, model_validator

from study.spec.base import Spec
from study.spec.yaml.files import Revision, fingerprint, local_files

Answer = Literal["column", "only_box", "label"]


class Balance(Spec):
    """Keep at most `times` as many problems with the answer `many` as there are with the answer
    `few`: a sample drawn with `seed`, then everything shuffled with it.
    """

    few: str
    many: str
    times: float = Field(gt=0)
    seed: int


class HubData(Spec):
    """Rows of a pinned hub data set, or of files in $STUDY_DATA that match `files`, if there are
    any.

    - answer_rule: column = `answer`'s first value; only_box = the content of the only box of the
      solution (rows with none or several are left out; reasoning up to `</think>` is not part of a
      solution); label = `labels[column]`, and `missing_label` if it is empty.
    - where: rows whose columns hold exactly these texts. unwrap: text before and after the problem
      that is not part of it.
    - Left out of training: texts that occurred before, the share `held_out_share` by a hash of the
      text (the held-out split, unless `held_out_task` names a benchmark for evaluation), and
      problems that occur in one of the benchmarks `avoid` (docs/paper-data.md).
    - control_tokens: problems and solutions may contain control tokens of chat templates, such as
      <|im_end|>; otherwise they are counted and refused.
    - sha256: of the local files; filled in when a grid is bound. Without it the data set is read
      from the hub and `revision` is the fingerprint.
    """

    kind: Literal["hub"] = "hub"
    hub: str
    config: str | None = None
    split: str = "train"
    revision: Revision
    gated: bool = False
    files: list[str] = Field(default=[])
    prompt: list[str] = Field(min_length=1)
    answer: list[str] = Field(default=[])
    solution: list[str] = Field(default=[])
    columns: dict[str, str] = Field(default={})
    answer_rule: Answer = "column"
    labels: dict[str, str] = Field(default={})
    missing_label: str | None = None
    where: dict[str, str] = Field(default={})
    unwrap: list[str] = Field(default=["", ""], min_length=2, max_length=2)
    balance: Balance | None = None
    prompt_suffix: str = ""
    avoid: list[str] = Field(default=[])
    held_out_share: float = Field(default=0.025, ge=0, lt=1)
    held_out_task: str | None = None
    train_size: int | None = Field(default=None, ge=1)
    selection_size: int = Field(default=64, ge=1)
    held_out_size: int | None = Field(default=None, ge=1)
    control_tokens: bool = False
    sha256: str | None = None

    @model_validator(mode="after")
    def _an_answer_has_a_place(self) -> "HubData":
        needed = {
            "column": self.answer,
            "only_box": self.solution,
            "label": self.answer and self.labels,
        }[self.answer_rule]
        if not needed:
            field = {"column": "answer", "only_box": "solution", "label": "answer and labels"}[
                self.answer_rule
            ]
            raise ValueError(f"answer_rule {self.answer_rule!r} needs {field}")
        return self

    def fingerprinted(self) -> "HubData":
        """Return the same source, pinned to the local files if there are any."""
        found = local_files(self.files)
        return self.model_copy(update={"sha256": fingerprint(found)}) if found else self


class BenchmarkData(Spec):
    """All problems of an evaluation task (`study/data/hub/tasks/<task>.yaml`), all held out; the
    task file pins their source.

    sha256: of ids, prompts, answers and choices as `study fetch` prints it; if it is given, other
    problems are refused.
    """

    kind: Literal["benchmark"] = "benchmark"
    task: str
    sha256: str | None = None
