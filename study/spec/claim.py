"""A claim is a finding as a predicate over records: arms by label, an outcome, a contrast, an expectation, the smallest effect that counts.

Claims are judged per base student (`analysis/claims.py`); nothing here computes anything.
"""

from typing import Annotated, Literal

from pydantic import Field

from study.spec.base import Spec

Arm = dict[str, str]  # factor -> level label; must name exactly one cell of the grid


class Change(Spec):
    """outcome(arm, last step) - outcome(arm, step 0): what training did to this base. Needs a history column as outcome."""

    kind: Literal["change"] = "change"
    arm: Arm


class Start(Spec):
    """outcome(arm, step 0): the base student before distillation. Needs a history column as outcome."""

    kind: Literal["start"] = "start"
    arm: Arm


class Difference(Spec):
    """outcome(arm) - outcome(versus), for the same base."""

    kind: Literal["difference"] = "difference"
    arm: Arm
    versus: Arm


class Interaction(Spec):
    """[outcome(arm) - outcome(versus)] - [outcome(control_arm) - outcome(control_versus)], for the same base."""

    kind: Literal["interaction"] = "interaction"
    arm: Arm
    versus: Arm
    control_arm: Arm
    control_versus: Arm


Contrast = Annotated[Change | Start | Difference | Interaction, Field(discriminator="kind")]


class Gate(Spec):
    """A control that must hold before a claim can be judged: the mean of its contrast over bases is at least `at_least`."""

    id: str
    text: str
    outcome: str
    contrast: Contrast
    at_least: float


class Claim(Spec):
    """outcome: `score` (avg@k of the final evaluation, last step) or a history column (last step).

    expectation: the sign of the contrast that the source leads to expect; `none` = reported without a verdict.
    smallest_effect: the interval must lie beyond this size for the claim to count as reproduced; same unit as the outcome.
    k: the TopK size the claim is about; claims are judged for each K on its own.
    """

    id: str
    text: str
    source: str
    k: int | None = None
    outcome: str
    contrast: Contrast
    expectation: Literal["negative", "positive", "none"]
    smallest_effect: float = Field(ge=0)
    gates: tuple[str, ...] = Field(default=(), strict=False)  # a page holds lists
    primary: bool = False


class Claims(Spec):
    """One family of claims over one grid. Holm's adjustment runs over its primary claims."""

    grid: str
    gates: tuple[Gate, ...] = Field(default=(), strict=False)
    claims: tuple[Claim, ...] = Field(strict=False)


def arms(contrast: Contrast) -> tuple[Arm, ...]:
    """Every arm that a contrast needs."""
    match contrast:
        case Change() | Start():
            return (contrast.arm,)
        case Difference():
            return (contrast.arm, contrast.versus)
        case Interaction():
            return (contrast.arm, contrast.versus, contrast.control_arm, contrast.control_versus)
