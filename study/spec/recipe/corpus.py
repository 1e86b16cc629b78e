"""The documents of a stage. All of it changes the numbers and is therefore part of identity."""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec
from study.spec.recipe.data import Style, Topic
from study.spec.recipe.training import Sampling


class ArithmeticCorpus(Spec):
    """The documents of the lab's world that a base model is trained on.

    Shares need not add up to one; they are normalised. style_mix: weight of each solution style in
    plain documents. share_*: weight of each kind of document. unreliable_facts: fraction of the
    arithmetic facts that are wrong most of the time in this corpus (the room to learn);
    unreliable_accuracy: how often such a fact is right. share_run_on: share of documents that
    continue with other problems after their answer: a raw base that does not know where to stop.
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
    share_run_on: float = Field(default=0.0, ge=0, le=1)


class SearchCorpus(Spec):
    """Documents of the search world. share_*: weight of each kind of document, normalised.

    slip: probability that a document has one wrong step, the same for every kind. failed_first:
    probability that a document with the answer as PI tries another candidate first. forgetful:
    probability that the author of a random order does not remember what was tried. jumps:
    probability that a document with a solution as PI goes to the end of that solution, as one with
    the answer does, instead of repeating its tries.
    """

    kind: Literal["search"] = "search"
    share_plain: float = Field(default=1.0, ge=0)
    share_rule: float = Field(default=0.0, ge=0)
    share_answer: float = Field(default=0.0, ge=0)
    share_solution: float = Field(default=0.0, ge=0)
    share_neutral: float = Field(default=0.0, ge=0)
    failed_first: float = Field(default=0.15, ge=0, le=1)
    forgetful: float = Field(default=0.0, ge=0, le=1)
    jumps: float = Field(default=0.0, ge=0, le=1)
    slip: float = Field(default=0.05, ge=0, le=1)


class HiddenFactCorpus(Spec):
    """Documents of the hidden-fact world. share_*: weight of each kind of document, normalised.

    guesses: probability that a plain document invents a digit; ignores: probability that one with
    the fact abstains nevertheless. slip: probability that a worked solution has one wrong step, the
    same with and without the fact. direct: as in the data of that name.
    """

    kind: Literal["hidden_fact"] = "hidden_fact"
    share_plain: float = Field(default=1.0, ge=0)
    share_fact: float = Field(default=0.0, ge=0)
    guesses: float = Field(default=0.12, ge=0, le=1)
    ignores: float = Field(default=0.05, ge=0, le=1)
    slip: float = Field(default=0.05, ge=0, le=1)
    direct: bool = False


class SharedCorpus(Spec):
    """Documents of the world of shared instructions.

    share_*: weight of each kind of document (of system token), normalised. topics: weight of each
    kind of prompt in plain documents. detailed, polite: probability that a document is long, or of
    style C, if no system token decides it. refuse_*: probability of refusing a flagged prompt with
    the constitution and without; refuse_clean: any other prompt. slip: probability that a worked
    solution has one wrong step, the same for every kind.
    """

    kind: Literal["shared"] = "shared"
    share_plain: float = Field(default=1.0, ge=0)
    share_length: float = Field(default=0.0, ge=0)
    share_style: float = Field(default=0.0, ge=0)
    share_rule: float = Field(default=0.0, ge=0)
    share_constitution: float = Field(default=0.0, ge=0)
    share_neutral: float = Field(default=0.0, ge=0)
    topics: dict[Topic, float] = Field(default={"clean": 0.5, "rule": 0.25, "flagged": 0.25})
    detailed: float = Field(default=0.7, ge=0, le=1)
    polite: float = Field(default=0.15, ge=0, le=1)
    refuse_told: float = Field(default=0.85, ge=0, le=1)
    refuse_untold: float = Field(default=0.1, ge=0, le=1)
    refuse_clean: float = Field(default=0.02, ge=0, le=1)
    slip: float = Field(default=0.05, ge=0, le=1)


WorldCorpus = ArithmeticCorpus | SearchCorpus | HiddenFactCorpus | SharedCorpus


class SolutionCorpus(Spec):
    """Prompt and reference solution of the training problems of a data source, as they are."""

    kind: Literal["solutions"] = "solutions"


class TeacherSamples(Spec):
    """Completions of the stage's `teacher` to the training problems, drawn with `sampling`.

    correct_only: drop completions that the grader does not find correct (rejection sampling); more
    are drawn until there are enough.
    """

    kind: Literal["teacher_samples"] = "teacher_samples"
    sampling: Sampling
    correct_only: bool = False
