"""Settings of one training stage. All of them change the numbers and are therefore part of
identity.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from study.spec.base import Spec
from study.spec.recipe.teacher import EmaTeacher, FrozenTeacher, Scoring, TeacherUpdate
from study.spec.recipe.user_code import UserCode


def _which(value: Any) -> str:
    return "own code" if isinstance(value, dict | UserCode) else "a name"


# A name, or {python: file.py:function}. The tags contain a space, which no key of a file does, so
# messages leave them out.
_OwnCode = Annotated[UserCode, Tag("own code")]
GraderName = Annotated[
    Annotated[Literal["boxed-1", "math-1", "choice-1", "polite-1", "refusal-1"], Tag("a name")]
    | _OwnCode,
    Discriminator(_which),
]
RewardName = Annotated[
    Annotated[Literal["correctness"], Tag("a name")] | _OwnCode, Discriminator(_which)
]
Dtype = Literal["float32", "bfloat16"]
Sampler = Literal["transformers", "qwen3"]


class Lora(Spec):
    """Low-rank adapters on every linear layer of the blocks, W + (alpha / rank) B A: only A and B
    are trained, in float32.

    The artifact holds the merged weights, so its readers need no change.
    """

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)


class Optimisation(Spec):
    """Optimiser and schedule, with the names of `transformers.TrainingArguments`."""

    learning_rate: float = Field(gt=0)
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = (
        "constant_with_warmup"
    )
    warmup_steps: int = Field(default=0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)


class Sampling(Spec):
    """How completions are drawn.

    thinking: the chat template's argument enable_thinking, for every model that sees these prompts;
    none leaves it out. sampler: `generate` of transformers, for every model; or the loop of
    study/models/decode.py, for Qwen3 in float32 on a CPU. The loop refuses other models.
    """

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_completion_length: int = Field(ge=1)
    thinking: bool | None = None
    # A default, so that the ids of older cells do not change.
    sampler: Sampler = "transformers"


class Curve(Spec):
    """The evaluation during training: every `every` steps, on the first `problems` held-out
    problems, greedy and `k` samples at T=1.

    grader: boxed-1 or polite-1; the curve uses boxed-1 if the declared grader needs its own
    process.
    """

    every: int = Field(ge=1)
    problems: int = Field(ge=1)
    k: int = Field(ge=1)
    grader: GraderName = "boxed-1"


def _require_whole_weights(training: "DistillTraining | GrpoTraining") -> None:
    """Raise ValueError for weights from which the declared sampler cannot draw."""
    plain = training.lora is None and training.dtype == "float32"
    if training.sampling.sampler == "qwen3" and not plain:
        raise ValueError(
            "`sampler: qwen3` draws from whole weights in float32: `lora` and `dtype: bfloat16`"
            " need `sampler: transformers`"
        )


class DistillTraining(Spec):
    """Training of a `distill` stage.

    guard: observe records the alarms of the collapse detectors (a collapse is an outcome); stop
    ends training at the first alarm. lora: adapters instead of all weights. dtype, teacher_dtype:
    type of the student's and the teacher's weights; log-softmax and reductions are float32 either
    way. Trained weights in bfloat16 lose updates below 2^-8 of them: use float32 without lora.
    teacher_update: ema and periodic are for a teacher that is the student itself and follows it
    (study/train/teacher_update.py). scoring: where the teacher's scores come from
    (study/spec/recipe/teacher.py). length_groups: the forward passes over a micro-batch, with rows
    sorted by length (study/train/length_groups.py); loss and gradient are the same to rounding.
    measure_every: of so many tokens of a response, one is measured by the diagnostics that need
    whole rows of logits (study/train/measured.py); 1 measures all. The loss is that of every token.
    """

    steps: int = Field(ge=1)
    prompts_per_step: int = Field(ge=1)
    rollouts_per_prompt: Literal[1] = 1
    optimisation: Optimisation
    sampling: Sampling
    curve: Curve
    guard: Literal["observe", "stop"] = "observe"
    lora: Lora | None = (
        # A default, so that the ids of older cells do not change; the same holds for the fields
        # below, and for those of the other stages.
        None
    )
    dtype: Dtype = "float32"
    teacher_dtype: Dtype = "float32"
    teacher_update: TeacherUpdate = FrozenTeacher()
    scoring: Scoring = "local"
    length_groups: int = Field(default=1, ge=1)
    measure_every: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _drawn_from_whole_weights(self) -> Self:
        _require_whole_weights(self)
        return self

    @model_validator(mode="after")
    def _average_is_kept_exactly(self) -> Self:
        if isinstance(self.teacher_update, EmaTeacher) and self.teacher_dtype != "float32":
            raise ValueError(
                "a moving average in bfloat16 loses what each step adds to it: `teacher_dtype:"
                " float32`"
            )
        return self

    @model_validator(mode="after")
    def _a_server_stays_as_it_is(self) -> Self:
        if not isinstance(self.teacher_update, FrozenTeacher) and self.scoring != "local":
            raise ValueError(
                "a server keeps the weights that it started with: `teacher_update:"
                f" {self.teacher_update.kind}` needs `scoring: local`"
            )
        return self


class GrpoTraining(Spec):
    """Training of a `grpo` stage.

    reward of a completion = (the grader says correct) - length_penalty * tokens /
    max_completion_length. reward: a user-supplied function, (completion, answer) -> number, instead
    of the grader's outcome (study/train/user_reward.py). lora, dtype: as in distill.
    """

    steps: int = Field(ge=1)
    prompts_per_step: int = Field(ge=1)
    rollouts_per_prompt: int = Field(ge=2)
    optimisation: Optimisation
    sampling: Sampling
    kl_coefficient: float = Field(default=0.0, ge=0)
    clip_low: float = Field(default=0.2, gt=0)
    clip_high: float = Field(default=0.2, gt=0)
    curve: Curve
    grader: GraderName = "boxed-1"
    reward: RewardName = "correctness"
    length_penalty: float = Field(default=0.0, ge=0)
    lora: Lora | None = None
    dtype: Dtype = "float32"

    @model_validator(mode="after")
    def _drawn_from_whole_weights(self) -> Self:
        _require_whole_weights(self)
        return self


class SupervisedTraining(Spec):
    """Cross-entropy on documents: `pretrain` (from random weights) and `sft`. lora, dtype: as in
    distill, for `sft` alone.
    """

    steps: int = Field(ge=0)
    documents_per_step: int = Field(ge=1)
    optimisation: Optimisation
    max_length: int = Field(ge=2)
    thinking: bool | None = None  # as in Sampling, for the prompts of the documents
    lora: Lora | None = None
    dtype: Dtype = "float32"
