"""Report the progress of a task to the parent process, and to status.json for a second shell."""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from study.record.owner import owner
from study.record.store import Results, write_json
from study.runner.work.worker import Progress

_STATUS_EVERY_S, _MESSAGE_EVERY_S = 1.0, 0.2


class Reporter:
    """Progress of one task, sent to the parent at once and
    written to status.json about once a second.
    """

    def __init__(self, task: str, path: Path, channel: Connection | None = None) -> None:
        self._task, self._path, self._channel = task, path, channel
        self._started = time.time()
        self._phase, self._phase_started, self._phase_from, self._written, self._sent = (
            "",
            self._started,
            0,
            0.0,
            0.0,
        )
        self._latest: dict[str, float] = {}

    def __call__(self, phase: str, done: int, total: int, latest: dict[str, float]) -> None:
        now = time.time()
        if phase != self._phase:
            self._phase, self._phase_started, self._phase_from = phase, now, done
        self._latest |= latest
        last = done >= total
        if self._channel is not None and (last or now - self._sent > _MESSAGE_EVERY_S):
            self._sent = now
            self._channel.send(Progress(self._task, phase, done, total, dict(self._latest)))
        if last or now - self._written > _STATUS_EVERY_S:
            self._written = now
            with contextlib.suppress(OSError):  # a failed progress line must never fail a run
                write_json(self._path, self._status(now, done, total))

    def _status(self, now: float, done: int, total: int) -> dict[str, object]:
        new = done - self._phase_from  # a continued stage begins in the middle
        eta = (now - self._phase_started) / new * (total - done) if new > 0 else None
        return {
            "task": self._task,
            "pid": os.getpid(),
            "owner": owner(),
            "started": self._started,
            "updated": now,
            "phase": self._phase,
            "done": done,
            "total": total,
            "eta_s": None if eta is None else round(eta, 1),
            "latest": self._latest,
        }

    def close(self) -> None:
        """Remove status.json, unless another process has taken the task over and reports there."""
        with contextlib.suppress(OSError, ValueError):
            page = json.loads(self._path.read_bytes())
            if isinstance(page, dict) and page.get("owner") == owner():
                self._path.unlink(missing_ok=True)


def tasks_running(results: Results) -> Sequence[Path]:
    """Return the status files of running tasks below a results folder."""
    return sorted([*results.root.glob("stages/*/status.json"), *results.runs.glob("*/status.json")])
