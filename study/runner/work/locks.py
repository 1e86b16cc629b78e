"""Locks: which process makes a task, so that two `study run` on one folder - also on two hosts -
share the work instead of doing it twice.

<results>/locks/<task>~<n> holds the name of its owner. It is created exclusively and complete (a
hard link), touched by its owner as a heartbeat, and removed at the end. A lock is dead if its
process on this host has ended or, for another host, if its heartbeat did not change for a lease on
*our* clock: the clocks of two hosts are never compared. A process that takes a task over removes
the dead lock and creates one with a new number.

An owner can be frozen for longer than its lease (a stalled file system, a paused machine) and wake
when another process makes its task. It must not disturb that process:

- A number is never used twice: `.last-<n>` keeps the largest that was removed. So the name of a
  lock belongs to one owner, and a late heartbeat or removal finds no file or its own.
- The owner is read before each heartbeat. A removal renames the lock to a private name, reads it
  there, and puts it back if it belongs to another process.
- A process that lost its lock gets `LockLost` before it next reports, checkpoints or seals, and
  stops.

Locks save work; results are correct without them. Two owners of one task would seal the same
artifact, and the first rename wins.
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
_TRIES = 5
_LAST = ".last-"


class LockLost(Exception):
    """Another process has taken the task over; this one must change nothing more."""


@dataclass(frozen=True)
class Holder:
    """A lock as found. `beat`: its heartbeat, of which only a change has a meaning."""

    path: Path
    owner: str
    beat: int


class Lock:
    """A lock that this process has created, with its heartbeat."""

    def __init__(self, path: Path, lease_s: float) -> None:
        self._path, self._owner = path, owner()
        self._every_s = lease_s / _BEATS_PER_LEASE
        self._ended = threading.Event()
        self._lost = False
        self._looked = time.monotonic()
        threading.Thread(target=self._beat, daemon=True).start()

    def held(self) -> bool:
        """Whether the lock still belongs to this process, according to the disk.

        If the file system does not answer, nothing is known and the work goes on.
        """
        if not self._lost:
            with contextlib.suppress(OSError):
                self._lost = _owner_of(self._path) != self._owner
        self._looked = time.monotonic()
        return not self._lost

    def check(self) -> None:
        """Raise LockLost if another process has taken the task over."""
        if not self.held():
            raise LockLost(self._path.name)

    def check_now_and_then(self) -> None:
        """Do the same for frequent calls: read the disk at most once per heartbeat."""
        if self._lost or time.monotonic() - self._looked > self._every_s:
            self.check()

    def release(self) -> None:
        """Remove the lock. If a full disk prevents it, the lock is
        dead once this process has ended.
        """
        self._ended.set()
        with contextlib.suppress(OSError):
            if self.held():
                _remove(self._path, self._owner)

    def _beat(self) -> None:
        while not self._ended.wait(self._every_s) and self.held():
            with contextlib.suppress(OSError):
                os.utime(self._path)


@contextmanager
def locked(locks: Path, task: str, lease_s: float) -> Iterator[Lock | None]:
    """Hold the lock on `task` in the block; yield None if another process holds it."""
    path = _acquire(locks, task)
    if path is None:
        yield None
        return
    lock = Lock(path, lease_s)
    try:
        yield lock
    finally:
        lock.release()


def holder(locks: Path, task: str) -> Holder | None:
    """Return the newest lock on a task."""
    for path in _of_task(locks, task):
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            return Holder(path, path.read_text().strip(), path.stat().st_mtime_ns)
    return None


def sweep_locks(locks: Path, is_done: Callable[[str], bool]) -> None:
    """Remove the locks of processes of this host that have ended, those on finished tasks, and
    unfinished ones.

    A finished task needs no protection. An unfinished lock of another host may be in use: its
    writer then tries again.
    """
    for path in locks.glob(".*~*.tmp"):
        name = path.name.split(".")[-2]
        if not (is_owner(name) and alive(name)):
            path.unlink(missing_ok=True)
    for path in locks.glob("*~*"):
        with contextlib.suppress(FileNotFoundError):
            found = Holder(path, path.read_text().strip(), 0)
            if _is_dead(found) or is_done(path.name.rpartition("~")[0]):
                _remove(path, found.owner)


class Watch:
    """What one process has seen of other locks, to tell a slow owner from a dead one."""

    def __init__(
        self, locks: Path, lease_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._locks, self._lease_s, self._now = locks, lease_s, now
        self._seen: dict[Path, tuple[int, float]] = {}

    def held(self, task: str) -> bool:
        """Whether another process works on the task. A dead lock is removed."""
        now = self._now()  # before the look, because this process can also be frozen in between
        found = holder(self._locks, task)
        if found is None:
            return False
        if _is_dead(found) or self._did_not_beat(found, now):
            _remove(found.path, found.owner)
            return False
        return True

    def _did_not_beat(self, found: Holder, now: float) -> bool:
        beat, since = self._seen.get(found.path, (None, 0.0))
        if beat != found.beat:
            self._seen[found.path] = (found.beat, self._now())
            return False
        visible = is_owner(found.owner) and alive(found.owner)
        return not visible and now - since > self._lease_s


def _acquire(locks: Path, task: str) -> Path | None:
    locks.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):
        found = holder(locks, task)
        if found is not None:
            if not _is_dead(found):
                return None
            _remove(found.path, found.owner)
        path = locks / f"{task}~{_next_number(locks, task)}"
        if not _create(path):
            continue
        if _is_alone(path, task):
            return path
        _remove(path, owner())
    return None


def _create(path: Path) -> bool:
    """Create a lock of this process, complete at once; False if the name is taken."""
    temporary = path.with_name(f".{path.name}.{owner()}.tmp")
    temporary.write_text(owner())
    try:
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):
        # Taken by another process, or removed before it was complete.
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _is_alone(path: Path, task: str) -> bool:
    """Whether a new lock counts.

    A process that was frozen between its look and its link can come late: then another lock is
    there, or its number was used meanwhile.
    """
    return _of_task(path.parent, task) == [path] and _number(path) > _last_number(path.parent)


def _remove(path: Path, its_owner: str) -> None:
    """Remove the lock of one owner. Its number is stored first, so that it is never used again."""
    _note_number(path.parent, _number(path))
    private = path.with_name(f".{path.name}.{owner()}.tmp")
    try:
        path.rename(private)
    except FileNotFoundError:
        return
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        if private.read_text().strip() != its_owner:
            os.link(private, path)
    private.unlink(missing_ok=True)


def _is_dead(found: Holder) -> bool:
    """Whether a lock is known to be dead at once, without watching its heartbeat."""
    return is_owner(found.owner) and alive(found.owner) is False


def _owner_of(path: Path) -> str | None:
    """Return the owner that a lock names; None if it is gone. Raises other OSErrors."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def _of_task(locks: Path, task: str) -> list[Path]:
    """Return the locks on a task, newest first."""
    return sorted(locks.glob(f"{task}~*"), key=_number, reverse=True)


def _next_number(locks: Path, task: str) -> int:
    numbers = [_number(path) for path in _of_task(locks, task)]
    return max([_last_number(locks), *numbers]) + 1


def _last_number(locks: Path) -> int:
    """Return the largest number of a removed lock; 0 before the first."""
    return max((_noted(path) for path in locks.glob(f"{_LAST}*")), default=0)


def _note_number(locks: Path, number: int) -> None:
    """Store a number. Only the largest one counts, so a late write does no harm."""
    if number <= _last_number(locks):
        return
    (locks / f"{_LAST}{number}").touch()
    for path in locks.glob(f"{_LAST}*"):
        if _noted(path) < number:
            path.unlink(missing_ok=True)


def _noted(path: Path) -> int:
    digits = path.name.removeprefix(_LAST)
    return int(digits) if digits.isdecimal() else 0


def _number(path: Path) -> int:
    digits = path.name.rpartition("~")[2]
    return int(digits) if digits.isdecimal() else 0
