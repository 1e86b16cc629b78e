"""What is declared before runs: the content of a preregistration.

seal = sha256 of the canonical JSON of everything else, as for records. A run cites the newest
preregistration that covers it: the same grid, scale and state of the claims, its cell and its seed.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from study.record.schema import seal_of
from study.spec.base import Spec

DIGITS = 8


class DeclaredGate(Spec):
    """A control. sentence: generated from what it computes. failing: what follows if it fails."""

    id: str
    text: str
    sentence: str
    failing: str


class ExpectedPower(Spec):
    """The probability of each word, if the contrast is as assumed. basis: where mean and deviation
    come from.
    """

    mean: float
    deviation: float
    basis: str
    words: dict[str, float]


class DeclaredClaim(Spec):
    """A claim. sentence: generated from what it computes. power: None = no variance known.
    not_testable: the reason, for a claim that these worlds cannot test.
    """

    id: str
    text: str
    sentence: str
    expectation: str
    primary: bool
    family: str | None
    gates: tuple[str, ...] = Field(strict=False)
    arms: tuple[dict[str, str], ...] = Field(strict=False)
    power: ExpectedPower | None = None
    not_testable: str | None = None


class Seen(Spec):
    """Records of these arms that existed already. seeds: with at least one of them."""

    seeds: tuple[int, ...] = Field(default=(), strict=False)
    runs: int = 0


class Preregistration(Spec):
    """What is declared. state: hash of the state of the claims, which holds their whole text and
    the world. cells: cell id -> its labels. families: name -> all of its claims, GRID/CLAIM, and
    how many withdrawn ones count as well.
    """

    version: Literal[1] = 1
    date: str
    grid: str
    scale: str
    question: str
    state: str
    seeds: tuple[int, ...] = Field(strict=False)
    cells: dict[str, tuple[dict[str, str], ...]] = Field(strict=False)
    claims: tuple[DeclaredClaim, ...] = Field(strict=False)
    gates: tuple[DeclaredGate, ...] = Field(default=(), strict=False)
    families: dict[str, tuple[str, ...]] = Field(default={}, strict=False)
    withdrawn: dict[str, int] = Field(default={})
    screening: dict[str, Any] | None = None
    seen: Seen = Seen()
    power_from: str = "no variance known"
    seal: str = ""

    @property
    def name(self) -> str:
        """Return the file name without suffix."""
        return f"{self.date[:10]}-{self.grid}-{self.seal[:DIGITS]}"

    def covers(self, grid: str, scale: str, state: str | None, cell: str, seed: int) -> bool:
        """Whether a run may cite it."""
        return (
            (self.grid, self.scale, self.state) == (grid, scale, state)
            and cell in self.cells
            and seed in self.seeds
        )


def changed_claims(earlier: Preregistration, later: Preregistration) -> tuple[str, ...]:
    """Return the claims and controls that one of them declares and the other not, or otherwise;
    expected power is no part of it.
    """
    before, after = _parts(earlier), _parts(later)
    names = sorted(before.keys() | after.keys())
    return tuple(name for name in names if before.get(name) != after.get(name))


def _parts(page: Preregistration) -> Mapping[str, Spec]:
    claims = {claim.id: claim.model_copy(update={"power": None}) for claim in page.claims}
    return claims | {gate.id: gate for gate in page.gates}


def sealed(page: Preregistration) -> Preregistration:
    """Return the same with its seal."""
    return page.model_copy(update={"seal": seal_of(page.model_dump(mode="json"))})
