"""Read records that several grids and figures share: each is parsed once per process.

A report reads the same folder for every grid, and again for every arm that a figure names. What is
remembered is a function of a file's bytes alone: the file is read each time, and other bytes are
parsed and their seal is checked, however alike names, sizes and times are. At most REMEMBERED
records are held (about 60 MB); in a larger folder they are parsed again.
"""

from functools import lru_cache
from pathlib import Path

from study.record.schema import Record
from study.record.store import parse_record, read_record

REMEMBERED = 1024

_remembered = lru_cache(maxsize=REMEMBERED)(parse_record)


def read_again(path: Path) -> Record:
    """Return the record in a file, to be looked at only: others get the same object.

    Errors: those of `read_record`.
    """
    return read_record(path, _remembered)
