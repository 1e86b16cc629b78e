"""Running sessions: which `study run` works below a results folder
and on what, for a second shell: <results>/present/<owner>.json.

The file is written when a grid starts and removed when it ends. If its process has ended, it was
killed: the file shows what was interrupted, and the next `study run` on this host removes it. These
files only decide what is shown and what `study clean` keeps.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from study.record.owner import alive, is_owner, owner
from study.record.store import Results, write_json


@dataclass(frozen=True)
class Session:
    """One `study run`. runs: all runs of its grid that were
    requested; stages: those it had to make.

    started: seconds since 1970.
    """

    owner: str
    grid: str
    scale: str
    started: float
    runs: list[str]
    stages: list[str]

    @property
    def alive(self) -> bool | None:
        """Whether its process runs; None on another host, where this is unknown."""
        return alive(self.owner) if is_owner(self.owner) else None


@contextlib.contextmanager
def present(
    results: Results, grid: str, scale: str, runs: Sequence[str], stages: Sequence[str]
) -> Iterator[None]:
    """Announce the session in the block.

    If the file cannot be written, for instance on a full disk, the run goes on.
    """
    path = folder(results) / f"{owner()}.json"
    with contextlib.suppress(OSError):
        _sweep(results)
        write_json(
            path, asdict(Session(owner(), grid, scale, time.time(), list(runs), list(stages)))
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sessions(results: Results) -> list[Session]:
    """Return running sessions, oldest first; unreadable files are skipped."""
    found: list[Session] = []
    for path in folder(results).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Session(**json.loads(path.read_bytes())))
    return sorted(found, key=lambda session: session.started)


def folder(results: Results) -> Path:
    return results.root / "present"


def _sweep(results: Results) -> None:
    for session in sessions(results):
        if session.alive is False:
            (folder(results) / f"{session.owner}.json").unlink(missing_ok=True)
