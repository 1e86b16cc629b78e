"""Read records that several grids and figures share: where asked for, each is parsed once.

A report reads the same folder for every grid, and again for every arm that a figure names. What is
remembered is a function of a file's bytes alone: the file is read each time, and other bytes are
parsed and their seal is checked, however alike names, sizes and times are. At most REMEMBERED
records are held (about 40 MB); in a larger folder they are parsed again. A command that loads one
grid remembers nothing: holding the records would take longer than it saves.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from study.record.schema import Record
from study.record.store import parse_record, read_record

REMEMBERED = 1024

_parse: ContextVar[Callable[[bytes], Record]] = ContextVar("_parse", default=parse_record)


@contextmanager
def each_parsed_once() -> Iterator[None]:
    """Remember the records that are read inside of the block."""
    token = _parse.set(lru_cache(maxsize=REMEMBERED)(parse_record))
    try:
        yield
    finally:
        _parse.reset(token)


def read_again(path: Path) -> Record:
    """Return the record in a file, to be looked at only: other readers get the same object.

    Errors: those of `read_record`.
    """
    return read_record(path, _parse.get())
