"""Run a fork server with math-verify loaded, and the workers that it forks: a worker compares one
pair of formulas at a time. `study.grading.symbolic.server` starts and commands it.

Run as a script with `python -P`. It needs nothing of this project, so it starts as fast as
math-verify can be imported, and a worker that was killed is replaced by a fork in milliseconds.

    argument   the process id of the owner
    stdin      a socket with the owner's commands (COMMAND): fork a worker (its socket comes along
               as a file descriptor), or kill one
    a worker   first sends its process id; then it answers every request (one JSON value per line)
               [serial, kind, left, right, seconds] with [serial, verdict, reading, seconds used]
    kinds      "equal": are two formulas equal? "stock": does math-verify, with its own extraction,
               find the gold `right` in the completion `left`?
    verdict    true, false, or null where the memory did not suffice

No input is trusted: the memory of a worker is limited; it can write no file, start no process and
open no connection (an audit hook refuses); and a timer of processor time, set anew for every
request, ends it even inside C code, where neither a signal handler nor math-verify's own timeout
ever runs. Units are not compared here (`units=False`): math-verify's list of units holds h, t, d
and m and would make 2h equal to 2t.
"""

import gc
import json
import logging
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

COMMAND = struct.Struct("!cQQ")  # FORK or KILL, the worker's number, its memory in bytes
FORK, KILL = b"F", b"K"
DIGITS, NEAR = 30, 25  # irrational numbers are different if they differ in 25 digits
CACHED = 4096  # parsed formulas; a reference is compared with every sample of its problem
SHOWN = 200  # characters of a reading
# Extra seconds for the first request of the first worker: sympy imports some modules late.
LATE_IMPORTS_S = 0.5
_FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
    "os.kill", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod", "os.chown",
    "os.link", "os.symlink", "os.mkdir", "subprocess.Popen", "pty.spawn", "socket.connect",
    "socket.bind", "socket.getaddrinfo", "shutil.", "ctypes.dlopen", "urllib.Request",
    "webbrowser.open",
)  # fmt: skip
_SERVER_MAY = ("os.fork", "os.kill")
Reading = tuple[bool, str]  # the verdict, and what was read in the completion
Kinds = dict[str, Callable[[str, str], Reading]]


def main() -> None:
    owner = int(sys.argv[1])
    gc.disable()  # a collection during the imports finds nothing and costs a tenth of their time
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner handles Ctrl-C
    for fatal in (signal.SIGPROF, signal.SIGXCPU):
        signal.signal(fatal, signal.SIG_DFL)
    control = socket.socket(fileno=os.dup(0))
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 0)
    os.dup2(silence, 1)
    kinds = _kinds()
    _forbid_files()
    sys.addaudithook(_refuse_in_server)
    gc.freeze()  # forks share these pages: no collection may touch them
    _serve(owner, control, kinds)
    os._exit(0)  # freeing all of sympy module by module would only cost time


def _serve(owner: int, control: socket.socket, kinds: Kinds) -> None:
    """Fork and kill workers until the owner closes its socket or is gone."""
    children: dict[int, int] = {}  # a worker's number -> its process id
    forks = 0
    while (command := _command(owner, control, children)) is not None:
        what, number, memory, descriptor = command
        if what == KILL:
            _end(children, number)
            continue
        if forks == 1:  # a second worker: what sympy imports late is loaded once for all later ones
            _warm_up(kinds)
        forks += 1
        pid = os.fork()
        if pid == 0:
            control.close()
            late = LATE_IMPORTS_S if forks == 1 else 0.0
            _work(kinds, socket.socket(fileno=descriptor), memory, late)
        os.close(descriptor)
        children[number] = pid
    for number in list(children):
        _end(children, number)


