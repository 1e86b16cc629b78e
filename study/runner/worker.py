"""The life of a worker process: one task, its log, its progress, its outcome. Only here is the code that trains and evaluates imported."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from study.errors import StudyError
from study.record import provenance
from study.record.store import Results, write_json
from study.runner.execute import RunPlan, Work, execute_run, execute_stage, load
from study.runner.stages import StageNode

provenance.code_hash()  # kept from here on: what runs is what was imported, even when files change while a grid runs

Payload = StageNode | RunPlan
_STATUS_EVERY_S, _MESSAGE_EVERY_S = 1.0, 0.2


@dataclass(frozen=True)
class Progress:
    task: str
    phase: str
    done: int
    total: int
    latest: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Finished:
    task: str
    wall_s: float


@dataclass(frozen=True)
class Failed:
    task: str
    error: str
    hint: str = ""
    trace: str = ""


Event = Progress | Finished | Failed


def task_id(payload: Payload) -> str:
    return payload.id if isinstance(payload, StageNode) else payload.run_id


def task_folder(payload: Payload, results: Results) -> Path:
    """Where log.txt, status.json and failure.json of a task lie."""
    return results.stage(payload.id) if isinstance(payload, StageNode) else results.run(payload.run_id)


def work(payload: Payload, results: Results, entry: Work, channel: Connection) -> None:
    """The whole life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides and sends SIGTERM
    signal.signal(signal.SIGTERM, _leave)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # held by the server, and inherited
    threading.Thread(target=_die_with_parent, daemon=True).start()
    folder = task_folder(payload, results)
    _redirect_output(folder / "log.txt")
    reporter = Reporter(task_id(payload), folder / "status.json", channel)
    started = time.monotonic()
    try:
        reporter("starting", 0, 1, {})
        _one_thread(entry)
        if isinstance(payload, StageNode):
            execute_stage(payload, results, entry, reporter)
        else:
            execute_run(payload, results, entry, reporter)
        outcome: Event = Finished(task_id(payload), time.monotonic() - started)
    except StudyError as error:
        outcome = Failed(task_id(payload), error.message, error.hint, traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - a cell may fail in any way; its reason goes to the parent and the grid goes on
        outcome = Failed(task_id(payload), f"{type(error).__name__}: {error}", "", traceback.format_exc())
    finally:
        (folder / "status.json").unlink(missing_ok=True)
    if isinstance(outcome, Failed):
        sys.stderr.write(outcome.trace)
        sys.stderr.flush()
    with contextlib.suppress(BrokenPipeError):
        channel.send(outcome)


def _leave(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)  # through `finally`: partial folders go


def _die_with_parent() -> None:
    """A worker whose parent was killed must not go on computing for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _redirect_output(path: Path) -> None:
    """Everything that the worker or a library in it prints goes to its log, also from C."""
    with path.open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _one_thread(entry: Work) -> None:
    """The environment's thread count does not bind a torch that was imported before; its own setting does."""
    load(entry.build)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


class Reporter:
    """Progress of one task, to the parent at once and to status.json about once a second, so that a second shell can read it."""

    def __init__(self, task: str, path: Path, channel: Connection) -> None:
        self._task, self._path, self._channel = task, path, channel
        self._started = time.time()
        self._phase, self._phase_started, self._written, self._sent = "", self._started, 0.0, 0.0
        self._latest: dict[str, float] = {}

    def __call__(self, phase: str, done: int, total: int, latest: dict[str, float]) -> None:
        now = time.time()
        if phase != self._phase:
            self._phase, self._phase_started = phase, now
        self._latest |= latest
        last = done >= total
        if last or now - self._sent > _MESSAGE_EVERY_S:
            self._sent = now
            self._channel.send(Progress(self._task, phase, done, total, dict(self._latest)))
        if last or now - self._written > _STATUS_EVERY_S:
            self._written = now
            write_json(self._path, self._status(now, done, total))

    def _status(self, now: float, done: int, total: int) -> dict[str, object]:
        eta = (now - self._phase_started) / done * (total - done) if done else None
        return {
            "task": self._task,
            "pid": os.getpid(),
            "started": self._started,
            "updated": now,
            "phase": self._phase,
            "done": done,
            "total": total,
            "eta_s": None if eta is None else round(eta, 1),
            "latest": self._latest,
        }


def tasks_running(results: Results) -> Sequence[Path]:
    """The status files of tasks at work below a results folder."""
    return sorted([*results.root.glob("stages/*/status.json"), *results.runs.glob("*/status.json")])
