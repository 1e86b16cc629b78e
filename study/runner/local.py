"""The local engine: one forked process a task, from a server that has imported the trainer once, one torch thread each.

A fork of the preloaded server starts in milliseconds where a cold trainer import costs 5 to 6 s. A process a task keeps memory and faults
apart: a worker that is killed takes one task with it. Workers end when the parent does, however it ends.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from study.errors import StudyError
from study.record.store import Results, write_json
from study.runner.execute import RunPlan, Work, execute_run, execute_stage, load
from study.runner.stages import StageNode

Payload = StageNode | RunPlan
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_STATUS_EVERY_S = 1.0


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


class LocalEngine:
    """Runs up to `jobs` tasks at once. An engine has `free`, `start`, `events` and `stop`; the schedule knows nothing else of it."""

    def __init__(self, results: Results, work: Work, jobs: int) -> None:
        for name in _THREADS:  # before the server starts: OpenMP reads them once
            os.environ[name] = "1"
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(work.modules)
        self._results, self._work, self._jobs = results, work, jobs
        self._workers: dict[Connection, _Worker] = {}
        self._stillborn: list[Event] = []
        with _signals_held():  # Ctrl-C reaches the whole group: it must not end the server in the middle of an import
            forkserver.ensure_running()
        self._warming = threading.Thread(target=self._warm_up, daemon=True)
        self._warming.start()

    def _warm_up(self) -> None:
        """The first fork waits until the server has imported the trainer; in a thread, so that the loop stays awake meanwhile."""
        process = self._context.Process(target=_nothing, daemon=True)
        with contextlib.suppress(OSError, EOFError):  # a server that does not live is reported by the first real start
            process.start()
            process.join()

    @property
    def free(self) -> int:
        return 0 if self._warming.is_alive() else self._jobs - len(self._workers)

    def start(self, payload: Payload) -> None:
        folder = task_folder(payload, self._results)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.json").unlink(missing_ok=True)
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(payload, self._results, self._work, sender), name=task_id(payload))
        try:
            process.start()
        except (OSError, EOFError) as error:
            self._stillborn.append(Failed(task_id(payload), f"no worker could be started: {type(error).__name__}: {error}"))
            return
        finally:
            sender.close()  # ours: its end then closes with the worker
        self._workers[receiver] = _Worker(task_id(payload), process)

    def events(self, timeout: float) -> list[Event]:
        """What happened until now; waits at most `timeout` seconds for the first event."""
        events, self._stillborn = self._stillborn, []
        if not self._workers:
            self._warming.join(timeout)
            return events
        for channel in wait(list(self._workers), timeout):
            assert isinstance(channel, Connection)
            events += self._receive(channel)
        return events

    def _receive(self, channel: Connection) -> list[Event]:
        worker = self._workers[channel]
        try:
            event: Event = channel.recv()
        except (EOFError, ConnectionResetError):
            return [self._reap(channel, Failed(worker.task, _death(worker.process)))]
        return [event] if isinstance(event, Progress) else [self._reap(channel, event)]

    def _reap(self, channel: Connection, event: Event) -> Event:
        worker = self._workers.pop(channel)
        channel.close()
        worker.process.join()
        if isinstance(event, Failed) and not event.error:
            event = Failed(worker.task, _death(worker.process))
        worker.process.close()
        return event

    def stop(self) -> None:
        """End every worker: asked first, killed after five seconds."""
        processes = [worker.process for worker in self._workers.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + 5
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for channel in self._workers:
            channel.close()
        self._workers.clear()


@dataclass(frozen=True)
class _Worker:
    task: str
    process: BaseProcess


def _nothing() -> None:
    """What the first fork does."""


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the end of the block; a process started in it never gets them unless it asks for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _death(process: BaseProcess) -> str:
    process.join()
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"the worker was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"the worker ended without a result (exit code {code})"


def _work(payload: Payload, results: Results, work: Work, channel: Connection) -> None:
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
        _one_thread(work)
        if isinstance(payload, StageNode):
            execute_stage(payload, results, work, reporter)
        else:
            execute_run(payload, results, work, reporter)
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


def _one_thread(work: Work) -> None:
    """The environment's thread count does not bind a torch that was imported before; its own setting does."""
    load(work.build)
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
        if last or now - self._sent > 0.2:
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
