"""Contrasts of claims and gates: one number per base student from an outcome of named arms."""

from typing import Annotated, Literal

from pydantic import Field

from study.spec.base import Spec
from study.spec.report.outcome import ArmLabels

Measure = Literal["linear", "log"]


class Change(Spec):
    """outcome(arm, last step) - outcome(arm, step 0): the effect of training on this base.

    `scale: log`: log of their ratio, for a positive quantity. Needs a training curve as outcome.
    """

    kind: Literal["change"] = "change"
    arm: ArmLabels
    scale: Measure = "linear"


class Start(Spec):
    """outcome(arm, step 0): the base student before training. Needs a training curve as outcome."""

    kind: Literal["start"] = "start"
    arm: ArmLabels


class Level(Spec):
    """outcome(arm) itself, for a gate on a score, a probe or a rate."""

    kind: Literal["level"] = "level"
    arm: ArmLabels


class Difference(Spec):
    """outcome(arm) - outcome(versus), for the same base.

    `scale: log`: log(outcome(arm) / outcome(versus)), for two positive quantities.
    """

    kind: Literal["difference"] = "difference"
    arm: ArmLabels
    versus: ArmLabels
    scale: Measure = "linear"


class Share(Spec):
    """(outcome(arm) - outcome(start)) / (outcome(full) - outcome(start)), for the same base.

    - share internalised: arm = student, start = untouched, full = prompted
    - gap recovery: arm = student, start = student before training, full = teacher

    moves_at_least: the share is undefined for a base whose `full` differs from its `start` by less
    (in the outcome's unit); such a base counts as one in which a gate fails.
    """

    kind: Literal["share"] = "share"
    arm: ArmLabels
    start: ArmLabels
    full: ArmLabels
    moves_at_least: float = Field(gt=0)


class Interaction(Spec):
    """[outcome(arm) - outcome(versus)] - [outcome(control_arm) - outcome(control_versus)], for the
    same base.
    """

    kind: Literal["interaction"] = "interaction"
    arm: ArmLabels
    versus: ArmLabels
    control_arm: ArmLabels
    control_versus: ArmLabels


Contrast = Annotated[
    Change | Start | Level | Difference | Share | Interaction, Field(discriminator="kind")
]


def arms(contrast: Contrast) -> tuple[ArmLabels, ...]:
    """Return every arm that a contrast needs."""
    match contrast:
        case Change() | Start() | Level():
            return (contrast.arm,)
        case Difference():
            return (contrast.arm, contrast.versus)
        case Share():
            return (contrast.arm, contrast.start, contrast.full)
        case Interaction():
            return (contrast.arm, contrast.versus, contrast.control_arm, contrast.control_versus)
