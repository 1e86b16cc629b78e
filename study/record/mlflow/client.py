"""Send messages of the runner to the one process that writes the MLflow mirror
(`study.record.mlflow.writer`), without waiting for it.

It is a separate process because importing mlflow takes seconds and a database or server can hang.
The mirror is never the source: any failure in it costs a warning, and `study sync-mlflow` completes
it from the records.
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

from study.record.mlflow.address import Address, address
from study.record.store import Results

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
# A server that is down gets seconds, not MLflow's default of minutes; the user's own settings take
# precedence.
_SHORT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_NOT_INSTALLED = (
    "no MLflow mirror: mlflow is not installed (extra `lab`); the records are complete without it"
)
_INCOMPLETE = (
    "the MLflow mirror is incomplete (see mlflow.log in the results folder);"
    " complete it: study sync-mlflow"
)
_GOES_ON = "the MLflow mirror is still being written in the background (or: study sync-mlflow)"
_WAIT_S = 30.0


class Mirror:
    """Mirror grids one after the other, each a parent run with one nested run per run.

    Every method returns at once, except `close`.
    """

    def __init__(self, results: Results, uri: str | None = None) -> None:
        """Start the writer. uri: of a tracking server; None = MLFLOW_TRACKING_URI, else the
        database in the results folder.
        """
        self.address = address(results, uri)
        self.warning = "" if find_spec("mlflow") else _NOT_INSTALLED
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        if not self.warning:
            try:
                self._start(results, self.address)
            except OSError as error:  # a full disk, a read-only folder, no more processes
                self.warning = (
                    "no MLflow mirror: its writer could not be started"
                    f" ({error.strerror or error}); later: study sync-mlflow"
                )

    def _start(self, results: Results, place: Address) -> None:
        results.root.mkdir(parents=True, exist_ok=True)
        with (results.root / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "study.record.mlflow.writer", str(results.root)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={
                    **_SHORT,
                    **os.environ,
                    **_QUIET,
                    **place.environment,
                    "MLFLOW_TRACKING_URI": "" if place.local else place.uri,
                },
                # Ctrl-C is for the parent; the writer ends when its input does
                start_new_session=True,
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

    def begin(self, grid: str, scale: str) -> None:
        self._messages.put({"op": "grid", "grid": grid, "scale": scale})

    def started(
        self,
        run_id: str,
        labels: Mapping[str, str],
        seed: int,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Report that a run has begun. parameters: its settings (`fields.cell_parameters`)."""
        message = {"op": "started", "run": run_id, "labels": dict(labels), "seed": seed}
        self._messages.put(message | {"parameters": dict(parameters or {})})

    def progress(self, run_id: str, step: int, metrics: Mapping[str, float], phase: str) -> None:
        """Send points of a running run; phase: what it does now, in words."""
        message = {"op": "progress", "run": run_id, "step": step, "phase": phase}
        self._messages.put(message | {"metrics": dict(metrics)})

    def sealed(self, path: Path, labels: Mapping[str, str]) -> None:
        self._messages.put({"op": "sealed", "record": str(path.resolve()), "labels": dict(labels)})

    def failed(self, run_id: str, labels: Mapping[str, str], seed: int, reason: str) -> None:
        self._messages.put(
            {"op": "failed", "run": run_id, "labels": dict(labels), "seed": seed, "reason": reason}
        )

    def describe(self, note: str) -> None:
        """Send the description of the grid's run, in Markdown."""
        self._messages.put({"op": "describe", "note": note})

    def artifacts(self, folder: str, paths: Sequence[Path]) -> None:
        """Send files as artifacts of the grid's run, below `folder` ("" = at the top)."""
        whole = [str(path.resolve()) for path in paths]
        self._messages.put({"op": "artifacts", "folder": folder, "paths": whole})

    def settle(self, *, at_work: bool) -> None:
        """Remove duplicates. at_work: a `study run` is running on the folder; without one, what
        still reads RUNNING was killed.
        """
        self._messages.put({"op": "settle", "at_work": at_work})

    def end(self, status: str) -> None:
        """Give the grid's run its final status: FINISHED, FAILED or KILLED."""
        self._messages.put({"op": "end", "status": status})

    def close(self, timeout: float | None = _WAIT_S) -> str:
        """Wait for the writer, at most `timeout` seconds; return a warning if the mirror is not
        complete by then.
        """
        self._messages.put(None)
        if self._process is None:
            return self.warning
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            # Messages that were not sent are lost with this process.
            return _INCOMPLETE if self._sender.is_alive() else _GOES_ON
        return "" if code == 0 else _INCOMPLETE
