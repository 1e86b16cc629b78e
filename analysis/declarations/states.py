"""Read the states of the claims that records name: claims, findings and world as they were."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from study.record.declared.states import FINDINGS, WORLD, in_force, stored
from study.record.declared.world import GridWorld, World, read_world
from study.spec.report.claim import Claims
from study.spec.report.finding import Finding, Findings
from study.spec.yaml.load import parse
from study.spec.yaml.validation import validate


@dataclass(frozen=True)
class State:
    """A stored state. files: name -> bytes, checked against the hash `name`."""

    name: str
    files: Mapping[str, bytes]

    @property
    def grids(self) -> list[str]:
        """Return the grids with claims."""
        return [file.removesuffix(".yaml") for file in self.files if _is_claims(file)]

    def page(self, grid: str) -> Claims | None:
        """Return the claims on a grid; None if there were none."""
        data = self.files.get(f"{grid}.yaml")
        return None if data is None else _claims(data, f"{self.name[:16]}/{grid}.yaml")

    @cached_property
    def findings(self) -> tuple[Finding, ...] | None:
        """Return the findings; None for a state of an earlier version, which does not hold them."""
        return None if self.world is None else _findings(self.files)

    @cached_property
    def world(self) -> World | None:
        """Return what the arms were; None for a state of an earlier version."""
        data = self.files.get(WORLD)
        return None if data is None else read_world(data, f"{self.name[:16]}/{WORLD}")

    def grid_world(self, grid: str, scale: str) -> GridWorld | None:
        """Return the world of one grid; None where it is not recorded."""
        if self.world is None or self.world.scale != scale:
            return None
        return self.world.grids.get(grid)


def stored_state(folder: Path, name: str) -> State | None:
    """Return a state of a folder of states; None if it is not there. Errors: RecordMismatch."""
    return _stored(folder.resolve(), name)


@lru_cache(maxsize=64)
def _stored(folder: Path, name: str) -> State | None:
    files = stored(folder, name)
    return State(name, files) if files else None


def findings_today(root: Path | None = None) -> tuple[Finding, ...]:
    """Return the findings of `experiments/findings/`."""
    return _findings(in_force(root))


def family_of(grid: str, claim: str, findings: tuple[Finding, ...]) -> str | None:
    """Return the id of the first finding that a claim tests, which is its family; None without."""
    found = (each.id for each in findings if claim in each.claims.get(grid, []))
    return next(found, None)


def _is_claims(file: str) -> bool:
    return file.endswith(".yaml") and "/" not in file


def _findings(files: Mapping[str, bytes]) -> tuple[Finding, ...]:
    pages = [
        _findings_page(data, file) for file, data in files.items() if file.startswith(FINDINGS)
    ]
    return tuple(finding for page in pages for finding in page.findings)


@lru_cache(maxsize=512)
def _claims(data: bytes, where: str) -> Claims:
    return validate(Claims, parse(data.decode(), where), "")


@lru_cache(maxsize=64)
def _findings_page(data: bytes, where: str) -> Findings:
    return validate(Findings, parse(data.decode(), where), "")
