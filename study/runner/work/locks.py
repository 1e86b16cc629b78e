"""Locks: which process makes a task, so that two `study run` on one folder - also on two hosts -
share the work instead of doing it twice.

<results>/locks/<task>~<n> holds the name of its owner. It is created exclusively and whole (a hard
link), touched by its owner as a heartbeat, and removed at the end. A lock is dead when its process
on this host is gone or, for another host, when its heartbeat did not change for a lease on *our*
clock: the clocks of two hosts are never compared. Who takes a task over removes the dead lock and
creates one with a new number.

An owner can be frozen for longer than its lease (a stalled file system, a paused machine) and wake
when another process makes its task. It must not disturb that process:

- A number is never used twice: `.last-<n>` keeps the largest that was removed. So the name of a
  lock belongs to one owner, and a late heartbeat or removal finds no file or its own.
- The owner is read before each heartbeat. A removal renames the lock to a private name, reads it
  there, and puts it back if it is another's.
- Who lost its lock gets `LockLost` before it next reports, checkpoints or seals, and stops.

Locks save work; they are not what keeps results right. Two owners of one task would seal the same
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
_TRIES = 5
_LAST = ".last-"


class LockLost(Exception):
    """Another process has taken the task over; this one leaves everything as it is."""


@dataclass(frozen=True)
class Holder:
    """A lock as it was found. `beat`: its heartbeat, which means nothing but by its change."""

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
        """Whether the lock is still this process's own, as the disk says now.

        A file system that does not answer says nothing: the work goes on.
        """
        if not self._lost:
            with contextlib.suppress(OSError):
                self._lost = _owner_of(self._path) != self._owner
        self._looked = time.monotonic()
        return not self._lost

    def check(self) -> None:
        """Raise LockLost when another process has taken the task over."""
        if not self.held():
            raise LockLost(self._path.name)

    def check_now_and_then(self) -> None:
        """The same for calls that come often: the disk is read once per heartbeat at most."""
        if self._lost or time.monotonic() - self._looked > self._every_s:
            self.check()

    def release(self) -> None:
        """Remove the lock. One that a full disk keeps is dead once this process has ended."""
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
    """Hold the lock on `task` while the block runs; None when another process holds it."""
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
    """The newest lock on a task."""
    for path in _of_task(locks, task):
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            return Holder(path, path.read_text().strip(), path.stat().st_mtime_ns)
    return None


def sweep_locks(locks: Path, is_done: Callable[[str], bool]) -> None:
    """Remove the locks of processes of this host that are gone, those on tasks that are done, and
    unfinished ones.

    On a done task nothing is left to protect. An unfinished lock of another host may be in use: its
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
    """What one process has seen of the locks of others, to tell a slow owner from a dead one."""

    def __init__(
        self, locks: Path, lease_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._locks, self._lease_s, self._now = locks, lease_s, now
        self._seen: dict[Path, tuple[int, float]] = {}

    def held(self, task: str) -> bool:
        """Whether another process is at work on the task. A dead lock is removed."""
        now = self._now()  # before the look: this process, too, can be frozen in between
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
    """Create a lock of this process, whole at once; False when the name is taken."""
    temporary = path.with_name(f".{path.name}.{owner()}.tmp")
    temporary.write_text(owner())
    try:
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):  # taken by another, or swept before it was whole
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
    """Remove the lock of one owner. Its number is noted first, so that it never comes back."""
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
    """Whether that can be said at once, without watching its heartbeat."""
    return is_owner(found.owner) and alive(found.owner) is False


def _owner_of(path: Path) -> str | None:
    """The owner that a lock names; None when it is gone. Raises other OSErrors."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def _of_task(locks: Path, task: str) -> list[Path]:
    """The locks on a task, newest first."""
    return sorted(locks.glob(f"{task}~*"), key=_number, reverse=True)


def _next_number(locks: Path, task: str) -> int:
    numbers = [_number(path) for path in _of_task(locks, task)]
    return max([_last_number(locks), *numbers]) + 1


def _last_number(locks: Path) -> int:
    """The largest number of a lock that was removed; 0 before the first."""
    return max((_noted(path) for path in locks.glob(f"{_LAST}*")), default=0)


def _note_number(locks: Path, number: int) -> None:
    """Only the largest note counts, so one that is written late does no harm."""
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
