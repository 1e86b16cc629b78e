"""The scorecard as text: for a terminal, and as a Markdown table.

A strip of characters is what the figure's strip is: `│` zero, `┊` the smallest effect that counts,
a dot for a base student, the number of base students where several share a place, `‹` and `›` for
what is further out.
"""

import textwrap
from collections.abc import Callable, Sequence

from analysis.claims.scorecard import NOT_RUN, Scored, firmness, tally
from analysis.pages.render import Column, Table, Value

LOW, HIGH, WIDTH = -4.0, 8.0, 25
ZERO, SMALLEST, DOT, LEFT, RIGHT, EMPTY = "│", "┊", "•", "‹", "›", "·"
READING = (
    f"Strip: {DOT} is one base student; a digit is that many of them at one place; {ZERO} is zero,"
    f" {SMALLEST} the smallest effect that counts, in multiples of which the strip is drawn"
    f" (without {SMALLEST}, any effect counts). To the right is what the paper says."
)
CANNOT_TELL = (
    "This lab cannot tell: its worlds cannot test the finding. Dots there are measured, but they"
    " are no result, whatever they show."
)
COLUMNS = (
    Column("word", "Here"),
    Column("finding", "Finding of the paper"),
    Column("strip", f"{LEFT} the other way {ZERO} as the paper says {RIGHT}"),
    Column("claim", "Decided by"),
    Column("declared", "Declared"),
)


def reading(rows: Sequence[Scored]) -> list[str]:
    """How to read the strips, what `this lab cannot tell` means where a row says so, and what the
    words rest on.
    """
    cannot = CANNOT_TELL if any(row.reason for row in rows) else ""
    return [text for text in (READING, cannot, firmness(rows)) if text]


def strip(row: Scored) -> str:
    """WIDTH characters; blank for a finding without records."""
    if row.verdict is None:
        return " " * WIDTH
    line = [EMPTY] * WIDTH
    borders = {"beyond": (1.0,), "within": (-1.0, 1.0), "not_worse": (-1.0,), "any": ()}[row.zone]
    for place, mark in [(0.0, ZERO), *((border, SMALLEST) for border in borders)]:
        line[_column(place)] = mark
    count: dict[int, int] = {}
    for value in row.dots.values():
        count[_column(value)] = count.get(_column(value), 0) + 1
        if value < LOW or value > HIGH:
            line[0 if value < LOW else -1] = LEFT if value < LOW else RIGHT
    for column, dots in count.items():
        line[column] = DOT if dots == 1 else str(dots) if dots < 10 else "+"
    return "".join(line)


def _column(value: float) -> int:
    """The place of a position; the first and the last are kept for marks of what is beyond."""
    inside = min(max(value, LOW), HIGH)
    return 1 + round((inside - LOW) / (HIGH - LOW) * (WIDTH - 3))


def _scale_line() -> str:
    """Positions over the strips."""
    line = [" "] * WIDTH
    for value in (LOW, 0.0, 1.0, HIGH):
        line[_column(value)] = f"{abs(value):.0f}"
    line[_column(LOW) - 1] = "-"
    return "".join(line)


def to_text(
    rows: Sequence[Scored],
    width: int = 100,
    paint: Callable[[str, str], str] = lambda text, _: text,
) -> str:
    """Sentence, strip and word, one finding below the other. paint: (text, word) -> coloured
    text.
    """
    longest = max(len(row.label) for row in rows)
    room = max(20, width - WIDTH - longest - 4)
    room = min(room, 64)
    lines = [f"{'':<{room}}  {_scale_line()}"]
    for row in rows:
        first, *rest = textwrap.wrap(row.finding.plain, room)
        lines.append(f"{first:<{room}}  {strip(row)}  {paint(row.label, row.word)}")
        lines += rest
        why = row.reason or row.remark
        lines += textwrap.wrap(why, room, initial_indent="  why: ", subsequent_indent="       ")
    notes = [note for text in reading(rows) for note in textwrap.wrap(text, width)]
    return "\n".join([*lines, "", tally(rows) + ".", *notes])


def to_table(rows: Sequence[Scored], scale: str) -> Table:
    """The same as a table, for Markdown."""
    notes = (
        f"{tally(rows)}. Scale: {scale}.",
        *reading(rows),
        "Positions are multiples of the smallest effect that counts, of the claim that decides.",
    )
    return Table("The paper's findings at this scale", COLUMNS, tuple(map(_table_row, rows)), notes)


def _table_row(row: Scored) -> tuple[Value, ...]:
    grid, claim = row.finding.deciding
    declared = row.verdict.declared.word if row.verdict else "-"
    shown = f"`{strip(row)}`" if row.verdict else NOT_RUN
    why = f" (why: {row.reason})" if row.reason else ""
    remark = f" ({row.remark})" if row.remark else ""
    return row.label, f"{row.finding.plain}{why}{remark}", shown, f"{grid} / {claim}", declared
