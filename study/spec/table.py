"""Pages: what a numbered table or figure shows, as data. Numbers below 20 are the paper's, our own start at 20."""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec

Arm = dict[str, str]  # factor -> level label; must name exactly one cell of the grid


class Setting(Spec):
    """One row of a settings table: the paper's value with the tag of its source, and where ours stands in a cell (`ours` = dotted path)."""

    item: str
    paper: str
    source: str
    ours: str | None = None
    note: str = ""


class TablePage(Spec):
    """kind: final_scores = one row per cell of the grid; settings = the resolved values of `cell` beside the paper's."""

    number: int = Field(ge=1)
    title: str
    grid: str
    scale: str
    kind: Literal["final_scores", "settings"]
    answers: str = ""  # which part of the paper's table this page answers
    notes: tuple[str, ...] = Field(default=(), strict=False)
    cell: Arm = Field(default={})
    settings: tuple[Setting, ...] = Field(default=(), strict=False)


class Row(Spec):
    """One row of panels of a curve figure: its arms are drawn over each other."""

    title: str
    arms: tuple[Arm, ...] = Field(min_length=1, strict=False)


class FigurePage(Spec):
    """kind: curves = a row of panels per entry of `rows`, a column per metric of `panels`; final_scores = a mark per cell and base."""

    number: int | None = Field(default=None, ge=1)  # None: drawn for a grid that has no numbered pages
    title: str
    grid: str
    scale: str
    kind: Literal["curves", "final_scores"]
    answers: str = ""  # which part of the paper's figure this page answers
    notes: tuple[str, ...] = Field(default=(), strict=False)
    panels: tuple[str, ...] = Field(default=(), strict=False)
    rows: tuple[Row, ...] = Field(default=(), strict=False)
