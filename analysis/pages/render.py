"""One table in three formats: CSV for machines, Markdown for people, booktabs LaTeX for the
paper. The same table is the same bytes.

An interval is `mean [low, high]`; CSV gives it four columns (mean, low, high, n). What is missing
is a word, never a number.
"""

import csv
import io
from dataclasses import dataclass

from study.stats.intervals import Interval

Value = str | int | float | Interval | None
NOT_RUN = "not run"
ABSENT = "-"  # does not apply to what was run, or was not measured there


@dataclass(frozen=True)
class Column:
    """key: CSV name; title: heading; decimals: of every number in it."""

    key: str
    title: str
    decimals: int = 3
    interval: bool = False


@dataclass(frozen=True)
class Table:
    """number: None for a table without one. notes: scale, n and definitions; printed under the
    table in every format.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...]
    number: int | None = None

    @property
    def heading(self) -> str:
        return self.title if self.number is None else f"Table {self.number}. {self.title}"


def spelled(value: Value, decimals: int) -> str:
    """Format a value for people."""
    if value is None:
        return NOT_RUN
    if isinstance(value, Interval):
        return interval_text(value, decimals)
    return number(value, decimals) if isinstance(value, float) else str(value)


def spelled_row(table: Table, row: tuple[Value, ...]) -> list[str]:
    """A row without any of its intervals was not run; in another one, what is not there does not
    apply or was not measured.
    """
    intervals = [value for column, value in zip(table.columns, row, strict=True) if column.interval]
    run = any(value is not None for value in intervals)
    return [
        ABSENT if run and value is None else spelled(value, column.decimals)
        for column, value in zip(table.columns, row, strict=True)
    ]


def interval_text(interval: Interval, decimals: int) -> str:
    mean = number(interval.mean, decimals)
    if interval.low is None or interval.high is None:
        return f"{mean} [no interval at n = {interval.n}]"
    if interval.flat:
        return f"{mean} [no interval: all {interval.n} equal]"
    return f"{mean} [{number(interval.low, decimals)}, {number(interval.high, decimals)}]"


def number(value: float, decimals: int) -> str:
    """Fixed decimals without a minus zero."""
    text = f"{value:.{decimals}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def to_csv(table: Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in _csv_names(column)])
    for row in table.rows:
        writer.writerow(
            [
                field
                for column, value in zip(table.columns, row, strict=True)
                for field in _csv_fields(column, value)
            ]
        )
    return out.getvalue()


def _csv_names(column: Column) -> list[str]:
    return (
        [f"{column.key}.{part}" for part in ("mean", "low", "high", "n")]
        if column.interval
        else [column.key]
    )


def _csv_fields(column: Column, value: Value) -> list[str]:
    if not column.interval:
        return ["" if value is None else spelled(value, column.decimals)]
    if not isinstance(value, Interval):
        return ["", "", "", "0"]
    digits = column.decimals + 2
    known = () if value.flat else (value.low, value.high)
    limits = ["" if limit is None else number(limit, digits) for limit in known or (None, None)]
    return [number(value.mean, digits), *limits, str(value.n)]


def to_markdown(table: Table) -> str:
    cells = [[_md(text) for text in spelled_row(table, row)] for row in table.rows]
    head = [_md(column.title) for column in table.columns]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    rule = "|".join("-" * (width + 2) for width in widths)
    lines = [_md_line(head, widths), f"|{rule}|", *(_md_line(line, widths) for line in cells)]
    return "\n".join(
        [f"## {table.heading}", "", *lines, "", *(f"- {note}" for note in table.notes), ""]
    )


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _md_line(fields: list[str], widths: list[int]) -> str:
    return (
        "| "
        + " | ".join(field.ljust(width) for field, width in zip(fields, widths, strict=True))
        + " |"
    )


def to_text(table: Table) -> str:
    """Aligned columns for a terminal, two spaces apart."""
    cells = [spelled_row(table, row) for row in table.rows]
    lines = [[column.title for column in table.columns], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    return "\n".join(
        "  ".join(text.ljust(size) for text, size in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def to_latex(table: Table) -> str:
    lines = [" & ".join(map(_tex, spelled_row(table, row))) + r" \\" for row in table.rows]
    head = " & ".join(_tex(column.title) for column in table.columns) + r" \\"
    notes = [rf"\par\footnotesize {_tex(note)}" for note in table.notes]
    alignment = "".join("l" if _is_text(table, i) else "r" for i in range(len(table.columns)))
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(table.title)}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            head,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def _is_text(table: Table, column: int) -> bool:
    return any(isinstance(row[column], str) for row in table.rows)


_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)


def spellings(table: Table) -> dict[str, str]:
    """suffix -> text of a table."""
    return {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}
