"""Report the progress of a trainer while it runs, and keep
a columnar history of its measurements.
"""

import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from study.record.progress import ReportProgress

Metrics = dict[str, float]


def finite(metrics: Metrics) -> Metrics:
    """Return the finite values, which a progress line can show."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


class History:
    """Rows of metrics by step, kept as columns; a metric that a row lacks is None, never zero."""

    def __init__(self) -> None:
        self.columns: dict[str, list[float | None]] = {"step": []}

    def add(self, step: int, metrics: Metrics) -> None:
        rows = len(self.columns["step"])
        self.columns["step"].append(step)
        for name in metrics:
            self.columns.setdefault(name, [None] * rows)
        for name, column in self.columns.items():
            if name != "step":
                column.append(metrics.get(name))


class ProgressCallback(TrainerCallback):
    """Report every `every` steps and keep the trainer's logged loss and gradient norm."""

    def __init__(self, phase: str, total: int, report: ReportProgress, every: int) -> None:
        self.phase, self.total, self.report, self.every = phase, total, report, every
        self.history = History()

    def state_dict(self) -> dict[str, Any]:
        return {"columns": self.history.columns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history.columns = state["columns"]

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        logs = logs or {}
        wanted = {"loss": "train/loss", "grad_norm": "train/grad_norm"}
        # A loss that is not finite is a result too: it stays in the history.
        row = {name: float(logs[key]) for key, name in wanted.items() if key in logs}
        if "loss" in logs:
            self.history.add(state.global_step, row)
            self.report(self.phase, state.global_step, self.total, finite(row))
