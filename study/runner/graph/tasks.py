"""The tasks of a grid: the stages that are not made yet and the runs that are not recorded, each
with what it must wait for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from study.errors import RecordMismatch
from study.record.store import Results, read_record
from study.record.upgrade import NewerSchema
from study.runner.graph.stages import RunPlan, StageNode, read_by_run, run_graph, stage_graph
from study.runner.work.artifacts import is_made, quarantine
from study.runner.work.worker import Payload, task_id


@dataclass(frozen=True)
class Task:
    """`needs`: ids of the stage tasks that must be finished first."""

    payload: Payload
    needs: frozenset[str]

    @property
    def id(self) -> str:
        return task_id(self.payload)


def pending_runs(
    runs: Sequence[RunPlan], results: Results, remark: Callable[[str], None] | None = None
) -> tuple[list[RunPlan], list[str]]:
    """(runs without a sealed record, ids of the sealed ones).

    A corrupt record is moved aside, with a remark, and its run is pending.
    """
    sealed: set[str] = set()
    for run in runs:
        path = results.record(run.run_id)
        try:
            if path.is_file() and read_record(path):
                sealed.add(run.run_id)
        except NewerSchema:
            raise
        except RecordMismatch as error:
            place = quarantine(path, results)
            if remark:
                remark(f"{error.message}; moved to {place}, its run is made again")
    return [run for run in runs if run.run_id not in sealed], [
        run.run_id for run in runs if run.run_id in sealed
    ]


def tasks_for(runs: Sequence[RunPlan], results: Results) -> list[Task]:
    """The tasks of these runs in the order in which they should start: run by run, each stage where
    it is first needed.

    A stage whose artifact is there is not a task: the task that uses it checks it. Stages behind a
    finished one are not needed.
    """
    tasks: dict[str, Task] = {}
    for run in runs:
        missing = _missing_stages(run, results)
        for node in missing.values():
            tasks.setdefault(node.id, Task(node, frozenset(node.inputs.values()) & missing.keys()))
        tasks[run.run_id] = Task(run, frozenset(read_by_run(run.cell, run.seed)) & missing.keys())
    return list(tasks.values())


def _missing_stages(run: RunPlan, results: Results) -> dict[str, StageNode]:
    """The stages to make, inputs first: walked from what the run reads down, stopping at artifacts
    that are there.
    """
    graph = {node.id: node for node in run_graph(run.cell, run.seed)}
    wanted = set(read_by_run(run.cell, run.seed))
    for node in reversed(graph.values()):
        if node.id in wanted and not is_made(results.artifact(node.id)):
            wanted |= set(node.inputs.values())
    return {
        stage: node
        for stage, node in graph.items()
        if stage in wanted and not is_made(results.artifact(stage))
    }


def graph_of(task: Task) -> tuple[StageNode, ...]:
    """Every stage behind a task, itself included if it is one."""
    payload = task.payload
    return (
        stage_graph(payload.recipe, payload.seed)
        if isinstance(payload, StageNode)
        else run_graph(payload.cell, payload.seed)
    )


def stages_read_by(task: Task) -> set[str]:
    """What a task reads: the stage behind a run, the inputs of a stage."""
    payload = task.payload
    return set(
        payload.inputs.values()
        if isinstance(payload, StageNode)
        else read_by_run(payload.cell, payload.seed)
    )
