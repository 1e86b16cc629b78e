"""The stage graph of a run: its recursive model recipe as an ordered list of nodes, inputs before the stages that need them."""

from collections.abc import Mapping
from dataclasses import dataclass

from study.spec.identity import parents, stage_id
from study.spec.model import DistilledModel, GrpoModel, HubModel, LocalModel, Model, PretrainedLab, SftModel

Staged = PretrainedLab | SftModel | GrpoModel | DistilledModel
Ready = LocalModel | HubModel


@dataclass(frozen=True)
class StageNode:
    """One artifact to make. `inputs`: role -> id of another stage; `ready`: role -> a model that is there already (local folder or hub)."""

    id: str
    kind: str
    recipe: Staged
    seed: int
    inputs: Mapping[str, str]
    ready: Mapping[str, Ready]

    @property
    def steps(self) -> int:
        return self.recipe.training.steps


def stage_graph(model: Model, seed: int) -> tuple[StageNode, ...]:
    """Every stage behind `model`, each once, inputs first and the model's own stage last; empty for a local or hub model."""
    nodes: dict[str, StageNode] = {}
    _collect(model, seed, nodes)
    return tuple(nodes.values())


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
        inputs={role: stage_id(part, seed) for role, part in parts.items() if not isinstance(part, Ready)},
        ready={role: part for role, part in parts.items() if isinstance(part, Ready)},
    )
    nodes.setdefault(node.id, node)


def stages_by_role(model: Model, seed: int, path: str = "") -> dict[str, str]:
    """Stage ids under the path of roles that leads to them: {"distill": ..., "student": ..., "teacher": ..., "teacher.base": ...}."""
    if isinstance(model, Ready):
        return {}
    found = {path or model.kind: stage_id(model, seed)}
    for role, part in parents(model).items():
        found |= stages_by_role(part, seed, f"{path}.{role}" if path else role)
    return found
