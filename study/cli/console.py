"""The one place that prints. Plain lines when the output is not a terminal; colour and a live
status line when it is.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

_STYLES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}
_status_shown = False


def is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def width() -> int:
    """Columns to fill: the terminal's, else wide enough that piped tables are never cut."""
    return shutil.get_terminal_size().columns if is_terminal() else 400


def styled(text: str, style: str) -> str:
    """style: good, bad, warn, dim or bold. Unchanged when nobody would see it."""
    if not is_terminal() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def say(text: str = "", style: str | None = None) -> None:
    """One or more finished lines on standard output."""
    _clear_status()
    _emit(f"{styled(text, style) if style else text}\n")


def warn(text: str) -> None:
    """A message on standard error, beside the output proper."""
    _clear_status()
    _emit(f"{text}\n", sys.stderr)


def status(text: str) -> None:
    """A line that the next one replaces. Off a terminal it is not shown: logs hold finished lines
    only.
    """
    global _status_shown
    if is_terminal():
        _clear_status()
        _emit(text[: width() - 1])
        _status_shown = True


def _emit(text: str, stream: TextIO | None = None) -> None:
    print(text, end="", file=stream or sys.stdout, flush=True)  # the one print


def _clear_status() -> None:
    global _status_shown
    if _status_shown:
        _emit("\r\x1b[2K")
        _status_shown = False


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()
) -> None:
    """Aligned columns, two spaces apart. right: indices of right-aligned columns; the last column
    is cut at the terminal's edge.
    """
    for number, line in enumerate(aligned(headers, rows, right)):
        say(line, "bold" if number == 0 else None)


def aligned(
    headers: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()
) -> list[str]:
    """The lines of a table, its headers first."""
    cells = [list(headers), *[[str(value) for value in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = [
        "  ".join(
            v.rjust(w) if i in right else v.ljust(w)
            for i, (v, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return [_fitted(line.rstrip()) for line in lines]


@contextmanager
def redrawn() -> Iterator[Callable[[Sequence[str]], None]]:
    """A block of lines that the next one replaces, gone at the end.

    Off a terminal every block that is new is printed below the last.
    """
    if not is_terminal():
        shown: list[list[str]] = []
        yield lambda lines: _say_once(list(lines), shown)
        return
    with Live(console=Console(), transient=True, auto_refresh=False) as live:
        yield lambda lines: live.update(Text("\n".join(lines)), refresh=True)


def _say_once(lines: list[str], shown: list[list[str]]) -> None:
    if shown[-1:] != [lines]:
        shown[:] = [lines]
        say("\n".join(lines))


def _fitted(line: str) -> str:
    return line if len(line) <= width() else line[: width() - 1] + "…"


def duration(seconds: float) -> str:
    """A time a person can plan with: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
