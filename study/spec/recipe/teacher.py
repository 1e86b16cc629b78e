"""Settings of a distillation's teacher other than its weights: how it is scored, and whether it
follows the student.

Local scoring: the teacher's whole distribution at every position, in the trainer's own process.
Scoring by a server: log-probabilities of its `top_k` likeliest tokens and of the sampled token, at
temperature 1. The objective's missing-token policy handles tokens that a server did not return
(`study/spec/recipe/objective.py`). An objective that needs them is refused here, because it would
silently be another loss.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from study.spec.base import Spec
from study.spec.recipe.objective import Objective


class ServerScoring(Spec):
    """A vLLM server scores the teacher.

    top_k: tokens per position that the server returns; `all` = the whole vocabulary, for checks and
    small vocabularies. different_temperatures: allows an objective to divide the student's logits
    by its temperature while the teacher's stay at 1.
    """

    kind: Literal["server"] = "server"
    top_k: Annotated[int, Field(ge=1)] | Literal["all"]
    different_temperatures: bool = False


def _which(value: Any) -> str:
    return "a server" if isinstance(value, dict | ServerScoring) else "a name"


Scoring = Annotated[
    Annotated[Literal["local"], Tag("a name")] | Annotated[ServerScoring, Tag("a server")],
    Discriminator(_which),
]


def refused(objective: Objective, scoring: "Literal['local'] | ServerScoring") -> str | None:
    """Return why this objective cannot be computed from such scores, or None."""
    if isinstance(scoring, str) or scoring.top_k == "all":
        return None
    if objective.support == "full":
        return (
            "the full-vocabulary loss needs the teacher's whole distribution, and a server returns"
            " its top_k tokens: use `scoring: local`, a TopK support, or `top_k: all` where the"
            " vocabulary is small"
        )
    if (
        objective.k is not None
        and objective.support != "student_topk"
        and objective.k > scoring.top_k
    ):
        return (
            f"support {objective.support!r} with k = {objective.k} needs the teacher's k likeliest"
            f" tokens, and top_k is {scoring.top_k}"
        )
    if objective.missing == "exact" and objective.support in ("student_topk", "union"):
        return (
            f"with support {objective.support!r} the server may not return every token: "
            "choose what stands for a missing one (missing: student_value, floor or intersection)"
        )
    if objective.temperature != 1.0 and not scoring.different_temperatures:
        return (
            "the server scores at temperature 1 and the objective divides by"
            f" {objective.temperature:g}: different temperatures of teacher and student are an"
            " error unless asked for (different_temperatures: true)"
        )
    return None


class FrozenTeacher(Spec):
    """The teacher's weights do not change."""

    kind: Literal["frozen"] = "frozen"


class EmaTeacher(Spec):
    """After every optimiser step: teacher = decay * teacher + (1 - decay) * student."""

    kind: Literal["ema"] = "ema"
    decay: float = Field(gt=0, lt=1)


class PeriodicTeacher(Spec):
    """After every `every`-th optimiser step the teacher becomes a copy of the student."""

    kind: Literal["periodic"] = "periodic"
    every: int = Field(ge=1)


TeacherUpdate = Annotated[FrozenTeacher | EmaTeacher | PeriodicTeacher, Field(discriminator="kind")]
