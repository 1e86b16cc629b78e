"""Preregistrations: what was declared before runs, in one sealed file with a readable one next to
it.

    results/preregistrations/<date>-<grid>-<first 8 digits of the seal>.json and .md

seal = sha256 of the canonical JSON of everything else, as for records. A file that does not match
its seal is refused. A run cites the newest preregistration that covers it: the same grid, scale and
state of the claims, its cell and its seed. A record names the seal (`provenance.preregistration`).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from study.errors import RecordMismatch
from study.record.declared.preregistration_text import to_markdown
from study.record.schema import seal_of
from study.record.store import atomic_write, create
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


def sealed(page: Preregistration) -> Preregistration:
    """Return the same with its seal."""
    return page.model_copy(update={"seal": seal_of(page.model_dump(mode="json"))})


def write(folder: Path, page: Preregistration) -> Path:
    """Write a sealed preregistration and its readable form; return the path of the first."""
    path = folder / f"{page.name}.json"
    text = json.dumps(page.model_dump(mode="json"), indent=1, ensure_ascii=False, sort_keys=True)
    create(path, (text + "\n").encode())
    atomic_write(path.with_suffix(".md"), to_markdown(page).encode())
    return path


def read(path: Path) -> Preregistration:
    """Return the preregistration of a file. Errors: RecordMismatch if it is not as sealed."""
    try:
        value = json.loads(path.read_bytes())
        page = Preregistration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _refused(path, f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    except (OSError, ValueError) as error:
        raise _refused(path, str(error)) from error
    if page.seal != seal_of(value) or path.stem != page.name:
        raise _refused(path, "its content does not match its seal")
    return page


def _refused(path: Path, reason: str) -> RecordMismatch:
    return RecordMismatch(
        f"{path}: not a preregistration as it was sealed ({reason})",
        hint=f"restore it: git checkout -- {path}; or remove it, if no record cites it",
    )


def preregistrations(folder: Path) -> Iterator[Preregistration]:
    """Yield every preregistration of a folder, the newest first. Errors: RecordMismatch."""
    pages = [read(path) for path in folder.glob("*.json")]
    yield from sorted(pages, key=lambda page: (page.date, page.seal), reverse=True)


def by_seal(folder: Path, seal: str) -> Preregistration | None:
    """Return the preregistration with this seal; None without it. Errors: RecordMismatch."""
    found = [read(path) for path in sorted(folder.glob(f"*-{seal[:DIGITS]}.json"))]
    return next((page for page in found if page.seal == seal), None)


def copy_preregistrations(seals: Iterable[str], source: Path, target: Path) -> None:
    """Copy preregistrations, each checked, with their readable form; those that are not in `source`
    are left out.
    """
    if source.resolve() == target.resolve():
        return
    for seal in sorted(seals):
        page = by_seal(source, seal)
        if page is not None:
            write(target, page)
