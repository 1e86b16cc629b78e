"""Everything that the command line prints: rich on a terminal, plain whole lines in a pipe."""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.table import Table
from rich.text import Text

_STYLES = {"good": "green", "bad": "red", "warn": "yellow", "dim": "dim", "bold": "bold"}
_status_shown = False


def is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def width() -> int:
    """Return the columns to fill: those of the terminal; in a pipe enough that nothing is cut."""
    return shutil.get_terminal_size().columns if is_terminal() else 400


def screen() -> Console:
    """Return rich's view of standard output as it is now: rich asks for a terminal only once."""
    return Console(highlight=False, markup=False, emoji=False)


def styled(text: str, style: str) -> str:
    """Colour a text for a terminal; style: good, bad, warn, dim or bold. Plain elsewhere."""
    if not is_terminal() or "NO_COLOR" in os.environ:
        return text
    return Style.parse(_STYLES[style]).render(text)


def say(text: str = "", style: str | None = None) -> None:
    """Print one or more finished lines on standard output."""
    _clear_status()
    _emit(f"{styled(text, style) if style else text}\n")


def warn(text: str) -> None:
    """Print a message on standard error, apart from the results."""
    _clear_status()
    _emit(f"{text}\n", sys.stderr)


def status(text: str) -> None:
    """Show a line that the next one replaces. Logs hold finished lines only: not shown there."""
    global _status_shown
    if is_terminal():
        _clear_status()
        _emit(text[: width() - 1])
        _status_shown = True


def _emit(text: str, stream: TextIO | None = None) -> None:
    print(text, end="", file=stream or sys.stdout, flush=True)  # the only print


def _clear_status() -> None:
    global _status_shown
    if _status_shown:
        _emit("\r\x1b[2K")
        _status_shown = False


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Sequence[int] = (),
    *,
    drop: Sequence[str] = (),
    head: int = 0,
    head_names: bool = False,
) -> None:
    """Print a table. right: indices of the right-aligned columns.

    For a terminal that is too narrow: drop names the columns to leave out, the least important
    first; head stacks each row, its first `head` cells above the others; head_names prints the
    names of these cells above all rows.
    """
    cells = [[str(value) for value in row] for row in rows]
    if not is_terminal() or _needed(headers, cells) <= width():
        say("\n".join(aligned(headers, cells, right)))
        return
    if head:
        if head_names:
            say("  ".join(headers[:head]), "bold")
        say("\n".join(_stacked(headers, cells, head)))
        return
    left_out = _columns_to_drop(headers, cells, drop)
    kept = [number for number, name in enumerate(headers) if name not in left_out]
    shown = [[row[number] for number in kept] for row in cells]
    at_right = [place for place, number in enumerate(kept) if number in right]
    say("\n".join(aligned([headers[number] for number in kept], shown, at_right)))
    if left_out:
        say(f"left out at {width()} columns: {', '.join(left_out)}", "dim")


def _needed(headers: Sequence[str], cells: list[list[str]]) -> int:
    """Return the columns that a table takes without folding."""
    lines = [list(headers), *cells]
    widest = [
        max(Text.from_ansi(text).cell_len for text in column) for column in zip(*lines, strict=True)
    ]
    return sum(widest) + 2 * (len(widest) - 1)


def _columns_to_drop(
    headers: Sequence[str], cells: list[list[str]], drop: Sequence[str]
) -> list[str]:
    """Return as many names of `drop` as it takes for the others to fit."""
    left_out: list[str] = []
    for name in drop:
        kept = [number for number, header in enumerate(headers) if header not in left_out]
        shown = [[row[number] for number in kept] for row in cells]
        if _needed([headers[number] for number in kept], shown) <= width():
            break
        left_out.append(name)
    return left_out


def _stacked(headers: Sequence[str], cells: list[list[str]], head: int) -> list[str]:
    """Return each row as one line of its first cells, and the others below with their names.

    A sole cell below needs no name.
    """
    lines: list[str] = []
    for row in cells:
        lines.append("  ".join(text for text in row[:head] if text))
        named = [
            f"{name}: {text}" if len(headers) > head + 1 else text
            for name, text in zip(headers[head:], row[head:], strict=True)
            if text
        ]
        lines += textwrap.wrap(
            "; ".join(named),
            width() - 1,
            initial_indent="    ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return lines


def aligned(
    headers: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()
) -> list[str]:
    """Return the lines of a table, its headers first.

    On a terminal rich folds long cells into its width; in a pipe every row is one whole line.
    """
    cells = [[str(value) for value in row] for row in rows]
    if is_terminal():
        return _folded(headers, cells, right)
    return _plain([list(headers), *cells], right)


def _folded(headers: Sequence[str], cells: list[list[str]], right: Sequence[int]) -> list[str]:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, header in enumerate(headers):
        if number in right:
            grid.add_column(header, justify="right")
        else:
            grid.add_column(header, overflow="fold")
    for row in cells:
        grid.add_row(*map(Text.from_ansi, row))
    rich = screen()
    with rich.capture() as captured:
        rich.print(grid)
    return [line.rstrip() for line in captured.get().splitlines()]


def _plain(cells: list[list[str]], right: Sequence[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[str] = []
    for row in cells:
        padded = [
            value.rjust(size) if number in right else value.ljust(size)
            for number, (value, size) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


@contextmanager
def redrawn() -> Iterator[Callable[[Sequence[str]], None]]:
    """Show a block of lines that the next one replaces; remove it at the end.

    Off a terminal every new block is printed below the last one.
    """
    if not is_terminal():
        shown: list[list[str]] = []
        yield lambda lines: _say_once(list(lines), shown)
        return
    with Live(console=screen(), transient=True, auto_refresh=False) as live:
        yield lambda lines: live.update(Text.from_ansi("\n".join(lines)), refresh=True)


def _say_once(lines: list[str], shown: list[list[str]]) -> None:
    if shown[-1:] != [lines]:
        shown[:] = [lines]
        say("\n".join(lines))


def duration(seconds: float) -> str:
    """Format a time for planning: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
