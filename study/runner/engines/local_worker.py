"""Run one task in a local worker process: set up its log, signals and devices, and end it when its
parent ends.
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
    """Main function of a worker process."""
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
    """Install the signal handlers of a worker.

    Ctrl-C reaches the whole process group, so it is ignored: the parent decides and sends SIGTERM.
    Training then ends at its next step, with a checkpoint.
    """

    def leave(signum: int, _frame: object) -> None:
        checkpoints.ask_to_stop()
        if not checkpoints.training:
            # `finally` blocks remove partial folders and locks.
            raise SystemExit(128 + signum)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    # The server blocks them, and this process inherits that.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def die_with_parent() -> None:
    """End this worker if its parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _first_to_go() -> None:
    """Raise oom_score_adj so that the OOM killer picks the worker, not the runner."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def _redirect_output(path: Path) -> None:
    """Redirect all output of the worker and its libraries, also from C, to its log."""
    with path.open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def one_thread(entry: Work) -> None:
    """Limit torch to one thread.

    The environment's thread count does not affect a torch that was imported before; torch's own
    setting does.
    """
    load(entry.build)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
