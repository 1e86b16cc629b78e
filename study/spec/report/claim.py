"""Claims: a finding as a predicate over records, with arms by label, an outcome, a contrast, an
expectation and the smallest effect that counts.

There is one file per grid, `experiments/claims/<grid>.yaml`. `analysis/claims/decide.py` decides
claims per base student; nothing is computed here. `declaration` is the text that must be declared
before the data.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from study.errors import SpecError
from study.spec.base import Spec
from study.spec.identity import canonical_value
from study.spec.report.contrast import Change, Contrast, Start, arms
from study.spec.report.outcome import ArmLabels, is_curve, refuse_unknown
from study.spec.yaml.load import find, load
from study.spec.yaml.validation import validate


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
    """A control that must hold before a claim can be decided: in each base its contrast is at least
    `at_least`, at most `at_most`.

    A gate can also require that a prompt changes the teacher at all: a difference, prompted arm
    minus unprompted arm, of at least .2.

    - tolerated: the share of bases that may fail. If more fail, the claim is INVALID; if fewer do,
      the verdict is computed with and without them, and the weaker one counts.
    - pre_treatment: the contrast reads nothing that a treatment of the claim could change, so bases
      may be screened by it (`screening`).
    """

    at_least: float | None = None
    at_most: float | None = None
    tolerated: float = Field(default=0.2, ge=0, lt=1)
    pre_treatment: bool = False

    @model_validator(mode="after")
    def _has_a_limit(self) -> "Gate":
        if self.at_least is None and self.at_most is None:
            raise ValueError("a gate needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("no value is at least `at_least` and at most `at_most`: swap the two")
        return self


class NotTestable(Spec):
    """Why the worlds of this study cannot test a claim, and what world could. Declared in the page;
    never derived from data.
    """

    reason: str
    world: str


class Claim(Judged):
    """A claim.

    - expectation: the expected sign of the contrast, according to the source; `equal` = within
      smallest_effect of zero on both sides (two one-sided tests); `not_worse` = not worse than
      zero by smallest_effect (one-sided non-inferiority); `none` = reported without a verdict.
    - better: for `not_worse`, whether higher or lower values of the outcome are better.
    - smallest_effect: the interval must exclude effects up to this size for the claim to count as
      reproduced; same unit as the outcome.
    - k: the TopK size of the claim; claims are decided for each K separately.
    - placebos: arms that must also be beaten: with the placebo instead of `arm` the contrast must
      be smaller, in the expected direction.
    - spread: the expected standard deviation of the per-base contrast; with it `study check`
      refuses a claim that the grid's seeds could not decide.
    - primary: one of the few claims that Holm's adjustment runs over, in the family of its finding.
    - not_testable: the verdict is NOT TESTABLE HERE, whatever the records say.
    """

    source: str
    k: int | None = None
    expectation: Literal["negative", "positive", "equal", "not_worse", "none"]
    better: Literal["higher", "lower"] = "higher"
    smallest_effect: float = Field(ge=0)
    gates: tuple[str, ...] = Field(default=(), strict=False)  # a file holds lists
    primary: bool = False
    placebos: tuple[ArmLabels, ...] = Field(default=(), strict=False)
    spread: float | None = Field(default=None, gt=0)
    not_testable: NotTestable | None = None

    @property
    def directed(self) -> bool:
        """Whether a sign is expected."""
        return self.expectation in ("negative", "positive")

    @property
    def in_family(self) -> bool:
        """Whether it counts for Holm's adjustment."""
        return self.primary and self.expectation != "none"

    @property
    def in_first_family(self) -> bool:
        """Whether it counted under the first rules, which left equivalence out."""
        return self.primary and self.directed


class Screening(Spec):
    """Reserve seeds that are gone through in order until `bases` of them pass every gate named.

    Only gates with `pre_treatment` may screen. The share of seeds that pass is reported: claims are
    about bases of this kind.
    """

    gates: tuple[str, ...] = Field(strict=False, min_length=1)
    seeds: tuple[int, ...] = Field(strict=False, min_length=1)
    bases: int = Field(ge=3)


class WorldChange(Spec):
    """A change of what some arms are, made after data of theirs had been seen.

    For records whose state does not hold the world itself. arms: as in a contrast, each may name
    part of the factors only; empty = all arms of the grid.
    """

    date: str
    text: str
    arms: tuple[ArmLabels, ...] = Field(default=(), strict=False)


class SeedsAdded(Spec):
    """Seeds that were added to the grid after data of its other seeds had been seen.

    For records whose state does not hold the seeds that were declared. text: what had been seen.
    """

    date: str
    text: str
    seeds: tuple[int, ...] = Field(strict=False, min_length=1)


class Claims(Spec):
    """The claims on one grid. Families run over findings (`study/spec/report/finding.py`)."""

    grid: str
    gates: tuple[Gate, ...] = Field(default=(), strict=False)
    claims: tuple[Claim, ...] = Field(strict=False)
    screening: Screening | None = None
    world_changes: tuple[WorldChange, ...] = Field(default=(), strict=False)
    extensions: tuple[SeedsAdded, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _has_each_id_once(self) -> "Claims":
        for ids in ([gate.id for gate in self.gates], [claim.id for claim in self.claims]):
            if twice := [name for name in ids if ids.count(name) > 1]:
                raise ValueError(f"the id {twice[0]!r} is given twice: rename one of the two")
        return self

    @property
    def family(self) -> int:
        """Return the number of claims that Holm's adjustment ran over under the first rules."""
        return sum(claim.in_first_family for claim in self.claims)

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


def load_claims(grid: str, root: Path | None = None) -> Claims:
    """Return the claims of `experiments/claims/<grid>.yaml`. Errors: SpecError with file and
    line.
    """
    return validate(Claims, load(find("claims", grid, root)), "")


def all_arms(judged: Judged) -> tuple[ArmLabels, ...]:
    """Return the arms of a claim with its placebos, or of a gate."""
    return (*arms(judged.contrast), *(judged.placebos if isinstance(judged, Claim) else ()))
