"""Write the MLflow mirror in a process of its own: `python -m study.record.mlflow.writer RESULTS`
takes the messages of `study.record.mlflow.client` until its input ends. Exit code 0: everything it
received is in MLflow.

Failures go to the log and cost as little as possible: when a database is locked or a server is
down, the messages wait and are tried again, in their order, after a pause; a message that cannot be
written although MLflow answers is left out. Points of running runs (`progress`) never wait and
never count: the record brings them all. Writers of one results folder take turns by a lock on
<results>/mlflow.lock, which ends with its holder. The lock avoids duplicates; after a minute a
writer goes on without it.
"""

import contextlib
import fcntl
import io
import json
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from study.record.mlflow.address import Address, address
from study.record.mlflow.mirror import GridMirror
from study.record.secrets import hidden
from study.record.store import Results, read_record

_TURN_S, _PAUSE_S, _TRIES = 60.0, 30.0, 2
Message = dict[str, Any]


class Grid(Protocol):
    """The methods of `study.record.mlflow.mirror.GridMirror` that a writer needs."""

    def ping(self) -> None: ...
    def started(
        self,
        run_id: str,
        labels: dict[str, str],
        seed: int,
        parameters: dict[str, Any] | None = None,
    ) -> str: ...
    def progress(self, run_id: str, step: int, metrics: dict[str, float], phase: str) -> None: ...
    def sealed(self, record: Any, labels: dict[str, str]) -> None: ...
    def failed(self, run_id: str, labels: dict[str, str], seed: int, reason: str) -> None: ...
    def describe(self, note: str) -> None: ...
    def artifacts(self, folder: str, paths: Iterable[Path]) -> None: ...
    def settle(self, *, at_work: bool) -> None: ...
    def end(self, status: str) -> None: ...


# grid, scale, open runs -> the grid's mirror; raises when MLflow cannot be reached
Connect = Callable[[str, str, dict[str, str]], Grid]


class Writer:
    """Take messages and write them to MLflow. missed: messages that were given up."""

    def __init__(
        self,
        connect: Connect,
        lock: Path,
        tell: Callable[[str], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect, self._lock, self._tell, self._now = connect, lock, tell, now
        self._waiting: deque[Message] = deque()
        self._named: tuple[str, str] | None = None  # grid and scale that the messages are about
        self._grid: Grid | None = None
        self._open: dict[str, str] = {}
        self._quiet_until, self._tries, self.missed = 0.0, 0, 0

    def follow(self, lines: Iterable[str]) -> int:
        """Take messages until they end; return the exit code.

        A grid whose `end` never came was killed with its parent.
        """
        ended = True
        for line in lines:
            message: Message = json.loads(line)
            pausing = self._now() < self._quiet_until
            if pausing and message["op"] == "progress":
                continue
            ended = message["op"] == "end"
            self._waiting.append(message)
            if not pausing:
                self._write()
        if not ended:
            self._waiting.append({"op": "end", "status": "KILLED"})
        self._write()
        if self._waiting or self.missed:
            self._tell(
                f"not written: {len(self._waiting) + self.missed} messages; the records are"
                " complete, study sync-mlflow catches up"
            )
        return 1 if self._waiting or self.missed else 0

    def _write(self) -> None:
        """Write as many of the waiting messages as MLflow takes."""
        while self._waiting:
            try:
                with turn(self._lock):
                    self._apply(self._waiting[0])
            # Any layer of MLflow may raise anything; a run must not fail because of its mirror.
            except Exception:  # noqa: BLE001
                self._tell(f"{self._waiting[0]['op']}: {traceback.format_exc()}")
                if not self._reachable():
                    self._quiet_until = self._now() + _PAUSE_S
                    return
                self._tries += 1
                if self._tries < _TRIES:
                    continue
                self.missed += self._waiting[0]["op"] != "progress"
            self._tries = 0
            self._waiting.popleft()

    def _reachable(self) -> bool:
        """Whether MLflow answers: then the message is at fault.

        A connection that failed is made again with the next message.
        """
        try:
            with turn(self._lock):
                self._grid = self._grid or self._connected()
                self._grid.ping()
        except Exception:  # noqa: BLE001 - as above
            self._grid = None
            return False
        return True

    def _connected(self) -> Grid:
        if self._named is None:
            raise ValueError("the first message names the grid")
        return self._connect(*self._named, self._open)

    def _apply(self, message: Message) -> None:
        if message["op"] == "grid":
            self._named, self._grid = (message["grid"], message["scale"]), None
        self._grid = self._grid or self._connected()
        match message:
            case {"op": "grid"}:
                return
            case {"op": "started", "run": run, "labels": labels, "seed": seed}:
                self._grid.started(run, labels, seed, message.get("parameters"))
            case {"op": "progress", "run": run, "step": step, "metrics": metrics, "phase": phase}:
                self._grid.progress(run, step, metrics, phase)
            case {"op": "failed", "run": run, "labels": labels, "seed": seed, "reason": reason}:
                self._grid.failed(run, labels, seed, reason)
            case {"op": "sealed", "record": path, "labels": labels}:
                self._grid.sealed(read_record(Path(path)), labels)
            case {"op": "describe", "note": note}:
                self._grid.describe(note)
            case {"op": "artifacts", "folder": folder, "paths": paths}:
                self._grid.artifacts(folder, map(Path, paths))
            case {"op": "settle", "at_work": at_work}:
                self._grid.settle(at_work=at_work)
            case {"op": "end", "status": status}:
                self._grid.end(status)
                self._grid = None
            case _:
                raise ValueError(f"an unknown message: {message}")


@contextlib.contextmanager
def turn(path: Path, wait_s: float = _TURN_S) -> Generator[bool]:
    """Wait for this writer's turn; False when another one kept it for too long, or where there are
    no locks: then both write at once.
    """
    with contextlib.ExitStack() as stack:
        held = False
        with contextlib.suppress(OSError):
            file = stack.enter_context(path.open("ab"))
            held = _locked(file, time.monotonic() + wait_s)
        yield held


def _locked(file: io.BufferedWriter, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


class Hiding(io.TextIOBase):
    """Remove secrets from a stream: the output of MLflow and its libraries goes through it, too.
    also: secrets in addition to the environment's.
    """

    def __init__(self, stream: Any, also: Collection[str] = ()) -> None:
        self._stream, self._also = stream, also

    def write(self, text: str, /) -> int:
        self._stream.write(hidden(text, self._also))
        self._stream.flush()
        return len(text)


def writer_for(results: Results, place: Address, tell: Callable[[str], object]) -> Writer:
    def connect(grid: str, scale: str, open_runs: dict[str, str]) -> GridMirror:
        return GridMirror(results, place, grid, scale, open_runs)

    return Writer(connect, results.root / "mlflow.lock", tell)


def main() -> int:
    results = Results(Path(sys.argv[1]))
    place = address(results)
    output = Hiding(sys.stderr, place.secrets)
    sys.stdout, sys.stderr = output, output
    import_module("mlflow.tracking")  # takes seconds; not while other writers wait for their turn
    return writer_for(results, place, lambda text: output.write(f"{text}\n")).follow(sys.stdin)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
