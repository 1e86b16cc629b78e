"""The schedule of a grid: which tasks are ready, which of them the engine can start, and which
tasks fail because of a failed one.

A task is a stage (made once, however many runs need it) or a run (evaluate and record, after its
stages). The loop knows nothing of processes: an engine starts tasks and returns events. Failures
are contained: the tasks that need a failed one fail with its reason, the rest go on. A task that
another `study run` is making is waited for; a damaged artifact is made again.
"""

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import assert_never

from study.models.server.server import sweep_servers
from study.record.provenance import utc_now
from study.record.store import Results, write_json
from study.runner.engines.devices import size
from study.runner.engines.notices import Engine, Left, Observe, Started, Summary, Tick
from study.runner.graph.stages import RunPlan, StageNode
from study.runner.graph.tasks import WorkItem, graph_of, stages_read_by
from study.runner.graph.walk import Walk
from study.runner.work.artifacts import drop_weights, is_made
from study.runner.work.locks import Watch
from study.runner.work.sweep import sweep
from study.runner.work.worker import (
    Busy,
    Event,
    Failed,
    Finished,
    Progress,
    Spoiled,
    task_kind,
)
from study.spec.machine.profile import Profile

_POLL_S, _LOOK_AROUND_S = 0.25, 1.0


class Schedule:
    """State of one `study run`: tasks waiting, running, made elsewhere, finished, failed."""

    def __init__(
        self,
        tasks: Sequence[WorkItem],
        results: Results,
        engine: Engine,
        observe: Observe,
        profile: Profile,
    ) -> None:
        self._tasks = {
            task.id: task
            for task in sorted(
                tasks, key=lambda task: size(profile.resources_for(task_kind(task.payload)))
            )
        }
        self._waiting = list(self._tasks)
        self._running: set[str] = set()
        self._elsewhere: set[str] = set()
        self._finished: set[str] = set()
        self._attempts: Counter[str] = Counter()
        self._results, self._engine, self._observe, self._profile = (
            results,
            engine,
            observe,
            profile,
        )
        self._watch, self._looked = Watch(results.locks, profile.lease_s), 0.0
        self._not_kept = _readers_of_unkept(tasks, profile)
        self.failed: dict[str, Failed] = {}
        self.fatal: Failed | None = None

    def run(self) -> bool:
        """Run all tasks; False when a signal ended it early.

        Raises PrerequisiteError for a task that can never start here.
        """
        try:
            self._engine.require({task_kind(task.payload) for task in self._tasks.values()})
            with _signals() as signalled:
                while self._unfinished() and not signalled:
                    if self.fatal is None:
                        self._start_ready()
                    for event in self._engine.events(_POLL_S):
                        self._take(event)
                    self._look_around()
                    self._observe(Tick())
                return not signalled
        finally:
            self._engine.stop()
            sweep(self._results)

    def _unfinished(self) -> bool:
        return (
            bool(self._running)
            if self.fatal
            else bool(self._waiting or self._running or self._elsewhere)
        )

    def _start_ready(self) -> None:
        for task in [self._tasks[name] for name in self._waiting]:
            if not task.needs <= self._finished or not self._engine.fits(task.payload):
                continue
            self._waiting.remove(task.id)
            if self._done_elsewhere(task):
                self._finish(Finished(task.id, 0.0))
            elif self._watch.held(task.id) and not self._engine.adopts(task.payload):
                self._leave_to_others(task.id)
            else:
                self._running.add(task.id)
                self._attempts[task.id] += 1
                self._engine.start(task.payload)
                self._observe(Started(task.id))

    def _done_elsewhere(self, task: WorkItem) -> bool:
        """Whether another runner has made the task since the plan was made."""
        if isinstance(task.payload, StageNode):
            return is_made(self._results.artifact(task.id))
        return self._results.record(task.id).is_file()

    def _leave_to_others(self, task: str) -> None:
        self._elsewhere.add(task)
        self._observe(Left(task, "another study run makes it"))

    def _look_around(self) -> None:
        """Check the tasks of other runners: made, still being made,
        or abandoned by a process that died.
        """
        if time.monotonic() - self._looked < _LOOK_AROUND_S:
            return
        self._looked = time.monotonic()
        for task in sorted(self._elsewhere):
            if not self._watch.held(task):
                self._elsewhere.discard(task)
                self._waiting.insert(0, task)  # made, as _start_ready will see, or to be made here

    def _take(self, event: Event) -> None:
        match event:
            case Progress():
                self._observe(event)
                return
            case Finished() | Failed() | Busy() | Spoiled():
                self._running.discard(event.task)
        match event:
            case Finished():
                self._finish(event)
            case Failed():
                self._fail_or_retry(event)
            case Busy():
                self._leave_to_others(event.task)
            case Spoiled():
                self._make_again(event)
            case _:
                assert_never(event)

    def _finish(self, event: Finished) -> None:
        self._finished.add(event.task)
        self._observe(event)
        if isinstance(self._tasks[event.task].payload, RunPlan):
            self._drop_unneeded()

    def _drop_unneeded(self) -> None:
        """Remove weights that the profile does not keep once every
        task here that reads them is finished.
        """
        for stage, readers in self._not_kept.items():
            if readers <= self._finished and is_made(self._results.artifact(stage)):
                drop_weights(self._results.artifact(stage))

    def _make_again(self, event: Spoiled) -> None:
        """Make a stage whose artifact is damaged a task again, with those of its own inputs that
        are missing.
        """
        task = self._tasks[event.task]
        nodes = {node.id: node for node in graph_of(task)}
        wanted = [event.stage]
        for stage in wanted:
            node = replace(nodes[stage], claims=task.payload.claims)
            missing = [
                name for name in node.inputs.values() if not is_made(self._results.artifact(name))
            ]
            wanted += [name for name in missing if name not in wanted]
            self._tasks[stage] = WorkItem(node, frozenset(missing))
            self._finished.discard(stage)
            if stage not in (*self._waiting, *self._running, *self._elsewhere):
                self._waiting.insert(0, stage)
        self._tasks[event.task] = replace(task, needs=task.needs | {event.stage})
        self._waiting.append(event.task)
        self._observe(Left(event.task, f"{event.stage} is made again first: {event.reason}"))

    def _fail_or_retry(self, event: Failed) -> None:
        if event.again and self._attempts[event.task] <= self._profile.retries:
            self._observe(Left(event.task, f"tried again: {event.error}"))
            self._waiting.insert(0, event.task)
            return
        if event.fatal and self.fatal is None:
            self.fatal = event
        self._fail(event, event.task)

    def _fail(self, event: Failed, origin: str) -> None:
        """Record a failure, and fail every task that needs this one."""
        self.failed[event.task] = event
        task = self._tasks[event.task]
        folder = (
            self._results.stage(task.id)
            if isinstance(task.payload, StageNode)
            else self._results.run(task.id)
        )
        failure = {
            "stage": origin,
            "error": event.error,
            "hint": event.hint,
            "traceback": event.trace,
            "at": utc_now(),
        }
        with contextlib.suppress(OSError):  # on a full disk the reason still reaches the screen
            write_json(folder / "failure.json", failure)
        self._observe(event)
        for name in [name for name in self._waiting if event.task in self._tasks[name].needs]:
            if name in self._waiting:  # a task can need two failed ones
                self._waiting.remove(name)
                reason = (
                    f"stage {origin} failed: {event.error}" if origin == event.task else event.error
                )
                self._fail(Failed(name, reason, event.hint), origin)


