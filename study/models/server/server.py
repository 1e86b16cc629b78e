"""Run a helper process of a stage (a vLLM teacher, a rollout server): port, devices, health check,
and a certain end with the stage.

    command = ["vllm", "serve", folder, "--host", "{host}", "--port", "{port}"]
    with serve(
        command, health="/health", log=log, timeout_s=600, gpus=[1], stage=node.id
    ) as server:
        ...  # server.url

The command runs on a leash (`study.models.server.leash`) that ends its whole tree when the block is
left in any way, and when this process dies, also by SIGKILL. It gets the loopback address; a server
that listens elsewhere too is refused, because anyone who reaches the machine could then use it.
Every process of the tree carries STUDY_STAGE, STUDY_OWNER and STUDY_SERVER in its environment, by
which `sweep_servers` finds what is left of an owner whose leash was killed as well.

Errors: `SpecError` for a command without {host} and {port}, `ServerFailed` with the end of the
server's log for everything else.
"""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from study.errors import SpecError, StudyError
from study.http_client import NoAnswer, exchange
from study.models.server import processes
from study.record.owner import alive, is_owner, owner

LOOPBACK = "127.0.0.1"
# Marks in the environment of a server and of all that it starts.
STAGE, OWNER, SERVER = "STUDY_STAGE", "STUDY_OWNER", "STUDY_SERVER"
_POLL_S, _ANSWER_S, _LOG_LINES = 0.1, 5.0, 15
_HEALTH_BYTES = 2**20


class ServerFailed(StudyError):
    """A helper process that did not start, was not healthy in
    time, died, or is open to other machines.
    """


@dataclass(frozen=True)
class Server:
    """A healthy server. pid: of its leash, which lives as long as the server."""

    url: str
    port: int
    pid: int
    log: Path
    _leash: "subprocess.Popen[bytes]"

    def check(self) -> None:
        """Raise `ServerFailed` if the server has died: the better
        message when a request to it fails.
        """
        if self._leash.poll() is not None:
            raise _failure(f"the server at {self.url} died", self._leash.returncode, self.log)


@contextlib.contextmanager
def serve(
    command: Sequence[str],
    *,
    health: str,
    log: Path,
    timeout_s: float,
    port: int | None = None,
    gpus: Sequence[int | str] | None = None,
    stage: str = "",
    host: str = LOOPBACK,
    grace_s: float = 5.0,
) -> Iterator[Server]:
    """Start `command` ({host} and {port} filled in), wait until GET `health` answers 2xx, and end
    it with the block.

    port: None takes a free one. gpus: what CUDA_VISIBLE_DEVICES lets it see; None leaves the
    variable unchanged, an empty list shows none. timeout_s: until it must be healthy. grace_s:
    between SIGTERM and SIGKILL at its end.
    """
    absent = [field for field in ("{host}", "{port}") if not any(field in part for part in command)]
    if absent:
        told = "or the command chooses its own address"
        raise SpecError(
            f"the server command {' '.join(command)!r} does not take {' and '.join(absent)}",
            hint=f"put them into it, {told}",
        )
    port = _free_port(host) if port is None else _unused(host, port)
    filled = [part.replace("{host}", host).replace("{port}", str(port)) for part in command]
    token = secrets.token_hex(8)
    leash = _start(filled, log, _environment(stage, token, gpus), grace_s)
    server = Server(
        f"http://{f'[{host}]' if ':' in host else host}:{port}", port, leash.pid, log, leash
    )
    try:
        _await_health(server, health, timeout_s)
        if ip_address(host).is_loopback:
            _refuse_open(server)
        yield server
    finally:
        _end(leash, token, grace_s)


def sweep_servers() -> list[int]:
    """Kill what is left on this machine of servers whose owner is dead; return the pids.

    Safe to call at any time, by any process.
    """
    found = processes.marked(SERVER)
    left = [
        pid
        for pid, marks in found.items()
        if is_owner(marks.get(OWNER, "")) and alive(marks[OWNER]) is False
    ]
    processes.kill(left)
    return left


def _start(
    command: Sequence[str], log: Path, environment: dict[str, str], grace_s: float
) -> "subprocess.Popen[bytes]":
    leash = [
        sys.executable,
        "-m",
        "study.models.server.leash",
        "--owner",
        str(os.getpid()),
        "--grace",
        str(grace_s),
        "--",
        *command,
    ]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # A session of its own: Ctrl-C is for the runner, which then ends its stages in order.
        return subprocess.Popen(
            leash,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


def _environment(stage: str, token: str, gpus: Sequence[int | str] | None) -> dict[str, str]:
    # SPT_NOENV: setproctitle, which vLLM uses, would write its title over the environment that
    # /proc shows.
    marks = {STAGE: stage, OWNER: owner(), SERVER: token, "SPT_NOENV": "1"}
    visible = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    return {**os.environ, **marks, **visible}


def _await_health(server: Server, health: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    said = "nothing listens"
    while time.monotonic() < deadline:
        if (code := server._leash.poll()) is not None:
            raise _failure("the server ended before it was healthy", code, server.log)
        said = _answer(server.url + health) if _ours(server) else "its processes do not listen"
        if said == "healthy":
            return
        time.sleep(_POLL_S)
    raise _failure(
        f"the server was not healthy after {timeout_s:g} s ({server.url + health}: {said})",
        None,
        server.log,
    )


def _answer(url: str) -> str:
    try:
        reply = exchange("GET", url, deadline_s=_ANSWER_S, limit=_HEALTH_BYTES)
    except NoAnswer as error:
        return str(error)
    return "healthy" if 200 <= reply.status < 300 else f"it answers {reply.status}"


def _ours(server: Server) -> bool:
    """Whether this server's tree holds the port: another program could have taken it and answer in
    its place.
    """
    return bool(processes.listeners(server.port, processes.descendants(server.pid)))


def _refuse_open(server: Server) -> None:
    outside = [
        listener.address
        for listener in processes.listeners(server.port, processes.descendants(server.pid))
        if not ip_address(listener.address).is_loopback
    ]
    if outside:
        what = f"the server listens on {outside[0]}:{server.port}, which other machines can reach"
        raise ServerFailed(what, hint="use {host} for the address in its command")


def _end(leash: "subprocess.Popen[bytes]", token: str, grace_s: float) -> None:
    """End the server through its leash; if that was killed or hangs, find the tree by its marks."""
    leash.terminate()
    try:
        leash.wait(grace_s + 10.0)
    except subprocess.TimeoutExpired:
        processes.kill([leash.pid])
        leash.wait()
    while left := [
        pid for pid, marks in processes.marked(SERVER).items() if marks[SERVER] == token
    ]:
        processes.kill(left)
        time.sleep(_POLL_S)


def _free_port(host: str) -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _unused(host: str, port: int) -> int:
    with socket.socket(_family(host)) as probe:
        # A port whose last connections are only closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerFailed(
                f"port {port} on {host} is taken: {error.strerror}",
                hint="leave out the port: a free one is used",
            ) from error
    return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _failure(what: str, code: int | None, log: Path) -> ServerFailed:
    lines = (
        log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        if log.is_file()
        else []
    )
    ended = "" if code is None else f" (exit code {code})"
    shown = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
    return ServerFailed(
        f"{what}{ended}; the end of its log:\n{shown}", hint=f"read the whole log: {log}"
    )
