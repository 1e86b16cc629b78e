"""Run a command that cannot outlive its owner: `python -m study.models.server.leash --owner PID
[--grace S] -- COMMAND...`.

The leash is started by its owner and starts the command in a session of its own. It ends the whole
tree below it - SIGTERM, and SIGKILL after `grace` seconds - when the owner has died from any cause,
on SIGTERM, or when the command itself ends.

A child of the command whose parent dies becomes a child of the leash (a child subreaper), so
nothing leaves the tree. The command dies at once if the leash itself is killed (parent-death
signal); what it had started is then found by its environment
(`study.models.server.server.sweep_servers`). This is for Linux; elsewhere the owner is polled and
only the command's session is ended.

Exit: the command's own code, 143 after a stop signal or the owner's death, 127 if the command
cannot be started.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from study.models.server.processes import children, descendants, kill

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_S = 0.2  # where no signal wakes the leash: the longest time until it sees that the owner died
_TOLD, _NOT_STARTED = 143, 127


class Leash:
    """One command and everything that it starts."""

    def __init__(self, owner: int, grace_s: float) -> None:
        self._owner, self._grace_s = owner, grace_s
        self._told = False
        self._wake = _wake_pipe()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._order)
        # a handler of its own, so that it wakes the pipe
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # unblock the signals that the starting process blocked
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._owner_fd = _pidfd(owner)

    def hold(self, command: Sequence[str]) -> int:
        """Run the command to its end or to the owner's."""
        if self._owner_gone():
            return _TOLD
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=partial(_tie_to, os.getpid()),
            )
        except OSError as error:
            sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
            return _NOT_STARTED
        while child.poll() is None and not self._told and not self._owner_gone():
            self._sleep()
            _reap_adopted(child)
        code = child.poll()
        self._end(child)
        return _TOLD if code is None else code if code >= 0 else 128 - code

    def _order(self, *_: object) -> None:
        self._told = True

    def _owner_gone(self) -> bool:
        # The leash is the owner's child: another parent means that the owner died, perhaps before
        # it could be watched.
        return os.getppid() != self._owner

    def _sleep(self) -> None:
        watched = [self._wake] if self._owner_fd is None else [self._wake, self._owner_fd]
        select.select(watched, [], [], _POLL_S)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 512)

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        """Send SIGTERM to all, then SIGKILL to all that are left after the grace period, repeated
        until none is left.
        """
        deadline = time.monotonic() + self._grace_s
        _signal_tree(child, signal.SIGTERM)
        while _left(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        while _left(child):
            _signal_tree(child, signal.SIGKILL)
            time.sleep(0.02)


def _left(child: "subprocess.Popen[bytes]") -> bool:
    _reap_adopted(child)
    return child.poll() is None or bool(descendants(os.getpid()))


def _signal_tree(child: "subprocess.Popen[bytes]", signum: int) -> None:
    kill(descendants(os.getpid()), signum)
    # descendants are not listed there: only the command's session is known
    if sys.platform != "linux":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signum)


def _reap_adopted(child: "subprocess.Popen[bytes]") -> None:
    """Reap orphans that became children of the leash; they stay zombies until then."""
    for pid in children(os.getpid()):
        if pid != child.pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _tie_to(leash: int) -> None:
    """Run in the new process, before the command: it is killed as soon as the leash is."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != leash:  # it died before the line above
        os._exit(_TOLD)


def _wake_pipe() -> int:
    """Return a descriptor that can be read after every signal."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _pidfd(pid: int) -> int | None:
    """Return a descriptor that is readable once the process is gone; None where the system has
    none, or the process no longer exists.
    """
    try:
        return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return None


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m study.models.server.leash")
    parser.add_argument("--owner", type=int, required=True)
    parser.add_argument("--grace", type=float, default=5.0)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args(arguments)
    return Leash(asked.owner, asked.grace).hold(asked.command)


if __name__ == "__main__":
    sys.exit(main())
