"""Run stages behind a launcher (accelerate launch, torchrun, numactl): build the command, and start
it from a local worker.

A leash holds the launcher and all its processes (`study.models.server.leash`): they end with the
worker, also if it is killed.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from study.record.owner import owner
from study.record.store import Results
from study.runner.engines.local_worker import die_with_parent
from study.runner.engines.task_main import has_outcome, read_outcome
from study.runner.work.assignment import Assignment, write_assignment
from study.runner.work.execute import Work
from study.runner.work.logs import tail
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

_POLL_S = 0.2


def launched(prefix: Sequence[str], program: Sequence[str]) -> list[str]:
    """Return the command that starts the program (python -m MODULE ...) with a launcher.

    accelerate and torchrun start Python themselves; their executables are next to it.
    """
    if not prefix:
        return list(program)
    name = Path(prefix[0]).name
    beside = Path(program[0]).with_name(name)
    found = (
        [str(beside), *prefix[1:]]
        if shutil.which(prefix[0]) is None and beside.exists()
        else prefix
    )
    return [*found, *(program[1:] if name in ("accelerate", "torchrun") else program)]


def task_program(folder: Path, results: Results) -> list[str]:
    return [sys.executable, "-m", "study.runner.engines.task_main", str(folder), str(results.root)]


def job_folder(task: str, results: Results) -> Path:
    """Return the folder of payload.json and outcome.json of a
    task that another program executes.
    """
    return results.root / "jobs" / task


def work_launched(
    payload: Payload,
    results: Results,
    entry: Work,
    profile: Profile,
    environment: Mapping[str, str],
    channel: Connection,
) -> None:
    """Main function of a local worker whose stage kind has a launcher."""
    told: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, _frame: told.append(signum))
    # The server blocks them, and this process inherits that.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    threading.Thread(target=die_with_parent, daemon=True).start()
    os.environ.update({**environment, "STUDY_JOB": owner()})
    child = _start(payload, results, entry, profile)
    status = task_folder(payload, results) / "status.json"
    with contextlib.suppress(BrokenPipeError):
        _follow(child, task_id(payload), status, told, channel)
        if not told:
            channel.send(_outcome(payload, results, child.wait()))


def _start(
    payload: Payload, results: Results, entry: Work, profile: Profile
) -> "subprocess.Popen[bytes]":
    folder = job_folder(task_id(payload), results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outcome.json").unlink(missing_ok=True)
    write_assignment(folder / "payload.json", Assignment(payload, entry, profile))
    leash = [
        sys.executable,
        "-m",
        "study.models.server.leash",
        "--owner",
        str(os.getpid()),
        "--grace",
        str(profile.grace_s),
        "--",
    ]
    command = [*leash, *launched(profile.launch[task_kind(payload)], task_program(folder, results))]
    with (task_folder(payload, results) / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )


def _follow(
    child: "subprocess.Popen[bytes]", task: str, status: Path, told: list[int], channel: Connection
) -> None:
    """Forward progress until the launcher has ended; forward a request to stop to it, once."""
    updated, ordered = None, False
    while child.poll() is None:
        if told and not ordered:
            child.terminate()
            ordered = True
        page = read_page(status) or {}
        if page.get("updated") != updated:
            updated = page.get("updated")
            channel.send(Progress(task, page["phase"], page["done"], page["total"], page["latest"]))
        time.sleep(_POLL_S)


def _outcome(payload: Payload, results: Results, code: int) -> Event:
    task, folder = task_id(payload), job_folder(task_id(payload), results)
    if has_outcome(folder, os.environ["STUDY_JOB"]):
        return read_outcome(read_page(folder / "outcome.json") or {})
    log = tail([task_folder(payload, results) / "log.txt"])
    return Failed(
        task,
        f"its launcher ended with exit code {code} and no result",
        "its log: study logs",
        log,
        again=True,
    )


def read_page(path: Path) -> dict[str, Any] | None:
    """Read a JSON object that another process may be writing:
    None if it is missing or incomplete.
    """
    try:
        page: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return page if isinstance(page, dict) else None
