"""Claims: a finding as a predicate over records, with arms by label, an outcome, a contrast, an
expectation and the smallest effect that counts.

There is one file per grid, `experiments/claims/<grid>.yaml`. `analysis/claims/decide.py` decides
claims per base student; nothing is computed here. `declaration` is the text that must be declared
before the data.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from study.errors import SpecError
from study.spec.base import Spec
from study.spec.identity import canonical_value
from study.spec.report.outcome import ArmLabels, is_curve, refuse_unknown


class Change(Spec):
    """outcome(arm, last step) - outcome(arm, step 0): the effect of training on this base.

    Needs a training curve as outcome.
    """

    kind: Literal["change"] = "change"
    arm: ArmLabels


class Start(Spec):
    """outcome(arm, step 0): the base student before training. Needs a training curve as outcome."""

    kind: Literal["start"] = "start"
    arm: ArmLabels


class Level(Spec):
    """outcome(arm) itself, for a gate on a score, a probe or a rate."""

    kind: Literal["level"] = "level"
    arm: ArmLabels


class Difference(Spec):
    """outcome(arm) - outcome(versus), for the same base."""

    kind: Literal["difference"] = "difference"
    arm: ArmLabels
    versus: ArmLabels


class Interaction(Spec):
    """[outcome(arm) - outcome(versus)] - [outcome(control_arm) - outcome(control_versus)], for the
    same base.
    """

    kind: Literal["interaction"] = "interaction"
    arm: ArmLabels
    versus: ArmLabels
    control_arm: ArmLabels
    control_versus: ArmLabels


Contrast = Annotated[Change | Start | Level | Difference | Interaction, Field(discriminator="kind")]


class Judged(Spec):
    """The common part of claims and gates: a contrast of an outcome."""

    id: str
    text: str
    outcome: str
    contrast: Contrast

    @field_validator("outcome")
    @classmethod
    def _known(cls, text: str) -> str:
        return refuse_unknown(text)

    @model_validator(mode="after")
    def _has_a_start(self) -> "Judged":
        if isinstance(self.contrast, Change | Start) and not is_curve(self.outcome):
            raise ValueError(
                "a change or a start needs a training curve as outcome, such as eval/avg@k"
            )
        return self


class Gate(Judged):
    """A control that must hold before a claim can be decided: the mean of its contrast over bases
    is at least `at_least`, at most `at_most`.

    A gate can also require that a prompt changes the teacher at all: a difference, prompted arm
    minus unprompted arm, of at least .2.
    """

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> "Gate":
        if self.at_least is None and self.at_most is None:
            raise ValueError("a gate needs at_least, at_most or both")
        return self


class Claim(Judged):
    """A claim.

    - expectation: the expected sign of the contrast, according to the source; `equal` = within
      smallest_effect of zero on both sides (equivalence; outside Holm's family); `none` = reported
      without a verdict.
    - smallest_effect: the interval must exclude effects up to this size for the claim to count as
      reproduced; same unit as the outcome.
    - k: the TopK size of the claim; claims are decided for each K separately.
    - placebos: arms that must also be beaten: with the placebo instead of `arm` the contrast must
      be smaller, in the expected direction.
    - spread: the expected standard deviation of the per-base contrast; with it `study check`
      refuses a claim that the grid's seeds could not decide.
    - primary: one of the few claims that Holm's adjustment runs over.
    """

    source: str
    k: int | None = None
    expectation: Literal["negative", "positive", "equal", "none"]
    smallest_effect: float = Field(ge=0)
    gates: tuple[str, ...] = Field(default=(), strict=False)  # a file holds lists
    primary: bool = False
    placebos: tuple[ArmLabels, ...] = Field(default=(), strict=False)
    spread: float | None = Field(default=None, gt=0)

    @property
    def directed(self) -> bool:
        """Whether a sign is expected."""
        return self.expectation in ("negative", "positive")

    @property
    def in_family(self) -> bool:
        """Whether it counts for Holm's adjustment."""
        return self.primary and self.directed


class Claims(Spec):
    """One family of claims over one grid. Holm's adjustment runs over its primary claims."""

    grid: str
    gates: tuple[Gate, ...] = Field(default=(), strict=False)
    claims: tuple[Claim, ...] = Field(strict=False)

    @property
    def family(self) -> int:
        """Return the number of claims that Holm's adjustment runs over."""
        return sum(claim.in_family for claim in self.claims)

    def claim(self, name: str) -> Claim | None:
        return next((claim for claim in self.claims if claim.id == name), None)

    def gates_of(self, claim: Claim) -> tuple[Gate, ...]:
        """Return the gates of a claim. Errors: SpecError for the name of a missing gate."""
        gates = {gate.id: gate for gate in self.gates}
        unknown = [name for name in claim.gates if name not in gates]
        if unknown:
            what = (
                f"claims/{self.grid}.yaml: claim {claim.id} names the gate {unknown[0]!r}, which is"
                " not there"
            )
            raise SpecError(what, hint=f"known gates: {', '.join(gates)}")
        return tuple(gates[name] for name in claim.gates)

    def declaration(self, claim: Claim) -> dict[str, Any]:
        """Return a claim with the gates it names, without defaults: the text that must be declared
        before the data.
        """
        return canonical_value(claim) | {
            "gates": [canonical_value(gate) for gate in self.gates_of(claim)]
        }


def arms(contrast: Contrast) -> tuple[ArmLabels, ...]:
    """Return every arm that a contrast needs."""
    match contrast:
        case Change() | Start() | Level():
            return (contrast.arm,)
        case Difference():
            return (contrast.arm, contrast.versus)
        case Interaction():
            return (contrast.arm, contrast.versus, contrast.control_arm, contrast.control_versus)


def all_arms(judged: Judged) -> tuple[ArmLabels, ...]:
    """Return the arms of a claim with its placebos, or of a gate."""
    return (*arms(judged.contrast), *(judged.placebos if isinstance(judged, Claim) else ()))
