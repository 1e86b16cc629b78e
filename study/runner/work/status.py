"""Show what runs below a results folder now, from the files that workers write: no lock is taken,
nothing is changed.

A task is a stage or a run. It is running if its status.json exists; `silent_s` is the time since
its last sign of life. Clocks of other hosts may differ from ours: a negative time is shown as 0.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from study.record.owner import alive, host, is_owner
from study.record.store import Results
from study.runner.work.artifacts import MANIFEST
from study.runner.work.reporter import tasks_running
from study.runner.work.sessions import Session, sessions


@dataclass(frozen=True)
class AtWork:
    """One running task. alive: None if its process is on another host."""

    task: str
    phase: str
    done: int
    total: int
    eta_s: float | None
    silent_s: float
    alive: bool | None
    latest: dict[str, float]


@dataclass(frozen=True)
class Count:
    """Tasks of one kind (runs, or stages) of a session."""

    done: int
    running: int
    failed: int
    waiting: int

    @property
    def total(self) -> int:
        return self.done + self.running + self.failed + self.waiting


@dataclass(frozen=True)
class Foreign:
    """A task whose lock another host holds. beat_s: age of its
    heartbeat by the clock of the file system.
    """

    task: str
    host: str
    beat_s: float


@dataclass(frozen=True)
class Snapshot:
    results: Results
    sessions: tuple[Session, ...]
    tasks: tuple[AtWork, ...]
    foreign: tuple[Foreign, ...]
    now: float

    @cached_property
    def busy(self) -> bool:
        """Whether something still runs, as far as this host can see."""
        others = any(session.alive is None for session in self.sessions) and bool(self.foreign)
        return (
            any(task.alive is not False for task in self.tasks)
            or any(session.alive for session in self.sessions)
            or others
        )

    def runs(self, session: Session) -> Count:
        return self._count(
            session,
            session.runs,
            [self.results.record(run).is_file() for run in session.runs],
            "runs",
        )

    def stages(self, session: Session) -> Count:
        return self._count(
            session,
            session.stages,
            [(self.results.artifact(stage) / MANIFEST).is_file() for stage in session.stages],
            "stages",
        )

    def _count(
        self, session: Session, ids: Sequence[str], made: Sequence[bool], place: str
    ) -> Count:
        done = {name for name, is_done in zip(ids, made, strict=True) if is_done}
        running = {task.task for task in self.tasks if task.alive is not False} & set(ids) - done
        root = self.results.root / place
        failed = {
            name
            for name in ids
            if name not in done | running
            and _failed_since(root / name / "failure.json", session.started)
        }
        return Count(
            len(done), len(running), len(failed), len(ids) - len(done) - len(running) - len(failed)
        )


def _failed_since(path: Path, started: float) -> bool:
    """Whether a failure belongs to this session: a failed task
    of an earlier session is being tried again.
    """
    with contextlib.suppress(OSError):
        return path.stat().st_mtime >= started - 2  # clocks of file systems are coarse
    return False


def snapshot(results: Results) -> Snapshot:
    now = time.time()
    tasks = [task for path in tasks_running(results) if (task := _at_work(path, now))]
    return Snapshot(
        results, tuple(sessions(results)), tuple(tasks), tuple(_foreign(results, now)), now
    )


def _at_work(path: Path, now: float) -> AtWork | None:
    """Read a status file; None if it vanished or was incomplete: the task has finished or will be
    seen next time.
    """
    try:
        status: dict[str, Any] = json.loads(path.read_bytes())
        return AtWork(
            task=str(status["task"]),
            phase=str(status["phase"]),
            done=int(status["done"]),
            total=int(status["total"]),
            eta_s=None if status["eta_s"] is None else float(status["eta_s"]),
            silent_s=max(0.0, now - float(status["updated"])),
            alive=_alive(str(status.get("owner", ""))),
            latest=dict(status["latest"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(name: str) -> bool | None:
    return alive(name) if is_owner(name) else None


def _foreign(results: Results, now: float) -> list[Foreign]:
    found: list[Foreign] = []
    for path in sorted(results.locks.glob("*~*")):
        with contextlib.suppress(OSError):  # released meanwhile
            name = path.read_text().strip()
            if is_owner(name) and not name.startswith(f"{host()}-"):
                found.append(
                    Foreign(
                        path.name.rpartition("~")[0],
                        name.partition("-")[0],
                        max(0.0, now - path.stat().st_mtime),
                    )
                )
    return found
