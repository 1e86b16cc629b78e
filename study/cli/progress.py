"""The progress of a running grid: bars with an ETA on a terminal; in a log a line per finished task
and at most one heartbeat per minute.
"""

import time
from collections.abc import Callable
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from study.cli import console
from study.errors import RecordMismatch
from study.record.store import Results, read_record
from study.runner.engines.notices import Left, Notice, Started, Tick
from study.runner.graph.plan import Plan, State
from study.runner.graph.stages import StageNode
from study.runner.work.worker import Failed, Finished
from study.runner.work.worker import Progress as Advance
from study.spec.grid.labelled import LabelledRun
from study.spec.recipe.model import PretrainedLab

_HEARTBEAT_S = 60.0
_HEADLINE = ("eval/avg@", "train/reverse_kl", "train/loss")


def run_name(run: LabelledRun) -> str:
    seed = f"s{run.seed}" + (f"r{run.repeat}" if run.repeat else "")
    return " ".join([*run.labels.values(), seed])


def stage_name(node: StageNode, own: dict[str, list[LabelledRun]]) -> str:
    """Return `distill <labels>` for a stage of one run; else the name of its model, or its id."""
    users = own.get(node.id, [])
    if len(users) == 1:
        return f"{node.kind} {run_name(users[0])}"
    return (
        f"{node.kind} {node.recipe.name} s{node.seed}"
        if isinstance(node.recipe, PretrainedLab)
        else f"{node.id} s{node.seed}"
    )


