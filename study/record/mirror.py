"""The parent's handle on the MLflow mirror: messages go to one writer process (`study.record.tracking`), nothing is waited for.

One writer, so that parallel runs never lock the database; a process of its own, because importing mlflow takes seconds. The mirror is never
the source: whatever goes wrong in it costs a warning, and `study sync-mlflow` makes it whole from the records.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from study.record.store import Results

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
_NOT_INSTALLED = "no MLflow mirror: mlflow is not installed (extra `lab`); the records are complete without it"
_INCOMPLETE = "the MLflow mirror is incomplete (see mlflow.log in the results folder); make it whole: study sync-mlflow"


class Mirror:
    """A grid's mirror: a parent run with one nested run per run. Every method returns at once, except `close`."""

    def __init__(self, results: Results, grid: str, scale: str) -> None:
        self.warning = "" if find_spec("mlflow") else _NOT_INSTALLED
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        if not self.warning:
            self._start(results)
        self._messages.put({"op": "grid", "grid": grid, "scale": scale})

    def _start(self, results: Results) -> None:
        results.root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "study.record.tracking", str(results.root)]
        with (results.root / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **_QUIET},
                start_new_session=True,  # Ctrl-C is for the parent; the writer ends when its input does
            )
        self._sender = threading.Thread(target=self._send, args=(self._process,), daemon=True)
        self._sender.start()

    def _send(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        try:
            while (message := self._messages.get()) is not None:
                process.stdin.write(json.dumps(message).encode() + b"\n")
                process.stdin.flush()
            process.stdin.close()
        except OSError:
            return  # the writer is gone; close() reports it by its exit code

    def started(self, run_id: str, labels: Mapping[str, str], seed: int) -> None:
        self._messages.put({"op": "started", "run": run_id, "labels": dict(labels), "seed": seed})

    def sealed(self, path: Path, labels: Mapping[str, str]) -> None:
        self._messages.put({"op": "sealed", "record": str(path), "labels": dict(labels)})

    def failed(self, run_id: str, labels: Mapping[str, str], seed: int, reason: str) -> None:
        self._messages.put({"op": "failed", "run": run_id, "labels": dict(labels), "seed": seed, "reason": reason})

    def figures(self, paths: Sequence[Path]) -> None:
        """Pictures as artifacts of the grid's run."""
        self._messages.put({"op": "figures", "paths": [str(path) for path in paths]})

    def close(self, status: str, timeout: float | None = 60.0) -> str:
        """Give the grid's run its final status (FINISHED, FAILED or KILLED) and wait for the writer; a warning if that did not work."""
        self._messages.put({"op": "end", "status": status})
        self._messages.put(None)
        if self._process is None:
            return self.warning
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return "the MLflow mirror is still being written; it goes on by itself (or: study sync-mlflow)"
        return "" if code == 0 else _INCOMPLETE
