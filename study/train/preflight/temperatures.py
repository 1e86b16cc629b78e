"""Check the temperatures of rollouts, curves, evaluation and objective against each other."""

from typing import Any

from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.objective import Objective
from study.train.preflight.check import Check


def temperatures(
    recipe: DistilledModel, objective: Objective, evaluation: Evaluation, subject: str
) -> Check:
    """Check the temperature at which each part samples or scores.

    Student and teacher are scored at one temperature, the objective's, by construction.

    Rollouts at another temperature than the loss are refused, unless the objective itself names its
    temperature: then, as with a top-p, the check has a note. (The authors' code sampled and scored
    a student at 0.6 with a teacher at 1.)
    """
    rollouts, judged = recipe.training.sampling, evaluation.sampling
    measured = {
        "rollout": rollouts.temperature, "rollout_top_p": rollouts.top_p,
        "loss": objective.temperature, "curve": 1.0,
        "evaluation": judged.temperature, "evaluation_top_p": judged.top_p,
    }  # fmt: skip
    message = (
        f"rollouts {_drawn(rollouts)}, loss T={objective.temperature:g},"
        f" curve T=1, evaluation {_drawn(judged)}"
    )
    if rollouts.temperature == objective.temperature and rollouts.top_p == 1.0:
        return Check("temperatures", subject, True, message, measured=measured)
    if (
        rollouts.temperature != objective.temperature
        and "temperature" not in objective.model_fields_set
    ):
        fitting = f"objective: {{..., temperature: {rollouts.temperature:g}}} scores what was drawn"
        hint = f"{fitting}; if both are intended: temperature: {objective.temperature:g} there"
        return Check(
            "temperatures",
            subject,
            False,
            f"{message}: rollouts and loss differ, and the objective declares no temperature",
            hint,
            False,
            measured,
        )
    hint = (
        "choose training.sampling.temperature = objective.temperature and top_p = 1, or report the"
        " results as off-policy"
    )
    return Check(
        "temperatures",
        subject,
        True,
        f"{message}: rollouts are not drawn from what the loss scores",
        hint,
        True,
        measured,
    )


def _drawn(sampling: Any) -> str:
    return f"T={sampling.temperature:g}" + (
        f" top_p={sampling.top_p:g}" if sampling.top_p != 1.0 else ""
    )
