"""The schedule of a grid: which tasks are ready, which engine slot takes them, what a failure takes with it.

A task is a stage (made once, however many runs need it) or a run (evaluate and record, after its stages). The loop knows no processes: it
asks an engine to start tasks and for events. Failures are contained: the tasks that need a failed one fail with its reason, the rest go on.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from study.errors import StudyError
from study.record.provenance import utc_now
from study.record.store import Results, read_record, write_json
from study.runner.artifacts import sweep_partials
from study.runner.execute import RunPlan
from study.runner.stages import StageNode, stage_graph
from study.runner.worker import Event, Failed, Finished, Payload, Progress, task_id
from study.spec.model import Model

_POLL_S = 0.25


class Engine(Protocol):
    @property
    def free(self) -> int: ...
    def start(self, payload: Payload) -> None: ...
    def events(self, timeout: float) -> list[Event]: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Task:
    """`needs`: ids of the stage tasks that must be finished first."""

    payload: Payload
    needs: frozenset[str]

    @property
    def id(self) -> str:
        return task_id(self.payload)


@dataclass(frozen=True)
class Started:
    task: str


@dataclass(frozen=True)
class Tick:
    """The loop went round: time to show that it is alive."""


@dataclass
class Summary:
    """How a grid ended. `failed`: run id -> reason. A run that was not reached (stopped) is in neither list."""

    sealed_before: list[str] = field(default_factory=list[str])
    sealed_now: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    stopped: bool = False


class Stopped(StudyError):
    """Ended by Ctrl-C or SIGTERM: nothing half-written, everything finished is kept."""

    exit_code = 130


Notice = Started | Tick | Event
Observe = Callable[[Notice], None]


def pending_runs(runs: Sequence[RunPlan], results: Results) -> tuple[list[RunPlan], list[str]]:
    """(runs without a sealed record, ids of the sealed ones). A corrupt record raises RecordMismatch before anything is spent."""
    sealed = {run.run_id for run in runs if results.record(run.run_id).is_file() and read_record(results.record(run.run_id))}
    return [run for run in runs if run.run_id not in sealed], [run.run_id for run in runs if run.run_id in sealed]


def tasks_for(runs: Sequence[RunPlan], results: Results) -> list[Task]:
    """The tasks of these runs in the order in which they should start: run by run, each stage where it is first needed.

    A stage whose artifact folder exists is not a task: the task that uses it checks it. Stages behind a finished one are not needed.
    """
    tasks: dict[str, Task] = {}
    for run in runs:
        missing = _missing_stages(run.cell.model, run.seed, results)
        for node in missing.values():
            tasks.setdefault(node.id, Task(node, frozenset(node.inputs.values()) & missing.keys()))
        own = stage_graph(run.cell.model, run.seed)[-1:]
        tasks[run.run_id] = Task(run, frozenset(node.id for node in own) & missing.keys())
    return list(tasks.values())


def _missing_stages(model: Model, seed: int, results: Results) -> dict[str, StageNode]:
    """The stages to make, inputs first: walked from the model down, stopping at artifacts that are there."""
    graph = {node.id: node for node in stage_graph(model, seed)}
    wanted = set(list(graph)[-1:])
    for node in reversed(graph.values()):
        if node.id in wanted and not results.artifact(node.id).exists():
            wanted |= set(node.inputs.values())
    return {stage: node for stage, node in graph.items() if stage in wanted and not results.artifact(stage).exists()}


class Schedule:
    """State of one `study run`: tasks waiting, running, finished, failed."""

    def __init__(self, tasks: Sequence[Task], results: Results, engine: Engine, observe: Observe) -> None:
        self._tasks = {task.id: task for task in tasks}
        self._waiting = list(self._tasks)
        self._running: set[str] = set()
        self._finished: set[str] = set()
        self._results, self._engine, self._observe = results, engine, observe
        self.failed: dict[str, Failed] = {}

    def run(self) -> bool:
        """Run all tasks; False when a signal ended it early."""
        try:
            with _signals() as signalled:
                while (self._waiting or self._running) and not signalled:
                    self._start_ready()
                    for event in self._engine.events(_POLL_S):
                        self._take(event)
                    self._observe(Tick())
                return not signalled
        finally:
            self._engine.stop()
            sweep_partials(self._results)

    def _start_ready(self) -> None:
        for task in [self._tasks[name] for name in self._waiting]:
            if self._engine.free <= 0:
                return
            if task.needs <= self._finished:
                self._waiting.remove(task.id)
                self._running.add(task.id)
                self._engine.start(task.payload)
                self._observe(Started(task.id))

    def _take(self, event: Event) -> None:
        match event:
            case Progress():
                self._observe(event)
            case Finished():
                self._running.discard(event.task)
                self._finished.add(event.task)
                self._observe(event)
            case Failed():
                self._running.discard(event.task)
                self._fail(event, event.task)

    def _fail(self, event: Failed, origin: str) -> None:
        """Note a failure and hand it on to every task that needs this one."""
        self.failed[event.task] = event
        task = self._tasks[event.task]
        folder = self._results.stage(task.id) if isinstance(task.payload, StageNode) else self._results.run(task.id)
        failure = {"stage": origin, "error": event.error, "hint": event.hint, "traceback": event.trace, "at": utc_now()}
        write_json(folder / "failure.json", failure)
        self._observe(event)
        for name in [name for name in self._waiting if event.task in self._tasks[name].needs]:
            if name in self._waiting:  # a task can need two failed ones
                self._waiting.remove(name)
                reason = f"stage {origin} failed: {event.error}" if origin == event.task else event.error
                self._fail(Failed(name, reason, event.hint), origin)


def run_grid(runs: Sequence[RunPlan], results: Results, engine: Engine, observe: Observe) -> Summary:
    """Bring every run of `runs` to a sealed record, or to a failure with its reason; sealed ones are left alone."""
    sweep_partials(results)
    pending, sealed = pending_runs(runs, results)
    schedule = Schedule(tasks_for(pending, results), results, engine, observe)
    complete = schedule.run()
    failed = {run.run_id: schedule.failed[run.run_id].error for run in pending if run.run_id in schedule.failed}
    now = [run.run_id for run in pending if results.record(run.run_id).is_file()]
    return Summary(sealed_before=sealed, sealed_now=now, failed=failed, stopped=not complete)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM become an entry in a list that the loop looks at; the old handlers come back."""
    seen: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        seen.append(signum)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
