"""The tasks of a grid: the stages that are not made and the runs that are not recorded, each with
the stages it waits for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.runner.graph.plan import Plan
from study.runner.graph.stages import RunPlan, StageNode, read_by_run, run_graph, stage_graph
from study.runner.work.worker import Payload, task_id


@dataclass(frozen=True)
class WorkItem:
    """A task. `needs`: ids of the stage tasks that must be finished first."""

    payload: Payload
    needs: frozenset[str]

    @property
    def id(self) -> str:
        return task_id(self.payload)


def tasks_for(runs: Sequence[RunPlan], plan: Plan) -> list[WorkItem]:
    """Return the tasks of these runs in the order in which they should start: run by run, each
    stage where it is first needed.

    A stage whose artifact exists is not a task: the task that uses it checks it. Stages behind a
    finished one are not needed.
    """
    nodes = {stage.node.id: stage.node for stage in plan.stages}
    claims = runs[0].claims if runs else None
    missing_for = {planned.run.run_id: planned.stages for planned in plan.runs}
    tasks: dict[str, WorkItem] = {}
    for run in runs:
        missing = set(missing_for[run.run_id])
        for stage in missing_for[run.run_id]:
            needs = frozenset(nodes[stage].inputs.values()) & missing
            tasks.setdefault(stage, WorkItem(replace(nodes[stage], claims=claims), needs))
        tasks[run.run_id] = WorkItem(run, frozenset(read_by_run(run.cell, run.seed)) & missing)
    return list(tasks.values())


def graph_of(task: WorkItem) -> tuple[StageNode, ...]:
    """Return every stage behind a task, itself included if it is one."""
    payload = task.payload
    return (
        stage_graph(payload.recipe, payload.seed)
        if isinstance(payload, StageNode)
        else run_graph(payload.cell, payload.seed)
    )


def stages_read_by(task: WorkItem) -> set[str]:
    """Return the stages that a task reads: the stage behind a run, the inputs of a stage."""
    payload = task.payload
    return set(
        payload.inputs.values()
        if isinstance(payload, StageNode)
        else read_by_run(payload.cell, payload.seed)
    )
