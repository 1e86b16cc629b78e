"""Fork workers that compare formulas from one process that has math-verify loaded:
fork_server().fork(memory) -> Worker.

There is one server for each process that needs one. It starts in the background, ends with its
owner, however that dies, and is started again if it was killed. A process that was forked from the
owner starts a server of its own. The other side is `study.grading.symbolic.worker`.
"""

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError
from study.grading.symbolic.worker import COMMAND, FORK, KILL

SEND_S = 10.0  # a worker that accepts no request for so long is lost
_SCRIPT = Path(__file__).with_name("worker.py")


class ForkServer:
    """The server's process and its command socket. Commands have no answer: a worker reports on its
    own socket.
    """

    def __init__(self) -> None:
        if find_spec("math_verify") is None:
            raise PrerequisiteError(
                "symbolic grading needs math-verify, which is not installed",
                hint="pip install 'math-verify>=0.9,<0.10'",
            )
        self._control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(_SCRIPT), str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._forks = 0

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def fork(self, memory_bytes: int) -> "Worker":
        """Fork a worker that reports when it is ready; at once if the server is."""
        ours, theirs = socket.socketpair()
        self._forks += 1
        with theirs, contextlib.suppress(OSError):  # a dead server: the worker's socket says so
            command = COMMAND.pack(FORK, self._forks, memory_bytes)
            socket.send_fds(self._control, [command], [theirs.fileno()])
        return Worker(self, self._forks, ours)

    def kill(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(COMMAND.pack(KILL, number, 0))

    def close(self) -> None:
        """End the server, which ends its workers."""
        self._control.close()
        try:
            self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # still importing, so without workers; or stopped
            self.process.kill()
            self.process.wait()


class Worker:
    """One worker, seen from the owner. pid: known when it is ready. gone: it has ended."""

    def __init__(self, server: ForkServer, number: int, requests: socket.socket) -> None:
        self._server, self._number = server, number
        self.socket = requests
        self.pid: int | None = None
        self.gone = False
        self._received = b""

    @property
    def ready(self) -> bool:
        return self.pid is not None

    def send(self, request: list[Any]) -> None:
        self.socket.settimeout(SEND_S)
        try:
            self.socket.sendall(json.dumps(request).encode("ascii") + b"\n")
        except OSError:
            self.gone = True

    def receive(self) -> list[list[Any]]:
        """Return the answers that have arrived; set pid and gone."""
        self._read()
        *lines, self._received = self._received.split(b"\n")
        values = [json.loads(line) for line in lines]
        for value in values:
            if isinstance(value, int):
                self.pid = value
        return [value for value in values if isinstance(value, list)]

    def _read(self) -> None:
        self.socket.setblocking(False)
        while not self.gone:
            try:
                chunk = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            self._received += chunk
            self.gone = not chunk

    @property
    def waits_for_a_processor(self) -> bool:
        """Whether it could run, but the machine is busy: its timer of processor time will still end
        it.
        """
        import psutil  # slower to import than many batches; rarely needed

        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_RUNNING
        except psutil.Error:
            return False

    def kill(self) -> None:
        self._server.kill(self._number)
        self.socket.close()


_servers: dict[int, ForkServer] = {}  # process id -> its server; one entry, except after forks


def fork_server() -> ForkServer:
    """Return the server of this process, started if there is none or it has died."""
    server = _servers.get(os.getpid())
    if server is None or not server.alive:
        if server is not None:
            server.close()
        server = _servers[os.getpid()] = ForkServer()
    return server


@atexit.register
def close_server() -> None:
    """End the server of this process, if it has one; its workers end with it."""
    server = _servers.pop(os.getpid(), None)
    if server is not None:
        server.close()
