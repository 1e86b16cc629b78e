"""Records -> tidy frames with declared, typed columns.

`runs`: one row per run (RUN_COLUMNS, then one `label.<factor>` column per factor of the grid).
`history`: one row per run, step and metric that was measured (HISTORY_COLUMNS). What was not measured has no row; a value that diverged
stays in it as nan or inf: missing and broken are different things.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.definitions import canonical_metric
from analysis.revisions import older, older_text, refuse_mixed, split
from study.errors import IncompleteResults, SpecError
from study.record.schema import Record
from study.record.store import read_records
from study.spec.cell import Cell
from study.spec.grid import Grid, LabelledCell, LabelledRun, load_grid
from study.spec.identity import objective_name
from study.spec.model import DistilledModel
from study.spec.objective import Objective
from study.spec.yaml import names

OWN_STAGES = ("distill", "evaluate")  # the stages that belong to one run; the others are shared between the runs of a seed


@dataclass(frozen=True)
class Column:
    """dtype: the pandas type; meaning: one line for the reader of a notebook."""

    name: str
    dtype: str
    meaning: str


RUN_COLUMNS: tuple[Column, ...] = (
    Column("run", "string", "run id"),
    Column("cell", "string", "cell id"),
    Column("arm", "string", "level labels of the cell, in the order of the grid's factors"),
    Column("seed", "int64", "seed = base student: a seed starts at pretraining"),
    Column("scale", "string", "lab or paper"),
    Column("objective.family", "string", "full, biased, stop_gradient, renormalised, tail_bucket, sampled_pg, sampled_plain or other"),
    Column("objective.preset", "string", "name of the loss tuple"),
    Column("objective.k", "Int64", "TopK size; absent where the support is not a TopK"),
    Column("steps", "Int64", "training steps; absent where the model is not distilled here"),
    Column("task", "string", "evaluation task"),
    Column("score", "float64", "avg@k of the final evaluation"),
    Column("k", "int64", "samples per problem"),
    Column("num_problems", "int64", "problems of the final evaluation"),
    Column("truncated_fraction", "float64", "share of final samples cut at the length limit"),
    Column("unparsed_fraction", "float64", "share of final samples without a readable answer"),
    Column("mean_tokens", "float64", "mean length of the final samples"),
    Column("own_minutes", "float64", "core minutes of this run's own stages"),
    Column("shared_minutes", "float64", "core minutes of the stages it shares with other runs of its seed"),
)

HISTORY_COLUMNS: tuple[Column, ...] = (
    Column("run", "string", "run id"),
    Column("cell", "string", "cell id"),
    Column("arm", "string", "level labels of the cell"),
    Column("seed", "int64", "base student"),
    Column("step", "int64", "optimiser steps done before the measurement"),
    Column("metric", "string", "name as in docs/metrics.md"),
    Column("value", "float64", "the measurement"),
)


class Point(NamedTuple):
    """One measurement of a training curve."""

    seed: int
    step: int
    value: float


@dataclass(frozen=True)
class Evidence:
    """Everything that pages are made of: a grid's cells and the records there are for its seeds."""

    grid: str
    scale: str
    factors: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: tuple[LabelledCell, ...]  # those looked at: all cells of the grid, or its core
    all_cells: tuple[LabelledCell, ...]
    runs: pd.DataFrame
    history: pd.DataFrame
    missing: tuple[LabelledRun, ...]
    curve_k: int | None  # samples per problem of the in-training curve
    older: Mapping[str, str] = field(default_factory=dict[str, str])  # missing run -> how it is recorded under an older revision
    core: bool = False
    reference: str = ""  # the grid as the reader named it: commands on a page must find it again

    def cell_of(self, arm: Mapping[str, str]) -> LabelledCell:
        """The one cell with these labels; a factor left out may have one level only. Raises SpecError otherwise."""
        found = [cell for cell in self.all_cells if any(arm.items() <= labels.items() for labels in (cell.labels, *cell.also))]
        if len(found) != 1:
            what = f"{len(found)} cells" if found else "no cell"
            raise SpecError(
                f"{what} of grid {self.grid} has {arm_text(arm)}", hint=f"cells: {'; '.join(cell.text for cell in found or self.all_cells)}"
            )
        return found[0]

    @property
    def bases(self) -> set[int]:
        """The base students with a record."""
        return {int(row["seed"]) for row in self.run_rows}

    def scores(self, arm: Mapping[str, str]) -> dict[int, float]:
        """Final avg@k by base of one arm."""
        return self.by_base(arm, "score")

    def by_base(self, arm: Mapping[str, str], column: str) -> dict[int, float]:
        """A number column of `runs` by base of one arm, bases in order."""
        rows = self._runs_of_cell.get(self.cell_of(arm).cell_id, [])
        return {int(row["seed"]): float(row[column]) for row in rows}

    def series(self, arm: Mapping[str, str], metric: str) -> list[Point]:
        """The measured points of one arm, by base and step."""
        return self._points.get((self.cell_of(arm).cell_id, metric), [])

    @cached_property
    def run_rows(self) -> list[dict[str, Any]]:
        """`runs` as plain rows, by cell and base."""
        return sorted(self.runs.to_dict("records"), key=lambda row: (row["cell"], row["seed"]))

    @cached_property
    def _runs_of_cell(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.run_rows:
            found.setdefault(row["cell"], []).append(row)
        return found

    @cached_property
    def _points(self) -> dict[tuple[str, str], list[Point]]:
        columns = [self.history[name].tolist() for name in ("cell", "metric", "seed", "step", "value")]
        found: dict[tuple[str, str], list[Point]] = {}
        for cell, metric, seed, step, value in sorted(zip(*columns, strict=True), key=lambda row: row[:4]):
            found.setdefault((cell, metric), []).append(Point(seed, step, value))
        return found


def load(path: str | Path, *, grid: str = "math", scale: str = "lab", seeds: Sequence[int] | None = None, core: bool = False) -> Evidence:
    """The evidence for a grid from a folder of records (`results/records`, or `results/runs`).

    Records of other cells or seeds are left aside. Runs without a record are in `missing`. Errors: RecordMismatch on a corrupt record.
    """
    return evidence_from(read_records(Path(path)), load_grid(grid, scale), scale=scale, seeds=seeds, core=core, reference=grid)


def evidence_from(
    records: Iterable[Record], grid: Grid, *, scale: str, seeds: Sequence[int] | None = None, core: bool = False, reference: str = ""
) -> Evidence:
    expected = tuple(grid.runs(seeds=seeds, core=core))
    cells = grid.core_cells if core else grid.cells
    of_run = {run.run_id: cell for run in expected for cell in cells if cell.cell_id == run.cell_id}
    present, earlier = split(records, of_run)
    refuse_mixed(present, grid.name)
    factors = tuple(grid.factors)
    found = {record.run for record in present}
    missing = tuple(run for run in expected if run.run_id not in found)
    return Evidence(
        grid=grid.name,
        scale=scale,
        factors=factors,
        seeds=tuple(sorted({run.seed for run in expected})),
        cells=cells,
        all_cells=grid.cells,
        runs=_frame(RUN_COLUMNS, [_run_row(record, of_run[record.run]) for record in present], [f"label.{factor}" for factor in factors]),
        history=_frame(HISTORY_COLUMNS, [row for record in present for row in _history_rows(record, of_run[record.run])]),
        missing=missing,
        older=older(earlier, missing),
        curve_k=_curve_k(present),
        core=core,
        reference=grid.name if not reference or grid.name in names("grids") else reference,
    )


def require_complete(evidence: Evidence, source: Path) -> None:
    """Raises IncompleteResults with the command that fills the gaps: an absent seed is never averaged away."""
    if not evidence.missing:
        return
    total, first = len(evidence.missing) + len(evidence.runs), evidence.missing[0]
    seeds = sorted({run.seed for run in evidence.missing})
    command = f"study run --grid {evidence.reference} " + ("--core" if evidence.core else f"--seeds {','.join(map(str, seeds))}")
    look = f"; or look at the {len(evidence.runs)} there are: study analyze --grid {evidence.reference} --partial"
    raise IncompleteResults(
        f"{len(evidence.missing)} of {total} runs of grid {evidence.grid} have no record in {source}, "
        f"the first: {arm_text(first.labels)}, seed {first.seed} ({first.run_id}){older_text(evidence.older)}",
        hint=command + (look if len(evidence.runs) else ""),
    )


def arm_text(arm: Mapping[str, str]) -> str:
    return " ".join(f"{factor}={level}" for factor, level in arm.items())


def objective_family(objective: Objective) -> str:
    """The family that colours are keyed by, from the loss tuple itself."""
    if objective.divergence != "reverse_kl":
        return "other"
    if objective.support == "sampled":
        return "sampled_pg" if objective.gradient == "score_function" else "sampled_plain"
    if objective.support == "full":
        return "full"
    by_normalisation = {"renormalised": "renormalised", "tail_bucket": "tail_bucket"}
    return by_normalisation.get(objective.normalisation, "stop_gradient" if objective.gradient == "stop_gradient" else "biased")


def _frame(columns: Sequence[Column], rows: list[dict[str, Any]], labels: Sequence[str] = ()) -> pd.DataFrame:
    types = {column.name: column.dtype for column in columns} | dict.fromkeys(labels, "string")
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _run_row(record: Record, labelled: LabelledCell) -> dict[str, Any]:
    score = record.scores[labelled.cell.evaluation.task]
    minutes = {kind: cost.core_s / 60.0 for kind, cost in record.cost.items()}
    return {
        "run": record.run,
        "cell": record.cell,
        "arm": labelled.text,
        "seed": record.seed,
        "scale": record.scale,
        **_objective_columns(labelled.cell),
        "task": labelled.cell.evaluation.task,
        "score": score.mean,
        "k": score.k,
        "num_problems": score.num_problems,
        "truncated_fraction": score.truncated_fraction,
        "unparsed_fraction": score.unparsed_fraction,
        "mean_tokens": score.mean_tokens,
        "own_minutes": sum(value for kind, value in minutes.items() if kind in OWN_STAGES),
        "shared_minutes": sum(value for kind, value in minutes.items() if kind not in OWN_STAGES),
        **{f"label.{factor}": level for factor, level in labelled.labels.items()},
    }


def _objective_columns(cell: Cell) -> dict[str, Any]:
    model = cell.model
    if not isinstance(model, DistilledModel):
        return {"objective.family": "other", "objective.preset": model.kind, "objective.k": None, "steps": None}
    return {
        "objective.family": objective_family(model.objective),
        "objective.preset": objective_name(model.objective),
        "objective.k": model.objective.k,
        "steps": model.training.steps,
    }


def _history_rows(record: Record, labelled: LabelledCell) -> list[dict[str, Any]]:
    shared = {"run": record.run, "cell": record.cell, "arm": labelled.text, "seed": record.seed}
    rows: list[dict[str, Any]] = []
    for column in record.history:
        if column != "step":
            steps, values = record.series(column)
            metric = canonical_metric(column)
            rows += [shared | {"step": step, "metric": metric, "value": value} for step, value in zip(steps, values, strict=True)]
    return rows


def _curve_k(records: Sequence[Record]) -> int | None:
    sizes = {int(column.partition("@")[2]) for record in records for column in record.history if column.startswith("eval/avg@")}
    return sizes.pop() if len(sizes) == 1 else None