class Board:
    """The state of a running grid, for its display.

    ETA = expected rest of all tasks x (measured / expected seconds so far) / processes.
    """

    def __init__(
        self,
        plan: Plan,
        own_stage: dict[str, list[LabelledRun]],
        jobs: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        pending = [planned for planned in plan.runs if planned.state is not State.DONE]
        runs = [planned.run for planned in pending]
        self.names = {stage.node.id: stage_name(stage.node, own_stage) for stage in plan.stages}
        self.names |= {run.run_id: f"evaluate {run_name(run)}" for run in runs}
        self._expected = {stage.node.id: stage.seconds for stage in plan.stages} | {
            p.run.run_id: p.seconds for p in pending
        }
        self._waiting = set(self._expected)
        self._began: dict[str, float] = {}
        self.advance: dict[str, Advance] = {}
        self._measured: list[tuple[float, float]] = []  # (expected, actual)
        self.runs = {run.run_id for run in runs}
        self.total_runs, self.sealed_runs, self.failed_runs = (
            len(plan.runs),
            len(plan.runs) - len(pending),
            0,
        )
        self._jobs, self._now = jobs, now

    @property
    def running(self) -> list[str]:
        return list(self._began)

    def take(self, notice: Notice) -> None:
        match notice:
            case Started(task):
                self._waiting.discard(task)
                self._began[task] = self._now()
            case Advance():
                self.advance[notice.task] = notice
            case Finished(task, wall_s):
                self._measured.append((self._expected.get(task, 0.0), wall_s))
                self._leave(task)
                self.sealed_runs += task in self.runs
            case Failed(task):
                self._leave(task)
                self.failed_runs += task in self.runs
            case Left(task):
                self._began.pop(task, None)
                self._waiting |= {task} & self._expected.keys()
            case _:
                return

    def name(self, task: str) -> str:
        """Return the display name of a task.

        A damaged stage that is made again is not in the plan; its name is its id.
        """
        return self.names.get(task, task)

    def _leave(self, task: str) -> None:
        self._waiting.discard(task)
        self._began.pop(task, None)

    @property
    def eta_s(self) -> float:
        expected, actual = (
            (sum(column) for column in zip(*self._measured, strict=True))
            if self._measured
            else (0.0, 0.0)
        )
        speed = actual / expected if expected else 1.0
        rest = sum(self._expected[task] for task in self._waiting) * speed + sum(
            self._rest(task, speed) for task in self._began
        )
        return rest / self._jobs

    def _rest(self, task: str, speed: float) -> float:
        elapsed, advance = self._now() - self._began[task], self.advance.get(task)
        fraction = advance.done / advance.total if advance and advance.total else 0.0
        return (
            elapsed * (1 - fraction) / fraction
            if fraction > 0.05
            else max(self._expected.get(task, 0.0) * speed - elapsed, 0.0)
        )

    def line(self, task: str) -> str:
        """Return e.g. `evaluate rlvr biased_k1 s0 62/120 eval/avg@2 0.81`."""
        advance = self.advance.get(task)
        return (
            f"{self.name(task)} {advance.done}/{advance.total}{headline(advance.latest)}"
            if advance
            else self.name(task)
        )

    def summary(self) -> str:
        failed = f", {self.failed_runs} failed" if self.failed_runs else ""
        eta = self.eta_s
        # Without a guess and a measurement the rest is unknown, not zero.
        known = eta > 0 or self.sealed_runs + self.failed_runs == self.total_runs
        return f"{self.sealed_runs}/{self.total_runs} runs{failed}" + (
            f", about {console.duration(eta)} left" if known else ""
        )


def headline(latest: dict[str, float]) -> str:
    """Format at most two of: sampled accuracy, reverse KL, loss."""
    found = [
        (name, latest[name])
        for wanted in _HEADLINE
        for name in sorted(latest)
        if name.startswith(wanted)
    ]
    return "".join(f" {name} {value:.3g}" for name, value in found[:2])


class Display(Protocol):
    def __call__(self, notice: Notice) -> None: ...
    def close(self) -> None: ...


class LogDisplay:
    """One line per finished task, one per failure, a heartbeat when a minute brought neither."""

    def __init__(
        self, board: Board, results: Results, say: Callable[[str], None] = console.say
    ) -> None:
        self._board, self._results, self._say = board, results, say
        self._last = time.monotonic()

    def __call__(self, notice: Notice) -> None:
        self._board.take(notice)
        match notice:
            case Finished() | Failed():
                self._line(outcome_line(notice, self._board, self._results))
            case Left(task, why):
                self._line(f"{self._board.name(task)}: {why}")
            case Tick() if time.monotonic() - self._last >= _HEARTBEAT_S:
                self._line(
                    "; ".join([self._board.summary(), *map(self._board.line, self._board.running)])
                )
            case _:
                return

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        self._say(f"{time.strftime('%H:%M:%S')} {text}")

    def close(self) -> None:
        return


class TerminalDisplay:
    """A bar for the grid and one for each task at work, with finished lines above them."""

    def __init__(self, board: Board, results: Results) -> None:
        self._board, self._results = board, results
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(
            *columns, console=console.screen(), refresh_per_second=4, transient=True
        )
        self._bars: dict[str, TaskID] = {}
        self._grid = self._progress.add_task(
            "grid", total=board.total_runs, completed=board.sealed_runs, note=""
        )
        self._progress.start()

    def __call__(self, notice: Notice) -> None:
        self._board.take(notice)
        match notice:
            case Started(task):
                self._bars[task] = self._progress.add_task(
                    self._board.name(task), total=None, note=""
                )
            case Advance():
                note = f"{notice.done}/{notice.total} {notice.phase}{headline(notice.latest)}"
                self._progress.update(
                    self._bars[notice.task], total=notice.total, completed=notice.done, note=note
                )
            case Finished(task) | Failed(task):
                self._print(outcome_line(notice, self._board, self._results))
                self._remove(task)
            case Left(task, why):
                self._print(f"{self._board.name(task)}: {why}")
                self._remove(task)
            case Tick():
                done = self._board.sealed_runs + self._board.failed_runs
                self._progress.update(self._grid, completed=done, note=self._board.summary())

    def _print(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _remove(self, task: str) -> None:
        if task in self._bars:
            self._progress.remove_task(self._bars.pop(task))

    def close(self) -> None:
        self._progress.stop()


def outcome_line(notice: Finished | Failed, board: Board, results: Results) -> str:
    name = board.name(notice.task)
    match notice:
        case Failed():
            return f"FAILED  {name}: {notice.error}"
        case Finished() if notice.task in board.runs:
            return (
                f"sealed  {name.removeprefix('evaluate ')}{_scores(results, notice.task)} "
                f" [{board.summary()}]"
            )
        case Finished():
            return f"made    {name} in {console.duration(notice.wall_s)}"


def _scores(results: Results, run_id: str) -> str:
    try:
        record = read_record(results.record(run_id))
    except (OSError, RecordMismatch):
        return ""  # only for display: what uses the record checks it
    return "".join(
        f"  {task} avg@{score.k} {score.mean:.3f}" for task, score in record.scores.items()
    )


def display_for(board: Board, results: Results) -> Display:
    return TerminalDisplay(board, results) if console.is_terminal() else LogDisplay(board, results)
