"""Claims: which process makes a task, so that two `study run` on one folder - also on two hosts -
share the work instead of doing it twice.

<results>/claims/<task>~<n>: created exclusively, whole at once (a hard link), touched by its holder
as a heartbeat, removed at the end. A claim is dead when its process on this host is gone or, for
another host, when its heartbeat stood still for a lease on *our* clock: the clocks of two hosts are
never compared. A dead claim is taken over by removing it.

Claims save work; they are not what keeps results right. Two holders of one task would seal the same
artifact, and the first rename stays.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from study.record.owner import alive, is_owner, owner

_BEATS_PER_LEASE = 6


@dataclass(frozen=True)
class Holder:
    """A claim as it was found. `beat`: its heartbeat, which means nothing but by its change."""

    path: Path
    owner: str
    beat: int


def holder(claims: Path, task: str) -> Holder | None:
    """The newest claim on a task."""
    for path in sorted(claims.glob(f"{task}~*"), key=_number, reverse=True):
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            return Holder(path, path.read_text().strip(), path.stat().st_mtime_ns)
    return None


@contextmanager
def claimed(claims: Path, task: str, lease_s: float) -> Iterator[bool]:
    """Holds the claim on `task` with a heartbeat while the block runs; False when another process
    holds it.
    """
    path = _acquire(claims, task)
    if path is None:
        yield False
        return
    ended = threading.Event()
    threading.Thread(
        target=_beat, args=(path, lease_s / _BEATS_PER_LEASE, ended), daemon=True
    ).start()
    try:
        yield True
    finally:
        ended.set()
        path.unlink(missing_ok=True)


def _acquire(claims: Path, task: str) -> Path | None:
    claims.mkdir(parents=True, exist_ok=True)
    found = holder(claims, task)
    if found is not None:
        if not _is_dead(found):
            return None
        found.path.unlink(missing_ok=True)
    path = claims / f"{task}~{_number(found.path) + 1 if found else 1}"
    temporary = claims / f".{task}.{owner()}.tmp"
    temporary.write_text(owner())
    try:
        os.link(temporary, path)
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _is_dead(found: Holder) -> bool:
    """Whether that can be said at once, without watching its heartbeat."""
    return is_owner(found.owner) and alive(found.owner) is False


def _beat(path: Path, every_s: float, ended: threading.Event) -> None:
    while not ended.wait(every_s):
        with contextlib.suppress(
            OSError
        ):  # taken over, or a file system in trouble: the work itself goes on
            os.utime(path)


class Watch:
    """What one process has seen of the claims of others, to tell a slow one from a dead one."""

    def __init__(
        self, claims: Path, lease_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._claims, self._lease_s, self._now = claims, lease_s, now
        self._seen: dict[Path, tuple[int, float]] = {}

    def held(self, task: str) -> bool:
        """Whether another process is at work on the task. A dead claim is removed."""
        found = holder(self._claims, task)
        if found is None:
            return False
        if _is_dead(found) or self._stood_still(found):
            found.path.unlink(missing_ok=True)
            return False
        return True

    def _stood_still(self, found: Holder) -> bool:
        beat, since = self._seen.get(found.path, (None, 0.0))
        if beat != found.beat:
            self._seen[found.path] = (found.beat, self._now())
            return False
        visible = is_owner(found.owner) and alive(found.owner)
        return not visible and self._now() - since > self._lease_s


def _number(path: Path) -> int:
    return int(path.name.rpartition("~")[2])
