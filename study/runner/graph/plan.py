"""Plan a grid: compare the existing records and artifacts with the runs and stages of the grid, and
say what is missing and why.

Nothing is changed and no model code is loaded. A run is done when its sealed record is under
`runs/`; committed evidence in `records/` never counts. A stage is made when its manifest exists
(its hashes are checked when it is used). Ids come from content, so a record of other settings has
another id: it is found by its slug and seed, and compared to say what changed.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from study.record.store import Results
from study.runner.graph.durations import Durations, measured_durations
from study.runner.graph.reasons import earlier_records, sealed_record, why_pending
from study.runner.graph.restarts import Restart, restarts
from study.runner.graph.stages import StageNode, read_by_run, run_graph
from study.runner.work.artifacts import MANIFEST, is_made
from study.spec.grid.labelled import LabelledRun


class State(StrEnum):
    DONE = "done"
    PENDING = "pending"
    FAILED = "failed"  # the last try failed; the next `study run` tries again


@dataclass(frozen=True)
class PlannedStage:
    """A stage that has to be made. used_by: runs that wait for it."""

    node: StageNode
    state: State
    why: str
    seconds: float
    used_by: int


@dataclass(frozen=True)
class PlannedRun:
    """A planned run.

    stages: ids that must be made first, inputs before their
    users. seconds: of the final evaluation only.
    """

    run: LabelledRun
    state: State
    why: str
    stages: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Plan:
    runs: tuple[PlannedRun, ...]
    stages: tuple[PlannedStage, ...]  # to be made; inputs first
    published: int  # committed records of these runs, which never satisfy a plan
    restarts: tuple[Restart, ...] = ()  # stages whose checkpoint another state of the code wrote

    @cached_property
    def counts(self) -> Counter[State]:
        return Counter(planned.state for planned in self.runs)

    @property
    def core_seconds(self) -> float:
        """Return the time of one core for everything that is missing."""
        return sum(s.seconds for s in self.stages) + sum(
            r.seconds for r in self.runs if r.state is not State.DONE
        )

    def seconds(self, jobs: int) -> float:
        """Return the wall time on `jobs` processes: the work divided by them, but never less than
        the longest chain of stages.
        """
        return max(self.core_seconds / jobs, self._longest_chain())

    def _longest_chain(self) -> float:
        ends: dict[str, float] = {}
        for stage in self.stages:  # inputs come first
            ends[stage.node.id] = stage.seconds + max(
                (ends.get(i, 0.0) for i in stage.node.inputs.values()), default=0.0
            )
        return max(
            (
                r.seconds + max((ends[s] for s in r.stages), default=0.0)
                for r in self.runs
                if r.state is not State.DONE
            ),
            default=0.0,
        )


def make_plan(
    runs: Sequence[LabelledRun],
    results: Results,
    expected_seconds: Mapping[str, float],
    sealed: Mapping[str, float | None] | None = None,
) -> Plan:
    """Plan what is missing; nothing is changed.

    expected_seconds: the scale's own guess for each stage kind, used until one has finished here.
    sealed: the runs with a sealed record -> wall seconds of their evaluation, where the records
    were read already; they are read here otherwise.
    """
    if sealed is None:
        sealed = _sealed_runs(runs, results)
    graphs = {run.run_id: run_graph(run.cell, run.seed) for run in runs}
    read = {run.run_id: read_by_run(run.cell, run.seed) for run in runs}
    made = _made_stages(graphs.values(), results)
    ready = {node.id: node for graph in graphs.values() for node in graph if node.id in made}
    durations = measured_durations(ready.values(), sealed.values(), results, expected_seconds)
    needed = {
        name: () if name in sealed else _needed(graph, read[name], made)
        for name, graph in graphs.items()
    }
    stages = _planned_stages(needed, results, durations)
    earlier = earlier_records(runs, results)
    seconds = durations.evaluation()
    planned = tuple(
        PlannedRun(run, State.DONE, "recorded", (), 0.0)
        if run.run_id in sealed
        else _planned_run(run, needed[run.run_id], stages, results, earlier, seconds)
        for run in runs
    )
    published = sum((results.records / f"{run.run_id}.json").is_file() for run in runs)
    anew = restarts([stage.node for stage in stages.values()], results)
    return Plan(planned, tuple(stages.values()), published, anew)


def _needed(
    graph: tuple[StageNode, ...], read: tuple[str, ...], made: set[str]
) -> tuple[StageNode, ...]:
    """Return the missing stages behind those that are read;
    inputs of a finished stage are not needed.
    """
    nodes = {node.id: node for node in graph}
    wanted: set[str] = set()
    open_ids = list(read)
    while open_ids:
        stage = open_ids.pop()
        if stage not in made and stage not in wanted:
            wanted.add(stage)
            open_ids += nodes[stage].inputs.values()
    return tuple(node for node in graph if node.id in wanted)


def _made_stages(graphs: Any, results: Results) -> set[str]:
    ids = {node.id for graph in graphs for node in graph}
    return {stage for stage in ids if is_made(results.artifact(stage))}


def _planned_stages(
    needed: Mapping[str, tuple[StageNode, ...]], results: Results, durations: Durations
) -> dict[str, PlannedStage]:
    users = Counter(node.id for nodes in needed.values() for node in nodes)
    nodes = {node.id: node for group in needed.values() for node in group}
    planned: dict[str, PlannedStage] = {}
    for name, node in nodes.items():
        failure = _failure(results.stage(name))
        state = State.FAILED if failure else State.PENDING
        why = f"failed: {failure}" if failure else _why_not_made(results.artifact(name))
        planned[name] = PlannedStage(node, state, why, durations.stage(node), users[name])
    return planned


def _why_not_made(folder: Path) -> str:
    return (
        f"its folder has no {MANIFEST}: remove {folder}"
        if folder.exists()
        else "stage artifact missing"
    )


def _planned_run(
    run: LabelledRun,
    needed: tuple[StageNode, ...],
    stages: Mapping[str, PlannedStage],
    results: Results,
    earlier: Mapping[tuple[str, int, int], list[Path]],
    evaluation_s: float,
) -> PlannedRun:
    ids = tuple(node.id for node in needed)
    broken = [stage for stage in ids if stages[stage].state is State.FAILED]
    failure = _failure(results.run(run.run_id))
    if broken or failure:
        why = f"stage {broken[0]} {stages[broken[0]].why}" if broken else f"failed: {failure}"
        return PlannedRun(run, State.FAILED, why, ids, evaluation_s)
    if results.record(run.run_id).exists():
        return PlannedRun(
            run,
            State.FAILED,
            f"corrupt record: remove {results.record(run.run_id)}",
            ids,
            evaluation_s,
        )
    return PlannedRun(run, State.PENDING, why_pending(run, ids, earlier), ids, evaluation_s)


def _sealed_runs(runs: Sequence[LabelledRun], results: Results) -> dict[str, float | None]:
    """Return runs with a record that matches its seal -> wall seconds of their evaluation."""
    found: dict[str, float | None] = {}
    for run in runs:
        record = sealed_record(results.record(run.run_id))
        if record:
            cost = record["cost"].get("evaluate")
            found[run.run_id] = float(cost["wall_s"]) if cost else None
    return found


def _failure(folder: Path) -> str | None:
    """Return why the last try failed, in one line."""
    path = folder / "failure.json"
    if not path.is_file():
        return None
    try:
        reason = str(json.loads(path.read_bytes())["error"]).strip()
    except (OSError, ValueError, KeyError, TypeError):
        return f"see {path}"
    return reason.splitlines()[0] if reason else f"see {path}"
