"""Estimate the cost of more evidence from the costs in records."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from analysis.evidence.frames import Evidence
from study.spec.grid.labelled import LabelledCell
from study.spec.recipe.model import DistilledModel


@dataclass(frozen=True)
class More:
    """The command that makes more evidence, the runs it would make, and core minutes (None: nothing
    recorded to estimate from).
    """

    command: str
    runs: int
    minutes: float | None

    @property
    def text(self) -> str:
        cost = (
            "cost unknown, nothing is recorded yet"
            if self.minutes is None
            else f"about {max(1, round(self.minutes))} core minutes"
        )
        return f"{self.command}  ({self.runs} runs, {cost})"


def more_evidence(evidence: Evidence, seeds: Iterable[int]) -> More:
    """All cells of the grid for these seeds, as often repeated as those there are; runs that are
    there cost nothing.
    """
    names = sorted(set(seeds))
    done = {(row["cell"], row["seed"], row["repeat"]) for row in evidence.run_rows}
    repeats = Counter[str]()
    for row in evidence.run_rows:
        repeats[row["cell"]] = max(repeats[row["cell"]], int(row["repeat"]))
    pending = [
        (cell, seed)
        for cell in evidence.all_cells
        for seed in names
        for repeat in range(repeats[cell.cell_id] + 1)
        if (cell.cell_id, seed, repeat) not in done
    ]
    command = f"study run {evidence.named} --seeds {','.join(map(str, names))}"
    return More(command, len(pending), _minutes(evidence, pending))


def _minutes(evidence: Evidence, pending: list[tuple[LabelledCell, int]]) -> float | None:
    if not evidence.run_rows:
        return None
    new_bases = {seed for _, seed in pending} - evidence.bases
    shared = max(float(row["shared_minutes"]) for row in evidence.run_rows)
    own = _own_minutes(evidence)
    return sum(own(cell) for cell, _ in pending) + len(new_bases) * shared


def _own_minutes(evidence: Evidence) -> Callable[[LabelledCell], float]:
    """The mean of a cell's recorded runs; for a cell without one, the mean minutes per step of the
    others times its steps.
    """
    recorded: dict[str, list[float]] = {}
    for row in evidence.run_rows:
        recorded.setdefault(row["cell"], []).append(float(row["own_minutes"]))
    means = {name: fmean(minutes) for name, minutes in recorded.items()}
    steps = {labelled.cell_id: _steps(labelled) for labelled in evidence.all_cells}
    per_step = fmean(float(row["own_minutes"]) / steps[row["cell"]] for row in evidence.run_rows)
    return lambda cell: means.get(cell.cell_id, _steps(cell) * per_step)


def _steps(cell: LabelledCell) -> int:
    return cell.cell.model.training.steps if isinstance(cell.cell.model, DistilledModel) else 1
