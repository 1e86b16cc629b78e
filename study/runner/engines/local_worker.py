"""The life of a local worker process: one task, its log, its signals, its devices, its end with its
parent.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path

from study.record.checkpoints import Checkpoints
from study.record.store import Results
from study.runner.work.execute import Work, load
from study.runner.work.reporter import Reporter
from study.runner.work.worker import (
    Failed,
    Payload,
    checkpoints_of,
    perform,
    task_folder,
    task_id,
)
from study.spec.machine.profile import Profile


def work(
    payload: Payload,
    results: Results,
    entry: Work,
    profile: Profile,
    environment: Mapping[str, str],
    channel: Connection,
) -> None:
    """The whole life of a worker process."""
    checkpoints = checkpoints_of(payload, results, profile)
    take_signals(checkpoints)
    os.environ.update(environment)
    threading.Thread(target=die_with_parent, daemon=True).start()
    _first_to_go()
    folder = task_folder(payload, results)
    _redirect_output(folder / "log.txt")
    reporter = Reporter(task_id(payload), folder / "status.json", channel)
    try:
        reporter("starting", 0, 1, {})
        one_thread(entry)
        outcome = perform(payload, results, entry, profile, reporter, checkpoints)
    finally:
        reporter.close()
    if isinstance(outcome, Failed):
        sys.stderr.write(outcome.trace)
        sys.stderr.flush()
    with contextlib.suppress(BrokenPipeError):
        channel.send(outcome)


def take_signals(checkpoints: Checkpoints) -> None:
    """Ctrl-C reaches the whole group: the parent decides, and sends SIGTERM.

    Training then ends at its next step, with a checkpoint.
    """

    def leave(signum: int, _frame: object) -> None:
        checkpoints.ask_to_stop()
        if not checkpoints.training:
            raise SystemExit(
                128 + signum
            )  # through `finally`: partial folders and locks are removed

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # held by the server, and inherited


def die_with_parent() -> None:
    """A worker whose parent was killed must not go on computing for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _first_to_go() -> None:
    """When memory runs out the kernel shall end this worker, not the parent that would tell about
    it.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def _redirect_output(path: Path) -> None:
    """Everything that the worker or a library in it prints goes to its log, also from C."""
    with path.open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def one_thread(entry: Work) -> None:
    """The environment's thread count does not bind a torch that was imported before; its own
    setting does.
    """
    load(entry.build)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
