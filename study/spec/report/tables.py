"""Numbered tables and figures as data: what each of them shows.

Numbers below 20 are the paper's; our own start at 20.
"""

from typing import Literal

from pydantic import Field, model_validator

from study.spec.base import Spec
from study.spec.report.outcome import ArmLabels, refuse_unknown


class Setting(Spec):
    """One row of a settings table: the paper's value with the tag of its source, and the path of
    ours in a cell (`ours` = dotted path).
    """

    item: str
    paper: str
    source: str
    ours: str | None = None
    note: str = ""


class Measured(Spec):
    """One row of an outcomes table: an outcome of an arm, and the paper's value for it (text; `-` =
    not known).
    """

    name: str
    arm: ArmLabels
    outcome: str
    paper: str = "-"
    source: str = "-"


class TablePage(Spec):
    """A numbered table.

    kind: final_scores = one row per cell of the grid; settings = the resolved values of `cell` next
    to the paper's; outcomes = the outcomes that `measured` names, with interval and n, next to the
    paper's values.
    """

    number: int = Field(ge=1)
    title: str
    grid: str
    scale: str
    kind: Literal["final_scores", "settings", "outcomes"]
    answers: str = ""  # the part of the paper's table that this table corresponds to
    notes: tuple[str, ...] = Field(default=(), strict=False)
    cell: ArmLabels = Field(default={})
    settings: tuple[Setting, ...] = Field(default=(), strict=False)
    measured: tuple[Measured, ...] = Field(default=(), strict=False)

    @property
    def arms(self) -> tuple[ArmLabels, ...]:
        """Return every arm that the table names."""
        return (*([self.cell] if self.cell else []), *(row.arm for row in self.measured))


class Row(Spec):
    """One block of a figure: arms drawn together. names: their labels in the figure; at: their
    positions on the x axis (prefix).
    """

    title: str
    arms: tuple[ArmLabels, ...] = Field(min_length=1, strict=False)
    names: tuple[str, ...] = Field(default=(), strict=False)
    at: tuple[float, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _as_many(self) -> "Row":
        for field, values in (("names", self.names), ("at", self.at)):
            if values and len(values) != len(self.arms):
                raise ValueError(f"{field} has {len(values)} entries for {len(self.arms)} arms")
        return self


class Line(Spec):
    """A reference line: the mean of one more arm, such as a placebo or a prompted teacher."""

    name: str
    arm: ArmLabels


class Mark(Spec):
    """One outcome (study/spec/report/outcome.py) with a name for the figure."""

    name: str
    outcome: str


class FigurePage(Spec):
    """A numbered figure: its kind, and the fields that this kind reads.

    curves           a row of panels per entry of `rows`, a column per metric of `panels`
    final_scores     one mark per cell and base of the whole grid
    bars             outcomes (`panels`, score by default) of the arms of `rows`, `lines` across
                     them
    prefix           outcomes (`panels`) of `rows` against their `at`; rows in pairs, a control and
                     what it is compared with
    repeated_tokens  the most repeated tokens in the rollouts of each arm of `rows`: start, middle
                     and end of training
    signal           the teacher-student log-ratio of each arm of `rows`, by correctness, position
                     and step
    mass_drain       the student's TopK mass of each arm of `rows` and the fixed point that its loss
                     predicts
    pi_optimum       outcomes (`marks`, usually probes) of the arms of `rows` next to each other
    survival         the share of bases that have not collapsed, against steps, for the arms of each
                     row of `rows`
    """

    # None: drawn for a grid without numbered figures.
    number: int | None = Field(default=None, ge=1)
    title: str
    grid: str
    scale: str
    kind: Literal[
        "curves", "final_scores", "bars", "prefix", "repeated_tokens", "signal", "mass_drain",
        "pi_optimum", "survival",
    ]  # fmt: skip
    answers: str = ""  # the part of the paper's figure that this figure corresponds to
    notes: tuple[str, ...] = Field(default=(), strict=False)
    panels: tuple[str, ...] = Field(default=(), strict=False)
    rows: tuple[Row, ...] = Field(default=(), strict=False)
    lines: tuple[Line, ...] = Field(default=(), strict=False)
    marks: tuple[Mark, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _holds_what_its_kind_reads(self) -> "FigurePage":
        if self.kind not in ("final_scores", "curves") and not self.rows:
            raise ValueError(f"a page of kind {self.kind} needs rows")
        if self.kind == "prefix" and not all(row.at for row in self.rows):
            raise ValueError(
                "a page of kind prefix needs `at` in every row: the share of the prefix that each"
                " arm is given"
            )
        if self.kind == "pi_optimum" and not self.marks:
            raise ValueError("a page of kind pi_optimum needs marks, {name, outcome} each")
        for text in (
            *(self.panels if self.kind in ("bars", "prefix") else ()),
            *(mark.outcome for mark in self.marks),
        ):
            refuse_unknown(text)
        return self

    @property
    def arms(self) -> tuple[ArmLabels, ...]:
        """Return every arm that the figure names."""
        return (*(arm for row in self.rows for arm in row.arms), *(line.arm for line in self.lines))
