"""Screen bases: go through declared reserve seeds in order until enough of them pass every gate.

Only gates that no treatment could change may screen (`study/runner/verbs/check_screening.py`). The
bases of the study are the first `bases` seeds that pass, in the declared order: a seed counts once
every seed before it has been looked at. The share that passes bounds what the claims are about.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from analysis.claims.contrasts import contrast_by_base
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.verdicts.gates import within
from study.spec.grid.grid import load_grid
from study.spec.report.claim import Claims, Gate, Screening, load_claims
from study.spec.yaml.load import names
from study.stats.distributions import binomial_limits


@dataclass(frozen=True)
class Screened:
    """One reserve seed. values: by gate, None where it is not measured."""

    seed: int
    values: dict[str, float | None]
    failed: tuple[str, ...]

    @property
    def measured(self) -> bool:
        return None not in self.values.values()

    @property
    def passes(self) -> bool | None:
        """Whether every gate holds; None while one is not measured and none has failed."""
        if self.failed:
            return False
        return True if self.measured else None


@dataclass(frozen=True)
class Screen:
    """The reserve seeds in their declared order."""

    declared: Screening
    seeds: tuple[Screened, ...]

    @cached_property
    def looked_at(self) -> tuple[Screened, ...]:
        """The seeds that count: in order, up to the first one that is not known, or to the last
        base that is needed.
        """
        found: list[Screened] = []
        for seed in self.seeds:
            enough = sum(bool(each.passes) for each in found) == self.declared.bases
            if seed.passes is None or enough:
                break
            found.append(seed)
        return tuple(found)

    @property
    def bases(self) -> tuple[int, ...]:
        """The seeds that are the bases of the study, so far."""
        return tuple(seed.seed for seed in self.looked_at if seed.passes)

    @property
    def complete(self) -> bool:
        return len(self.bases) == self.declared.bases

    @property
    def next_seeds(self) -> tuple[int, ...]:
        """The seeds whose gates to look at next: as many as bases are missing, in order."""
        missing = self.declared.bases - len(self.bases)
        left = self.seeds[len(self.looked_at) :]
        return tuple(seed.seed for seed in left[:missing] if seed.passes is None)

    @property
    def exhausted(self) -> bool:
        """Whether all reserve seeds have been looked at, and too few pass."""
        return not self.complete and len(self.looked_at) == len(self.seeds)

    @property
    def rate_text(self) -> str:
        """The share that passes, with its exact (Clopper-Pearson) 95 % interval."""
        passed, looked = len(self.bases), len(self.looked_at)
        if not looked:
            return "no seed has been looked at"
        low, high = binomial_limits(passed, looked)
        share = f"{passed / looked:.2f} [{low:.2f}, {high:.2f}]"
        return f"{passed} of {looked} seeds pass ({share}); claims are about bases of this kind"


def screening_gates(page: Claims, declared: Screening) -> tuple[Gate, ...]:
    return tuple(gate for gate in page.gates if gate.id in declared.gates)


def screen(page: Claims, evidence: Evidence) -> Screen:
    """Look at every reserve seed. Raises ValueError for a page without screening."""
    declared = page.screening
    if declared is None:
        raise ValueError(f"claims/{page.grid}.yaml declares no screening")
    gates = screening_gates(page, declared)
    by_gate = {gate.id: contrast_by_base(gate.contrast, gate.outcome, evidence) for gate in gates}
    return Screen(declared, tuple(_screened(seed, gates, by_gate) for seed in declared.seeds))


def _screened(seed: int, gates: Sequence[Gate], by_gate: dict[str, dict[int, float]]) -> Screened:
    values = {gate.id: by_gate[gate.id].get(seed) for gate in gates}
    failed = tuple(
        gate.id
        for gate in gates
        if (value := values[gate.id]) is not None and not within(gate, value)
    )
    return Screened(seed, values, failed)


def load_screened(
    folder: Path, grid: str, scale: str, root: Path | None = None, *, core: bool = False
) -> Evidence:
    """Load the evidence for a grid's own seeds, or for the bases that its screening chose.

    Until the screening is complete these are the seeds that pass so far; before the first, the
    grid's own.
    """
    name = load_grid(grid, scale, root).name
    page = load_claims(name, root) if name in names("claims", root) else None
    if core or page is None or page.screening is None:
        return load(folder, grid=grid, scale=scale, core=core)
    found = screen(page, load(folder, grid=grid, scale=scale, seeds=page.screening.seeds))
    evidence = load(folder, grid=grid, scale=scale, seeds=found.bases or None)
    return replace(evidence, screening=found.rate_text, only_seeds=None)
