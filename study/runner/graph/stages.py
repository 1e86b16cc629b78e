"""The stage graph of a run: its recursive model recipe as
an ordered list of nodes, inputs first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from study.spec.grid.cell import Cell, models_beside
from study.spec.identity import parents, stage_id
from study.spec.recipe.model import (
    DistilledModel,
    GrpoModel,
    HubModel,
    LocalModel,
    Model,
    PretrainedLab,
    SftModel,
)

Staged = PretrainedLab | SftModel | GrpoModel | DistilledModel
Ready = LocalModel | HubModel


@dataclass(frozen=True)
class StageNode:
    """One artifact to make. `inputs`: role -> id of another stage; `ready`: role -> a model that no
    stage makes (local folder or hub). claims: hash of the state in force when it was planned.
    """

    id: str
    kind: str
    recipe: Staged
    seed: int
    inputs: Mapping[str, str]
    ready: Mapping[str, Ready]
    claims: str | None = None

    @property
    def steps(self) -> int:
        return self.recipe.training.steps


@dataclass(frozen=True)
class RunPlan:
    """A run for the executor. claims: hash of the state in force when the run was planned.
    preregistration: seal of the one that covers it.
    """

    run_id: str
    cell_id: str
    cell: Cell
    seed: int
    claims: str | None = None
    preregistration: str | None = None


def stage_graph(model: Model, seed: int) -> tuple[StageNode, ...]:
    """Return every stage behind `model`, each once, inputs first and the model's own stage last;
    empty for a local or hub model.
    """
    nodes: dict[str, StageNode] = {}
    _collect(model, seed, nodes)
    return tuple(nodes.values())


def own_stage(cell: Cell, seed: int) -> StageNode | None:
    """Return the stage that makes a cell's model; None for a local or hub model."""
    return None if isinstance(cell.model, Ready) else stage_graph(cell.model, seed)[-1]


def run_graph(cell: Cell, seed: int) -> tuple[StageNode, ...]:
    """Return every stage behind a run, each once, inputs first: those of the models beside it
    (`models_beside`), then its own model's.
    """
    nodes: dict[str, StageNode] = {}
    for model in (*models_beside(cell), cell.model):
        _collect(model, seed, nodes)
    return tuple(nodes.values())


def read_by_run(cell: Cell, seed: int) -> tuple[str, ...]:
    """Return the stages whose artifacts a run itself reads: its model's and those of the models
    beside it.
    """
    models = (*models_beside(cell), cell.model)
    return tuple(
        dict.fromkeys(stage_id(model, seed) for model in models if not isinstance(model, Ready))
    )


def run_roles(cell: Cell, seed: int) -> dict[str, str]:
    """Return stage ids by role: those of the model, and `beside0`, `beside0.base`, ... for the
    models beside it.
    """
    roles = stages_by_role(cell.model, seed)
    for i, model in enumerate(models_beside(cell)):
        found = stages_by_role(model, seed, f"beside{i}")
        roles |= {role: stage for role, stage in found.items() if stage not in roles.values()}
    return roles


def _collect(model: Model, seed: int, nodes: dict[str, StageNode]) -> None:
    if isinstance(model, Ready):
        return
    parts = parents(model)
    for part in parts.values():
        _collect(part, seed, nodes)
    node = StageNode(
        id=stage_id(model, seed),
        kind=model.kind,
        recipe=model,
        seed=seed,
        inputs={
            role: stage_id(part, seed)
            for role, part in parts.items()
            if not isinstance(part, Ready)
        },
        ready={role: part for role, part in parts.items() if isinstance(part, Ready)},
    )
    nodes.setdefault(node.id, node)


def stages_by_role(model: Model, seed: int, path: str = "") -> dict[str, str]:
    """Return stage ids by their path of roles: {"distill": ..., "student": ..., "teacher": ...,
    "teacher.base": ...}.
    """
    if isinstance(model, Ready):
        return {}
    found = {path or model.kind: stage_id(model, seed)}
    for role, part in parents(model).items():
        found |= stages_by_role(part, seed, f"{path}.{role}" if path else role)
    return found