def _readers_of_unkept(tasks: Sequence[WorkItem], profile: Profile) -> dict[str, set[str]]:
    """Return stage id -> the tasks that read its weights, for stages whose weights the profile does
    not keep.
    """
    unkept = {kind for kind, keep in profile.keep.items() if keep == "none"}
    if not unkept:
        return {}
    stages = [node.id for task in tasks for node in graph_of(task) if node.kind in unkept]
    return {
        stage: {task.id for task in tasks if stage in stages_read_by(task)}
        for stage in dict.fromkeys(stages)
    }


def run_grid(walk: Walk, engine: Engine, observe: Observe) -> Summary:
    """Bring every pending run to a sealed record, or to a failure with its reason; sealed ones are
    left alone.
    """
    sweep_servers()
    sweep(walk.results)
    schedule = Schedule(walk.tasks, walk.results, engine, observe, walk.profile)
    complete = schedule.run()
    pending = [run.run_id for run in walk.pending]
    failed = {run: schedule.failed[run].error for run in pending if run in schedule.failed}
    return Summary(
        sealed_before=list(walk.sealed),
        # Read again, because other runners that share the folder seal some of these runs.
        sealed_now=[run for run in pending if walk.results.record(run).is_file()],
        failed=failed,
        stopped=not complete,
        fatal=schedule.fatal,
    )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list that the loop reads;
    restore the old handlers at the end.
    """
    seen: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        seen.append(signum)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