def _command(
    owner: int, control: socket.socket, children: dict[int, int]
) -> tuple[bytes, int, int, int] | None:
    """Return the next command; None when the owner is gone, even if a fork of it holds the socket
    open.
    """
    while not select.select([control], [], [], 1.0)[0]:
        if os.getppid() != owner:
            return None
        for number, pid in list(children.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del children[number]
    message, descriptors, _, _ = socket.recv_fds(control, COMMAND.size, 1)
    if len(message) < COMMAND.size:
        return None
    what, number, memory = COMMAND.unpack(message)
    return what, number, memory, descriptors[0] if descriptors else -1


def _end(children: dict[int, int], number: int) -> None:
    """Kill a worker. No other process gets its process id before the server has waited for it."""
    pid = children.pop(number, None)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _work(kinds: Kinds, requests: socket.socket, memory: int, late: float) -> None:
    """Run a worker; never returns. late: extra seconds for the first request."""
    try:
        server = os.getppid()
        gc.enable()
        _confine(memory)
        _send(requests, os.getpid())
        for line in _lines(server, requests):
            serial, kind, left, right, seconds = json.loads(line)
            started = time.process_time()
            _allow(seconds + late)
            late = 0.0
            verdict, reading = _answer(kinds[kind], left, right)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(requests, [serial, verdict, reading, time.process_time() - started])
    finally:
        os._exit(0)


def _lines(server: int, requests: socket.socket) -> Iterator[bytes]:
    """Yield requests, until the owner closes the socket or the server is gone."""
    received = b""
    while True:
        while b"\n" not in received:
            if not select.select([requests], [], [], 1.0)[0]:
                if os.getppid() != server:
                    return
                continue
            chunk = requests.recv(1 << 16)
            if not chunk:
                return
            received += chunk
        line, _, received = received.partition(b"\n")
        yield line


def _send(requests: socket.socket, value: Any) -> None:
    requests.sendall(json.dumps(value).encode("ascii") + b"\n")


def _answer(
    decide: Callable[[str, str], Reading], left: str, right: str
) -> tuple[bool | None, str]:
    try:
        return decide(left, right)
    except MemoryError:
        return None, ""
    # Sympy may raise anything on text that is not a formula; such text is not the reference.
    except Exception:  # noqa: BLE001
        return False, ""


def _kinds() -> Kinds:
    """Return the kinds of questions that a worker can answer, with the modules loaded that they
    always need.
    """
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, normalize_latex
    from math_verify import parse, verify
    from math_verify.parser import parse_latex_cached
    from sympy import Expr, FiniteSet, Float, Interval, MatrixBase, Symbol, Tuple, simplify

    logging.disable(logging.CRITICAL)
    rules = NormalizationConfig(
        basic_latex=True,
        units=False,
        malformed_operators=True,
        nits=True,
        boxed="last",
        equations=False,
    )

    @lru_cache(maxsize=CACHED)
    def parsed(text: str) -> Any:
        """Parse the whole text as math-verify reads a box. Its search for a formula inside a text
        that is not one is left out: it would take `\\frac{1}{2}` out of `\\frac{1}{2} ((`.
        """
        try:
            return parse_latex_cached(normalize_latex(f"\\boxed{{{text}}}", config=rules))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - sympy may raise anything on text that is not a formula
            return None

    def equal(candidate: str, reference: str) -> Reading:
        ours, theirs = parsed(candidate), parsed(reference)
        if ours is None or theirs is None:
            return False, ""
        if not verify(theirs, ours, timeout_seconds=None) and not symbol(ours, theirs):
            return False, ""
        return not differ(ours, theirs), ""

    def differ(left: Any, right: Any) -> bool:
        """Whether two exact values certainly differ: math-verify rounds, and takes 2^-98
        for 2^-99.
        """
        if isinstance(left, Expr) and isinstance(right, Expr):
            if left.free_symbols or right.free_symbols or left.has(Float) or right.has(Float):
                return False
            left, right = left.doit(), right.doit()
            difference = left - right
            if difference.is_Rational or not difference.is_comparable:
                return bool(difference.is_Rational and difference != 0)
            size = max(abs(left.evalf(DIGITS)), abs(right.evalf(DIGITS)))
            return bool(abs(difference.evalf(DIGITS)) > size * 10**-NEAR)
        if isinstance(left, MatrixBase) and isinstance(right, MatrixBase):
            return left.shape == right.shape and any(map(differ, left.flat(), right.flat()))
        if isinstance(left, (Tuple, Interval)) and isinstance(right, type(left)):
            return any(map(differ, left.args, right.args))
        if isinstance(left, FiniteSet) and isinstance(right, FiniteSet):
            return any(all(differ(one, other) for other in right) for one in left)
        return False

    def symbol(ours: Any, theirs: Any) -> bool:
        """Whether a symbol on one side alone equals the other side (x + 0 is x): math-verify
        compares these as text.
        """
        if isinstance(ours, Symbol) == isinstance(theirs, Symbol) or not (
            isinstance(ours, Expr) and isinstance(theirs, Expr)
        ):
            return False
        return bool(simplify(ours - theirs).is_zero)

    def stock(completion: str, gold: str) -> Reading:
        found = parse(completion, parsing_timeout=None)  # type: ignore[arg-type]
        wanted = parse(f"${gold}$", parsing_timeout=None)  # type: ignore[arg-type]
        reading = str(found[-1])[:SHOWN] if found else ""
        return bool(verify(wanted, found, timeout_seconds=None)), reading

    return {"equal": equal, "stock": stock}


def _warm_up(kinds: Kinds) -> None:
    _answer(kinds["equal"], "x + \\frac{1}{2}", "\\sqrt{2}")


def _confine(memory: int) -> None:
    _forbid_files()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    sys.addaudithook(_refuse)


def _forbid_files() -> None:
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    writing = (
        event == "open"
        and isinstance(arguments[1], str)
        and any(letter in arguments[1] for letter in "wax+")
    )
    if writing or event.startswith(_FORBIDDEN):
        raise PermissionError(f"a formula must not do this: {event}")


def _refuse_in_server(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _SERVER_MAY:
        _refuse(event, arguments)


def _allow(seconds: float) -> None:
    """Allow so much more processor time, then SIGPROF; the coarser limit holds should that ever
    fail.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    coarse = int(time.process_time() + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (coarse, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
