"""Records -> evidence: tidy frames for a notebook, and by-base numbers for tables and figures.

`analysis.load(path)` gives an Evidence with the frames `runs`, `history`, `completions`,
`repeated_tokens` and `problems`; what their columns mean: `analysis/evidence/columns.py`.
What was not measured has no row; a value that diverged stays in it as nan or inf: missing and
broken are different things. Records are read one at a time, and every frame but `runs` is made on
first use: what tables and claims need does not grow with the length of the histories.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.evidence.columns import (
    COMPLETION_COLUMNS,
    HISTORY_COLUMNS,
    PROBLEM_COLUMNS,
    REPEATED_COLUMNS,
    completion_rows,
    frame,
    history_rows,
    problem_rows,
    repeated_rows,
)  # fmt: skip
from analysis.evidence.curves import Curves, Ends
from analysis.evidence.gather import Made, Origin
from analysis.evidence.ledger import Ledger
from study.errors import SpecError
from study.record.schema import Record
from study.spec.grid.grid import named
from study.spec.grid.labelled import LabelledCell, LabelledRun
from study.spec.report.sentences import arm_words as arm_text


class Point(NamedTuple):
    """One measurement of a training curve."""

    seed: int
    step: int
    value: float


def mean_by_base(values: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Return the mean of the values with one key, keys in order; a single value stays as it is."""
    found: dict[int, list[float]] = {}
    for key, value in values:
        found.setdefault(key, []).append(value)
    return {
        key: each[0] if len(each) == 1 else sum(each) / len(each)
        for key, each in sorted(found.items())
    }


