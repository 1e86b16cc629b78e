"""Inspect processes of this user: descendants,
environments, and which process listens on a port (psutil).

A process can end between two looks; whatever disappears while it is read is skipped.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from typing import Any, NamedTuple

import psutil

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, OSError)


class Listener(NamedTuple):
    """A listening TCP socket. address: 127.0.0.1, 0.0.0.0, ::1, ...; pid: None where unknown."""

    address: str
    pid: int | None


def descendants(pid: int) -> list[int]:
    """Return every process below `pid`, parents before their children; zombies included."""
    return _below(pid, recursive=True)


def children(pid: int) -> list[int]:
    """Return the direct children of `pid`; zombies included."""
    return _below(pid, recursive=False)


def environment(pid: int) -> dict[str, str]:
    """Return the environment that a process of this user was started with; empty for any other."""
    try:
        process = psutil.Process(pid)
        return process.environ() if process.uids().real == os.getuid() else {}
    except _GONE:
        return {}


def marked(name: str) -> dict[int, dict[str, str]]:
    """Return every other living process of this user with the
    variable `name` in its environment.
    """
    found = {pid: environment(pid) for pid in psutil.pids() if pid != os.getpid()}
    return {pid: variables for pid, variables in found.items() if name in variables}


def kill(pids: Iterable[int], signum: int = signal.SIGKILL) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def listeners(port: int, pids: Iterable[int] | None = None) -> list[Listener]:
    """Return the listening TCP sockets of a port, held by
    `pids` or, without them, by any process.
    """
    if pids is None:
        return _listening(psutil.net_connections("tcp"), port, None)
    found: list[Listener] = []
    for pid in pids:
        with contextlib.suppress(*_GONE):
            found += _listening(psutil.Process(pid).net_connections("tcp"), port, pid)
    return found


def _below(pid: int, *, recursive: bool) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=recursive)]
    except _GONE:
        return []


def _listening(connections: Iterable[Any], port: int, pid: int | None) -> list[Listener]:
    """Return the listening ones of psutil's connections; those of one process do not carry
    its pid.
    """
    return [
        Listener(str(each.laddr.ip), getattr(each, "pid", None) or pid)
        for each in connections
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    ]
