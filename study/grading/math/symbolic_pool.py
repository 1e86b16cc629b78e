"""SymbolicPool.equal(pairs) -> [True, False, or None where no verdict came within the limits]:
math-verify in processes that can be killed.

The limits hold whatever a formula does. `deadline_s` of processor time is the kernel's to enforce,
so that a verdict does not depend on how busy the machine is; PATIENCE times as much wall time is
the pool's own, which then kills the worker (SIGKILL). The next pair gets a new one. math-verify's
own timeout cannot do that: it needs the main thread and a signal, which a power of large integers
never lets through.
    Workers start when the first pair comes, are reused, and end with the pool or with the process
    that owns it, however that dies.
    A pool may be used from any thread (one at a time) and survives a fork: the child starts workers
    of its own.
    A worker that dies by itself (out of memory, a crash in C code) gives no verdict on its pair:
    None.
"""

import contextlib
import json
import math
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from study.errors import PrerequisiteError

DEADLINE_S = 5.0
PATIENCE = 3.0
MEMORY_BYTES = 2 * 1024**3
START_S = 120.0  # the import of math-verify on a busy machine
REMEMBERED = 100_000

Pair = tuple[str, str]  # candidate, reference
_SCRIPT = Path(__file__).with_name("symbolic_worker.py")


class _Worker:
    """One process and the pair that it works on."""

    def __init__(self, deadline_s: float, memory_bytes: int) -> None:
        command = [
            sys.executable,
            "-P",
            str(_SCRIPT),
            str(os.getpid()),
            str(memory_bytes),
            str(math.ceil(deadline_s)),
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.pair: Pair | None = None
        self.due = time.monotonic() + START_S
        self.ready = False
        self._received = b""

    def send(self, pair: Pair, deadline_s: float) -> None:
        assert self.process.stdin is not None
        self.pair, self.due = pair, time.monotonic() + PATIENCE * deadline_s
        with contextlib.suppress(
            BrokenPipeError
        ):  # it has just died: its end of the other pipe will say so
            self.process.stdin.write(json.dumps(pair).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def receive(self) -> tuple[bool, bool | None]:
        """(alive, verdict). The first line says that the worker is ready."""
        line = self._line()
        if line is None:
            return False, None
        if not self.ready:
            self.ready = True
            return True, None
        return True, json.loads(line)

    def _line(self) -> bytes | None:
        assert self.process.stdout is not None
        while b"\n" not in self._received:
            chunk = os.read(self.process.stdout.fileno(), 4096)
            if not chunk:
                return None
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class SymbolicPool:
    """`workers` processes; `deadline_s` of processor time (whole seconds) and `memory_bytes` of
    address space for each pair.
    """

    def __init__(
        self, workers: int = 1, *, deadline_s: float = DEADLINE_S, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        if workers < 1 or deadline_s <= 0:
            raise ValueError(f"a pool needs workers and a deadline, not {workers} and {deadline_s}")
        self._number, self.deadline_s, self._memory = workers, deadline_s, memory_bytes
        self._reset()

    def _reset(self) -> None:
        self._workers: list[_Worker] = []
        self._known: OrderedDict[Pair, bool | None] = OrderedDict()
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._end = weakref.finalize(self, _kill_all, self._workers, self._pid)

    def __getstate__(self) -> tuple[int, float, int]:
        return self._number, self.deadline_s, self._memory

    def __setstate__(self, state: tuple[int, float, int]) -> None:
        self._number, self.deadline_s, self._memory = state
        self._reset()

    def __enter__(self) -> "SymbolicPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. The pool can be used again."""
        if self._pid == os.getpid():
            _kill_all(self._workers, self._pid)

    def equal(self, pairs: Iterable[Pair]) -> list[bool | None]:
        """In the order of `pairs`. The same pair is asked about once."""
        if self._pid != os.getpid():
            self._reset()
        wanted = list(pairs)
        with self._lock:
            self._ask([pair for pair in dict.fromkeys(wanted) if pair not in self._known])
            verdicts = [self._known[pair] for pair in wanted]
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return verdicts

    def _ask(self, waiting: Sequence[Pair]) -> None:
        queue = list(reversed(waiting))
        try:
            while queue or any(worker.pair for worker in self._workers):
                self._fill(queue)
                self._wait()
        except BaseException:  # an interrupted question must not be answered to the next one
            _kill_all(self._workers, self._pid)
            raise

    def _fill(self, queue: list[Pair]) -> None:
        """Work for every idle worker; more workers while there is more work than workers."""
        for worker in self._workers:
            if queue and worker.ready and worker.pair is None:
                worker.send(queue.pop(), self.deadline_s)
        starting = sum(not worker.ready for worker in self._workers)
        while len(self._workers) < self._number and starting < len(queue):
            _require_math_verify()
            self._workers.append(_Worker(self.deadline_s, self._memory))
            starting += 1

    def _wait(self) -> None:
        """Until one worker has something to say or is late."""
        busy = [worker for worker in self._workers if worker.pair is not None or not worker.ready]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            ready = selector.select(max(0.0, min(worker.due for worker in busy) - time.monotonic()))
        for key, _ in ready:
            self._hear(key.data)
        now = time.monotonic()
        for worker in busy:
            if worker in self._workers and now > worker.due and (worker.pair or not worker.ready):
                self._lose(worker)

    def _hear(self, worker: _Worker) -> None:
        was_ready = worker.ready
        alive, verdict = worker.receive()
        if not alive:
            self._lose(worker)
        elif was_ready and worker.pair is not None:
            self._known[worker.pair], worker.pair = verdict, None

    def _lose(self, worker: _Worker) -> None:
        """Killed or dead: no verdict on its pair.

        One that never came up means that math-verify cannot be used here.
        """
        worker.kill()
        self._workers.remove(worker)
        if not worker.ready:
            raise PrerequisiteError(
                "the symbolic grader does not start", hint="try: python -c 'import math_verify'"
            )
        if worker.pair is not None:
            self._known[worker.pair] = None


def _kill_all(workers: list[_Worker], pid: int) -> None:
    if os.getpid() == pid:  # after a fork the workers are still the parent's
        while workers:
            workers.pop().kill()


def _require_math_verify() -> None:
    if find_spec("math_verify") is None:
        raise PrerequisiteError(
            "symbolic grading needs math-verify, which is not installed",
            hint="pip install 'math-verify>=0.9,<0.10'",
        )
