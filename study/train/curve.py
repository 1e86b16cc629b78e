"""Record the training curve: at fixed steps, an evaluation on held-out problems and the means of
what was measured since the last point.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from study.data.problems import Problem
from study.evaluate.light import curve_point
from study.record.progress import ReportProgress
from study.record.seeds import stream
from study.spec.recipe.training import Curve, Sampling
from study.train.progress import History, finite


class Window:
    """Sums and counts since the last point; a mean over nothing is absent, never zero.

    A value that is not finite stays visible.
    """

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: defaultdict[str, float] = defaultdict(float)

    def add(self, name: str, total: float, count: float = 1.0) -> None:
        self._sums[name] += total
        self._counts[name] += count

    def take(self) -> dict[str, float]:
        means = {name: self._sums[name] / count for name, count in self._counts.items() if count}
        self.__init__()
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums, self._counts = (
            defaultdict(float, state["sums"]),
            defaultdict(float, state["counts"]),
        )


class CurveCallback(TrainerCallback):
    """Evaluate at step 0, every `curve.every` steps and at the last step; the problems are held out
    and no choice depends on them.
    """

    def __init__(
        self, phase: str, total: int, curve: Curve, sampling: Sampling, problems: Sequence[Problem],
        tokenizer: PreTrainedTokenizerBase,
        seed: int, report: ReportProgress, window: "Window | None" = None,
    ) -> None:  # fmt: skip
        self.phase, self.total, self.curve, self.sampling, self.problems = (
            phase,
            total,
            curve,
            sampling,
            problems,
        )
        self.tokenizer, self.seed, self.report, self.window = (
            tokenizer,
            seed,
            report,
            window or Window(),
        )
        self.history = History()
        self.latest: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "columns": self.history.columns,
            "latest": self.latest,
            "window": self.window.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history.columns, self.latest = state["columns"], state["latest"]
        self.window.load_state_dict(state["window"])

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        # A stage that continues has its point 0 already.
        if state.global_step == 0:
            self._point(model, 0)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        for key, name in (("loss", "train/loss"), ("grad_norm", "train/grad_norm")):
            if logs and key in logs:
                self.window.add(name, float(logs[key]))

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        self.report(self.phase, state.global_step, self.total, finite(self.latest))

    # on_log for a step comes after its on_step_end; a point is therefore taken when the next step
    # begins, or when training ends.
    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        if state.global_step and state.global_step % self.curve.every == 0:
            self._point(model, state.global_step)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        self._point(model, state.global_step)

    def _point(self, model: Any, step: int) -> None:
        metrics = curve_point(
            model,
            self.tokenizer,
            self.problems,
            self.curve,
            self.sampling,
            stream(self.seed, "curve", step),
        )
        self.latest = self.window.take() | metrics
        self.history.add(step, self.latest)
        self.report(self.phase, step, self.total, finite(self.latest))
