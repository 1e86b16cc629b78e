"""A task as a JSON file for a process that is started elsewhere: what to make, who makes it, on
which machine.

A stage is its recipe and seed, a run its cell and seed. Everything else is derived from them again,
so a file cannot contradict them.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from study.errors import RecordMismatch
from study.record.store import write_json
from study.runner.graph.stages import RunPlan, Staged, stage_graph
from study.runner.work.execute import Work
from study.runner.work.worker import Payload
from study.spec.grid.cell import Cell
from study.spec.machine.profile import Profile

_RECIPE: TypeAdapter[Staged] = TypeAdapter(Staged)


@dataclass(frozen=True)
class Assignment:
    payload: Payload
    entry: Work
    profile: Profile


def write_assignment(path: Path, assignment: Assignment) -> None:
    payload = assignment.payload
    if isinstance(payload, RunPlan):
        task: dict[str, Any] = asdict(payload) | {"cell": payload.cell.model_dump(mode="json")}
    else:
        task = {
            "recipe": payload.recipe.model_dump(mode="json"),
            "seed": payload.seed,
            "id": payload.id,
            "claims": payload.claims,
        }
    write_json(
        path,
        {
            "task": task,
            "work": asdict(assignment.entry),
            "profile": assignment.profile.model_dump(mode="json"),
        },
    )


def read_assignment(path: Path) -> Assignment:
    """Read an assignment; RecordMismatch if the file is damaged or was written by other code."""
    try:
        page: Any = json.loads(path.read_bytes())
        entry, profile = (
            Work(**page["work"]),
            Profile.model_validate_json(json.dumps(page["profile"])),
        )
        return Assignment(_payload(page["task"]), entry, profile)
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        hint = "type the same study run again: it writes the file again"
        raise RecordMismatch(
            f"{path}: not a task that can be carried out ({error})", hint=hint
        ) from error


def _payload(task: dict[str, Any]) -> Payload:
    if "cell" in task:
        cell = Cell.model_validate_json(json.dumps(task["cell"]))
        names = ("run_id", "cell_id", "seed", "claims", "preregistration")
        return RunPlan(cell=cell, **{name: task[name] for name in names})
    node = stage_graph(_RECIPE.validate_json(json.dumps(task["recipe"])), task["seed"])[-1]
    if node.id != task["id"]:
        raise ValueError(f"it names stage {task['id']}, but its recipe is that of {node.id}")
    return replace(node, claims=task["claims"])