def _mean_ends(ends: Sequence[Ends]) -> Ends:
    if len(ends) == 1:
        return ends[0]
    means: list[float | None] = []
    for side in zip(*ends, strict=True):
        known = [value for value in side if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return Ends(*means)


@dataclass(frozen=True, repr=False)
class Evidence:
    """Everything that tables and figures are made of: a grid's cells and the records there are for
    its seeds.
    """

    grid: str
    scale: str
    factors: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: tuple[LabelledCell, ...]  # those looked at: all cells of the grid, or its core
    all_cells: tuple[LabelledCell, ...]
    runs: pd.DataFrame
    curves: Curves
    missing: tuple[LabelledRun, ...]
    curve_k: int | None  # samples per problem of the in-training curve
    older: Mapping[str, str] = field(
        default_factory=dict[str, str]
    )  # missing run -> how it is recorded under an older revision
    ledger: Ledger = field(default_factory=Ledger)  # what all of it cost
    core: bool = False
    reference: str = ""  # the grid as the reader named it: commands in a report must find it again
    made: Mapping[Made, int] = field(
        default_factory=dict[Made, int]
    )  # what runs were made with -> their number
    expected_seconds: Mapping[str, float] = field(
        default_factory=dict[str, float]
    )  # the scale's guess before anything was run
    screening: str = ""  # which share of the reserve seeds passed, where bases were screened
    declared: Path | None = None  # the folder with the states of the claims that records name
    folder: Path | None = None  # of the records; None where they came from memory
    only_seeds: tuple[int, ...] | None = None  # the seeds that were chosen; None = the grid's own
    origins: Mapping[str, Origin] = field(
        default_factory=dict[str, Origin]
    )  # run -> the states that it and its stages were started under
    states: Mapping[str, str] = field(
        default_factory=dict[str, str]
    )  # state that any record of the folder names -> first start under it
    recorded: Mapping[str, Collection[int]] = field(
        default_factory=dict[str, Collection[int]]
    )  # cell -> seeds of every record of the folder, read or not

    def __repr__(self) -> str:
        """What a notebook shows: how much there is, and what to ask for."""
        held = (
            f"{len(self.runs)} runs of {len(self.cells)} cells on base students"
            f" {', '.join(map(str, sorted(self.bases))) or '-'}"
        )
        return (
            f"Evidence(grid {self.grid}, scale {self.scale}: {held}; frames .runs .history"
            " .completions .repeated_tokens .problems)"
        )

    @property
    def named(self) -> str:
        """The grid and its scale as commands in a report name them."""
        return named(self.reference, self.scale)

    def cell_of(self, arm: Mapping[str, str]) -> LabelledCell:
        """The one cell with these labels; a factor left out may have one level only.

        Raises SpecError otherwise.
        """
        if known := self._by_labels.get(frozenset(arm.items())):
            return known
        found = [
            cell
            for cell in self.all_cells
            if any(arm.items() <= labels.items() for labels in (cell.labels, *cell.also))
        ]
        if len(found) != 1:
            what = f"{len(found)} cells" if found else "no cell"
            raise SpecError(
                f"{what} of grid {self.grid} has {arm_text(arm)}",
                hint=f"cells: {'; '.join(cell.text for cell in found or self.all_cells)}",
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
        """A number column of `runs` by base of one arm, bases in order; the mean over repeats."""
        return mean_by_base((int(row["seed"]), float(row[column])) for row in self.runs_of(arm))

    def series(self, arm: Mapping[str, str], metric: str) -> list[Point]:
        """The measured points of one arm, by base and step; the mean over repeats. Read again from
        the records.
        """
        found: dict[int, list[tuple[int, float]]] = {}
        for row in self.runs_of(arm):
            found.setdefault(int(row["seed"]), []).extend(self.curves.points(row["run"], metric))
        return [
            Point(seed, step, value)
            for seed, points in found.items()
            for step, value in mean_by_base(points).items()
        ]

    def task_of(self, arm: Mapping[str, str]) -> str:
        """The task of an arm's own evaluation."""
        return self.cell_of(arm).cell.evaluation.score_name

    def records(self, arm: Mapping[str, str]) -> Iterator[Record]:
        """The records of one arm by base, read again one at a time; the first repeat of each."""
        return (self.curves.record(row["run"]) for row in self.runs_of(arm) if not row["repeat"])

    def every_record(self, arm: Mapping[str, str]) -> Iterator[Record]:
        """The records of one arm with all repeats, bases in order."""
        return (self.curves.record(row["run"]) for row in self.runs_of(arm))

    @cached_property
    def repeats(self) -> int:
        """The largest number of training seeds on one base."""
        return max((int(row["repeat"]) + 1 for row in self.run_rows), default=1)

    def of_repeat(self, repeat: int) -> "Evidence":
        """The same evidence with one training seed per base: this repeat where an arm has repeats,
        its only run where it has none.
        """
        cells = {row["cell"] for row in self.run_rows if row["repeat"]}
        wanted = [
            row["repeat"] == (repeat if row["cell"] in cells else 0)
            for row in self.runs.to_dict("records")
        ]
        return replace(self, runs=self.runs[wanted])

    def runs_of(self, arm: Mapping[str, str]) -> list[dict[str, Any]]:
        """The rows of `runs` of one arm, bases in order, the repeats of a base after each other."""
        return self._runs_of_cell.get(self.cell_of(arm).cell_id, [])

    def ends(self, arm: Mapping[str, str], metric: str) -> dict[int, Ends]:
        """The first and last value of a metric by base of one arm, bases in order; means over the
        repeats that have one.
        """
        found: dict[int, list[Ends]] = {}
        for row in self.runs_of(arm):
            found.setdefault(int(row["seed"]), []).append(self.curves.ends(row["run"], metric))
        return {seed: _mean_ends(ends) for seed, ends in found.items()}

    @cached_property
    def history(self) -> pd.DataFrame:
        """Every measured point of every run, for a notebook; no table or figure needs it."""
        return frame(HISTORY_COLUMNS, history_rows(self.run_rows, self.curves))

    @cached_property
    def completions(self) -> pd.DataFrame:
        """The completions that records keep, at three points of the training."""
        return frame(COMPLETION_COLUMNS, completion_rows(self.run_rows, self.curves))

    @cached_property
    def repeated_tokens(self) -> pd.DataFrame:
        """The tokens that repeat most, at three points of the training."""
        return frame(REPEATED_COLUMNS, repeated_rows(self.run_rows, self.curves))

    @cached_property
    def problems(self) -> pd.DataFrame:
        """One row per run, task and problem: how many of its samples are correct and how many were
        cut.
        """
        return frame(PROBLEM_COLUMNS, problem_rows(self.run_rows, self.curves))

    @cached_property
    def run_rows(self) -> list[dict[str, Any]]:
        """`runs` as plain rows, by cell and base."""
        return sorted(
            self.runs.to_dict("records"),
            key=lambda row: (row["cell"], row["seed"], row["repeat"]),
        )

    @cached_property
    def _runs_of_cell(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.run_rows:
            found.setdefault(row["cell"], []).append(row)
        return found

    @cached_property
    def _by_labels(self) -> dict[frozenset[tuple[str, str]], LabelledCell]:
        return {
            frozenset(labels.items()): cell
            for cell in self.all_cells
            for labels in (cell.labels, *cell.also)
        }
