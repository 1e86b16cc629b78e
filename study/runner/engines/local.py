"""The local engine: one forked process per task, from a server that has imported the trainer once,
with one torch thread each.

A fork of the preloaded server starts in milliseconds; a fresh import of the trainer takes 5 to 6 s.
With one process per task, memory and faults are separate: a killed worker loses one task only, and
a worker that reports nothing for `silent_s` is killed. Workers end when the parent ends, also if it
is killed. Tasks are packed by the processor cores and GPUs that the profile declares for them.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from study.record.store import Results
from study.runner.engines.devices import Slots, require, visible_gpus
from study.runner.engines.launcher import work_launched
from study.runner.engines.local_worker import work
from study.runner.work.code_copy import copy_code, imported_first
from study.runner.work.execute import Work
from study.runner.work.worker import (
    Event,
    Failed,
    Payload,
    Progress,
    task_folder,
    task_id,
    task_kind,
)
from study.spec.machine.profile import Profile

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class LocalEngine:
    """Run up to `jobs` tasks at once.

    An engine has `fits`, `start`, `events` and `stop`; the schedule uses nothing else of it.
    """

    def __init__(
        self, results: Results, entry: Work, jobs: int, profile: Profile | None = None
    ) -> None:
        for name in _THREADS:  # before the server starts, because OpenMP reads them once
            os.environ[name] = "1"
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._context = multiprocessing.get_context("forkserver")
        # From Python 3.12.8 on, preloading __main__ saves each fork from importing it.
        self._context.set_forkserver_preload(
            ["study.runner.engines.local_worker", *entry.modules, "__main__"]
        )
        self._results, self._entry, self._profile = results, entry, profile or Profile()
        self._code = copy_code(results)
        self._slots = Slots(jobs, visible_gpus(self._profile))
        self._workers: dict[Connection, _Worker] = {}
        self._stillborn: list[Event] = []
        # start it first, because it unblocks signals while it starts
        resource_tracker.ensure_running()
        # Ctrl-C reaches the whole process group. It must not end the server in the middle of an
        # import.
        with _signals_held(), imported_first(self._code):
            forkserver.ensure_running()
        self._warming = threading.Thread(target=self._warm_up, daemon=True)
        self._warming.start()

    def _warm_up(self) -> None:
        """Start the first fork, which waits until the server has imported the trainer.

        This runs in a thread, so that the loop can go on meanwhile.
        """
        process = self._context.Process(target=_nothing, daemon=True)
        # If the server is dead, the first real start reports it.
        with contextlib.suppress(OSError, EOFError):
            process.start()
            process.join()

    def require(self, kinds: set[str]) -> None:
        """Refuse stages that can never start here."""
        require(self._slots, kinds, self._profile)

    def fits(self, payload: Payload) -> bool:
        """Whether cores and GPUs for this task are free now."""
        return not self._warming.is_alive() and self._slots.fits(
            task_id(payload), self._profile.resources_for(task_kind(payload))
        )

    def adopts(self, payload: Payload) -> bool:  # noqa: ARG002
        """Return False: workers end with their parent, so none is left to follow."""
        return False

    def start(self, payload: Payload) -> None:
        task = task_id(payload)
        environment = self._slots.take(task, self._profile.resources_for(task_kind(payload)))
        folder = task_folder(payload, self._results)
        receiver, sender = self._context.Pipe(duplex=False)
        arguments = (payload, self._results, self._entry, self._profile, environment, sender)
        process = self._context.Process(
            target=work_launched if self._profile.launch.get(task_kind(payload)) else work,
            args=arguments,
            name=task,
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "failure.json").unlink(missing_ok=True)
            # restarts a server that was killed
            with _signals_held(), imported_first(self._code):
                process.start()
        except (OSError, EOFError) as error:
            self._slots.free(task)
            self._stillborn.append(
                Failed(task, f"no worker could be started: {type(error).__name__}: {error}")
            )
            return
        finally:
            sender.close()  # close our end, so that the pipe closes with the worker
        self._workers[receiver] = _Worker(task, process, time.monotonic())

    def events(self, timeout: float) -> list[Event]:
        """Return the events until now; wait at most `timeout` seconds for the first one."""
        events, self._stillborn = self._stillborn, []
        if not self._workers:
            if self._warming.is_alive():
                self._warming.join(timeout)
            elif not events:  # every task that is left is another runner's: wait, do not spin
                time.sleep(timeout)
            return events
        for channel in wait(list(self._workers), timeout):
            assert isinstance(channel, Connection)
            events += self._receive(channel)
        return events + self._silent()

    def _receive(self, channel: Connection) -> list[Event]:
        worker = self._workers[channel]
        try:
            event: Event = channel.recv()
        except (EOFError, ConnectionResetError):
            return [self._reap(channel, Failed(worker.task, _death(worker.process), again=True))]
        if isinstance(event, Progress):
            worker.heard = time.monotonic()
            return [event]
        return [self._reap(channel, event)]

    def _silent(self) -> list[Event]:
        """Kill the workers that hang: those without a sign of life
        for longer than the profile allows.
        """
        limit, now = self._profile.silent_s, time.monotonic()
        hanging = [
            channel for channel, worker in self._workers.items() if now - worker.heard > limit
        ]
        events: list[Event] = []
        for channel in hanging:
            worker = self._workers[channel]
            worker.process.kill()
            hint = "look at its log; if it is only slow, raise `silent_s` in the profile"
            events.append(
                self._reap(
                    channel,
                    Failed(
                        worker.task, f"killed: no sign of life for {limit:g} s", hint, again=True
                    ),
                )
            )
        return events

    def _reap(self, channel: Connection, event: Event) -> Event:
        worker = self._workers.pop(channel)
        channel.close()
        worker.process.join()
        self._slots.free(worker.task)
        worker.process.close()
        return event

    def parting(self) -> str:
        """Return "": no task continues after the parent."""
        return ""

    def stop(self) -> None:
        """End every worker: send SIGTERM, then kill after the profile's grace period."""
        processes = [worker.process for worker in self._workers.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + self._profile.grace_s
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for channel in self._workers:
            channel.close()
        self._workers.clear()


@dataclass
class _Worker:
    task: str
    process: BaseProcess
    heard: float


def _nothing() -> None:
    """Do nothing: the target of the first fork."""


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Block SIGINT and SIGTERM in the block.

    A process started in it does not receive them unless it unblocks them.
    """
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
        return f"the worker was killed by {name}" + (
            " (out of memory?)" if name == "SIGKILL" else ""
        )
    return f"the worker ended without a result (exit code {code})"
