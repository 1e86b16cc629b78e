"""Model recipes: weights from somewhere, or a training stage applied to another model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from study.spec.base import Spec
from study.spec.recipe.corpus import SolutionCorpus, TeacherSamples, WorldCorpus
from study.spec.recipe.data import Data
from study.spec.recipe.objective import Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.teacher import FrozenTeacher, refused
from study.spec.recipe.training import DistillTraining, GrpoTraining, SupervisedTraining
from study.spec.yaml.files import Revision

# A repeat of a stage has the same parents, data and settings and another training seed: the order
# of its problems or documents, its rollouts, its adapters. A grid sets it (`repeat: 2`).
Repeat = Annotated[int, Field(default=0, ge=0)]


class Architecture(Spec):
    """A `Qwen3ForCausalLM` of any size."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    tie_word_embeddings: bool = True
    # transformers' default, which is far too small for a width of 64 (see lab.yaml).
    initializer_range: float = Field(default=0.02, gt=0)


class LabTokenizer(Spec):
    """The word-level tokenizer of the lab (`study/models/lab.py`): 64 tokens for arithmetic, 82 for
    all worlds.
    """

    kind: Literal["lab"] = "lab"
    vocabulary: Literal["arithmetic", "worlds"] = "arithmetic"

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens, special ones included."""
        return {"arithmetic": 64, "worlds": 82}[self.vocabulary]


class BpeTokenizer(Spec):
    """A byte-level BPE tokenizer trained on the training split of the stage's data."""

    kind: Literal["bpe"] = "bpe"
    vocab_size: int = Field(ge=300)


class PretrainedLab(Spec):
    """Stage `pretrain`: a small Qwen3 from random weights; every seed has its own."""

    kind: Literal["pretrain"] = "pretrain"
    # Name of the base, e.g. student / strong: two bases of one shape and corpus still differ by
    # their random stream.
    name: str
    architecture: Architecture
    tokenizer: Annotated[LabTokenizer | BpeTokenizer, Field(discriminator="kind")] = LabTokenizer()
    data: Data
    corpus: Annotated[WorldCorpus | SolutionCorpus, Field(discriminator="kind")]
    training: SupervisedTraining

    @model_validator(mode="after")
    def _trained_from_nothing(self) -> Self:
        if self.training.lora is not None or self.training.dtype != "float32":
            raise ValueError(
                "random weights are trained whole and in float32: `lora` and `dtype` are for models"
                " that are trained further"
            )
        return self

    @model_validator(mode="after")
    def _words_are_known(self) -> Self:
        """Raise an error for a word outside the vocabulary, which would be read as padding."""
        arithmetic_only = (
            isinstance(self.tokenizer, LabTokenizer) and self.tokenizer.vocabulary == "arithmetic"
        )
        if arithmetic_only and self.data.kind in ("search", "hidden_fact", "shared"):
            raise ValueError(
                f"the words of {self.data.kind} need `tokenizer: {{kind: lab, vocabulary: worlds}}`"
            )
        return self


class LocalModel(Spec):
    """A transformers model folder on this machine; `digest` (sha256 of its weights) pins it in the
    identity.
    """

    kind: Literal["local"] = "local"
    path: str
    digest: str


class HubModel(Spec):
    """A model of the hub at a commit; a branch or a placeholder is refused."""

    kind: Literal["hub"] = "hub"
    id: str
    revision: Revision


class SftModel(Spec):
    """Stage `sft`: `base` trained on documents (reference solutions, or completions of
    `teacher`).
    """

    kind: Literal["sft"] = "sft"
    base: "Model"
    teacher: "Model | None" = None
    data: Data
    corpus: Annotated[WorldCorpus | SolutionCorpus | TeacherSamples, Field(discriminator="kind")]
    training: SupervisedTraining
    repeat: Repeat = 0

    @model_validator(mode="after")
    def _check_teacher(self) -> "SftModel":
        if (self.teacher is not None) != isinstance(self.corpus, TeacherSamples):
            raise ValueError(
                "a teacher goes with the corpus kind 'teacher_samples', and that corpus with a"
                " teacher"
            )
        return self


class GrpoModel(Spec):
    """Stage `grpo`: `base` trained by reinforcement learning with the grader as verifiable reward
    (RLVR).
    """

    kind: Literal["grpo"] = "grpo"
    base: "Model"
    data: Data
    privileged: PrivilegedInformation | None = None
    training: GrpoTraining
    repeat: Repeat = 0


class DistilledModel(Spec):
    """Stage `distill`: `student` samples, and `teacher` (with `privileged` in its view, if any)
    scores every token.
    """

    kind: Literal["distill"] = "distill"
    student: "Model"
    teacher: "Model"
    data: Data
    privileged: PrivilegedInformation | None = None
    objective: Objective
    training: DistillTraining
    repeat: Repeat = 0

    @model_validator(mode="after")
    def _follows_itself(self) -> Self:
        problem = cannot_follow(self.student, self.teacher, self.training)
        if problem is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _scores_suffice(self) -> Self:
        if reason := refused(self.objective, self.training.scoring):
            raise ValueError(reason)
        return self


def cannot_follow(student: "Model", teacher: "Model", training: DistillTraining) -> str | None:
    """Say why this teacher cannot follow the student; None if it can, or if it is frozen."""
    kind = training.teacher_update.kind
    if isinstance(training.teacher_update, FrozenTeacher) or student == teacher:
        return None
    return (
        f"`teacher_update: {{kind: {kind}}}` is for a teacher that starts as the student, and these"
        " are two models: name one for both"
    )


Model = Annotated[
    PretrainedLab | LocalModel | HubModel | SftModel | GrpoModel | DistilledModel,
    Field(discriminator="kind"),
]

for _recipe in (SftModel, GrpoModel, DistilledModel):
    _recipe.model_rebuild()
