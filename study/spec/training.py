"""Settings of one training stage. Everything here changes the numbers and is therefore identity."""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec
from study.spec.data import Style


class Optimisation(Spec):
    """Optimiser and schedule, in the words of `transformers.TrainingArguments`."""

    learning_rate: float = Field(gt=0)
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup_steps: int = Field(default=0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)


class Sampling(Spec):
    """How completions are drawn."""

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_completion_length: int = Field(ge=1)


class Curve(Spec):
    """The in-training evaluation: every `every` steps, on the first `problems` held-out problems, greedy and `k` samples at T=1."""

    every: int = Field(ge=1)
    problems: int = Field(ge=1)
    k: int = Field(ge=1)


class DistillTraining(Spec):
    """guard: observe writes down what the detectors of collapse saw (a collapse is an outcome); stop ends training at the first alarm."""

    steps: int = Field(ge=1)
    prompts_per_step: int = Field(ge=1)
    rollouts_per_prompt: Literal[1] = 1
    optimisation: Optimisation
    sampling: Sampling
    curve: Curve
    guard: Literal["observe", "stop"] = "observe"


class GrpoTraining(Spec):
    steps: int = Field(ge=1)
    prompts_per_step: int = Field(ge=1)
    rollouts_per_prompt: int = Field(ge=2)
    optimisation: Optimisation
    sampling: Sampling
    kl_coefficient: float = Field(default=0.0, ge=0)
    clip_low: float = Field(default=0.2, gt=0)
    clip_high: float = Field(default=0.2, gt=0)
    curve: Curve


class SupervisedTraining(Spec):
    """Cross-entropy on documents: `pretrain` (from random weights) and `sft`."""

    steps: int = Field(ge=0)
    documents_per_step: int = Field(ge=1)
    optimisation: Optimisation
    max_length: int = Field(ge=2)


class ArithmeticCorpus(Spec):
    """The documents of the lab's world that a base model is trained on. Shares need not add up to one; they are normalised.

    style_mix: weight of each solution style in plain documents. share_*: weight of each kind of document.
    unreliable_facts: fraction of the arithmetic facts that are wrong most of the time in this corpus (the room to learn);
    unreliable_accuracy: how often such a fact is right.
    """

    kind: Literal["arithmetic"] = "arithmetic"
    style_mix: dict[Style, float]
    share_plain: float = Field(default=1.0, ge=0)
    share_style: float = Field(default=0.0, ge=0)
    share_answer: float = Field(default=0.0, ge=0)
    share_solution: float = Field(default=0.0, ge=0)
    share_rule: float = Field(default=0.0, ge=0)
    unreliable_facts: float = Field(default=0.0, ge=0, le=1)
    unreliable_accuracy: float = Field(default=1.0, ge=0, le=1)


class SolutionCorpus(Spec):
    """Prompt and reference solution of the training problems of a data source, as they are."""

    kind: Literal["solutions"] = "solutions"
