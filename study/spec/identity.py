"""Identity: the only module that turns a spec into an id.

id = readable slug + 8 hex digits of sha256(canonical JSON of the content, seed where it matters,
revision of every stage kind inside).

The canonical form leaves out every field that equals its declared default, so that a new optional
axis does not change the ids of old cells. A changed default therefore changes the meaning of old
ids, and the golden ids in the tests fail. `kind` is always kept, because it distinguishes the
members of a union. A value that can be written in two ways raises `UnstableValue`.
"""

import hashlib
import json
import math
import re
from typing import Any, NamedTuple, cast

from pydantic.fields import FieldInfo

from study.errors import SpecError
from study.spec.base import Spec
from study.spec.grid.cell import Cell, Run, models_beside
from study.spec.recipe.model import (
    DistilledModel,
    GrpoModel,
    HubModel,
    LocalModel,
    Model,
    PretrainedLab,
    SftModel,
)
from study.spec.recipe.objective import PRESETS, Objective
from study.spec.recipe.user_code import Code

# Raised by hand when a change of code changes the numbers of a stage kind: results with a fixed bug
# must not count as done.
REVISIONS: dict[str, int] = {"pretrain": 1, "sft": 1, "grpo": 1, "distill": 1, "evaluate": 1}

# Fields that give a location, not a content. A local model and a file of code are pinned by their
# digests.
NOT_IDENTITY: dict[type[Spec], frozenset[str]] = {
    LocalModel: frozenset({"path"}),
    Code: frozenset({"file"}),
}

Repeatable = SftModel | GrpoModel | DistilledModel
_RUN_NAME = re.compile(r"(.+)-s([0-9]+)(?:r([1-9][0-9]*))?")

# id(spec) -> (spec, value or text): the cells of a grid share recipes. The stored spec keeps its id
# from being reused.
_values: dict[int, tuple[Spec, dict[str, Any]]] = {}
_texts: dict[int, tuple[Spec, str]] = {}
# (id(spec), seed, current revisions) -> (spec, stage id): the cells of a seed share most stages.
_stage_ids: dict[tuple[int, ...], tuple[Spec, str]] = {}


class UnstableValue(SpecError):
    """A value that can be written in several ways and therefore cannot be part of an identity."""


def canonical(value: Any) -> str:
    """Return JSON with sorted keys, no spaces, and without declared defaults.

    Errors: `UnstableValue` for nan, inf, -0.0, sets, objects.
    """
    if not isinstance(value, Spec):
        return _text(value)
    if id(value) not in _texts:
        _texts[id(value)] = (value, _text(value))
    return _texts[id(value)][1]


def _text(value: Any) -> str:
    return json.dumps(
        canonical_value(value), sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def canonical_value(value: Any, where: str = "value") -> Any:
    """Return the JSON value behind `canonical`. It is cached: do not modify it."""
    if isinstance(value, Spec):
        if id(value) not in _values:
            _values[id(value)] = (value, _canonical_fields(value, where))
        return _values[id(value)][1]
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return _stable_float(value, where)
    if type(value) in (list, tuple):
        return [canonical_value(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if type(value) is dict:
        entries = cast("dict[Any, Any]", value)
        return {
            _stable_key(key, where): canonical_value(item, f"{where}.{key}")
            for key, item in entries.items()
        }
    raise UnstableValue(
        f"{where}: a {type(value).__name__} has no stable written form",
        hint="use text, a number, a list or a mapping",
    )


def _canonical_fields(spec: Spec, where: str) -> dict[str, Any]:
    skipped = NOT_IDENTITY.get(type(spec), frozenset())
    fields = type(spec).model_fields
    kept = {
        n: getattr(spec, n)
        for n, info in fields.items()
        if n not in skipped and not is_default(n, getattr(spec, n), info)
    }
    return {name: canonical_value(item, f"{where}.{name}") for name, item in kept.items()}


def is_default(name: str, value: Any, info: FieldInfo) -> bool:
    """Whether the canonical form leaves a field out."""
    if name == "kind" or info.is_required():
        return False
    default = info.get_default(call_default_factory=True, validated_data={})
    return type(value) is type(default) and value == default and _sign(value) == _sign(default)


def _sign(value: Any) -> float:
    # -0.0 == 0.0, but their texts differ.
    return math.copysign(1.0, value) if type(value) is float else 1.0


def _stable_float(value: float, where: str) -> float:
    if not math.isfinite(value) or (value == 0.0 and math.copysign(1.0, value) < 0):
        raise UnstableValue(
            f"{where}: {value!r} is not a number that an identity can hold",
            hint="use a finite number; write 0.0 for zero",
        )
    return value


def _stable_key(key: Any, where: str) -> str:
    if type(key) is not str:
        raise UnstableValue(f"{where}: the key {key!r} is not text", hint="use text keys")
    return key


def parents(model: Model) -> dict[str, Model]:
    """Return the models that a recipe starts from, by role; empty for weights that no stage
    makes.
    """
    match model:
        case SftModel():
            return {"base": model.base} | ({"teacher": model.teacher} if model.teacher else {})
        case GrpoModel():
            return {"base": model.base}
        case DistilledModel():
            return {"student": model.student, "teacher": model.teacher}
        case PretrainedLab() | LocalModel() | HubModel():
            return {}


def is_stage(model: Model) -> bool:
    """Whether training makes this model here (a hub or local model is only a reference)."""
    return model.kind in REVISIONS


def revisions(model: Model) -> dict[str, int]:
    """Return the revision of every stage kind inside a recipe."""
    own = {model.kind: REVISIONS[model.kind]} if is_stage(model) else {}
    return own | {
        kind: number
        for parent in parents(model).values()
        for kind, number in revisions(parent).items()
    }


def stage_id(model: Model, seed: int) -> str:
    """Return kind-xxxxxxxx.

    The seed belongs to every stage of a recipe, because a seed starts at pretraining.
    """
    if not is_stage(model):
        raise SpecError(f"a {model.kind} model is not made by a stage and has no stage id")
    key = (id(model), seed, *REVISIONS.values())
    if key not in _stage_ids:
        content = _hash("stage", canonical(model), canonical(seed), canonical(revisions(model)))
        _stage_ids[key] = (model, f"{model.kind}-{content}")
    return _stage_ids[key][1]


def cell_id(cell: Cell) -> str:
    """Return slug-xxxxxxxx, from the content alone, without the labels of a grid; the repeats of a
    cell share it.
    """
    cell = repeated(cell, 0)
    return f"{slug(cell.model)}-{_hash('cell', canonical(cell), canonical(cell_revisions(cell)))}"


def cell_revisions(cell: Cell) -> dict[str, int]:
    """Return the revision of every stage kind behind a cell's runs, including the final
    evaluation.
    """
    beside = {
        kind: number for model in models_beside(cell) for kind, number in revisions(model).items()
    }
    return revisions(cell.model) | beside | {"evaluate": REVISIONS["evaluate"]}


def repeat_of(cell: Cell) -> int:
    """Return which repeat of a cell's own stage its model is; 0 for the first, and for a model that
    is never repeated.
    """
    return getattr(cell.model, "repeat", 0)


def repeated(cell: Cell, repeat: int) -> Cell:
    """Return the cell with another repeat of its own stage, its parents unchanged.

    Errors: SpecError for a model that is never repeated (pretrained here, local or of the hub).
    """
    if repeat_of(cell) == repeat:
        return cell
    if not isinstance(cell.model, Repeatable):
        raise SpecError(f"a {cell.model.kind} model has no repeats")
    return cell.model_copy(update={"model": cell.model.model_copy(update={"repeat": repeat})})


def run_id(run: Run) -> str:
    """Return slug-xxxxxxxx-s0 of base 0, and slug-xxxxxxxx-s0r1 of its second training seed."""
    return run_name(cell_id(run.cell), run.seed, repeat_of(run.cell))


def run_name(cell: str, seed: int, repeat: int = 0) -> str:
    """Return the id of a run, given that of its cell."""
    return f"{cell}-s{seed}" + (f"r{repeat}" if repeat else "")


class RunName(NamedTuple):
    """The parts of a run's id."""

    cell: str
    seed: int
    repeat: int


def parts_of_run(name: str) -> RunName | None:
    """Return the parts of a run's id; None for a name that is none."""
    match = _RUN_NAME.fullmatch(name)
    return RunName(match[1], int(match[2]), int(match[3] or 0)) if match else None


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def slug(model: Model) -> str:
    """Describe a recipe in a few readable words, e.g. distill-topk_biased-k5-from_grpo-120steps."""
    match model:
        case DistilledModel():
            k = [f"k{model.objective.k}"] if model.objective.k else []
            pi = ["pi"] if model.privileged else []
            words = [
                "distill",
                objective_name(model.objective),
                *k,
                f"from_{_short(model.teacher)}",
                *pi,
                f"{model.training.steps}steps",
            ]
        case HubModel() | LocalModel():
            words = [model.kind, _short(model)]
        case PretrainedLab() | SftModel() | GrpoModel():
            words = [_short(model), f"{model.training.steps}steps"]
    return "-".join(words)


def _short(model: Model) -> str:
    match model:
        case PretrainedLab():
            word = model.name
        case HubModel():
            word = model.id.rpartition("/")[2]
        case LocalModel():
            word = model.digest[:8]
        case SftModel() | GrpoModel() | DistilledModel():
            word = model.kind
    return re.sub(r"[^a-z0-9_.]+", "_", word.lower())


def objective_name(objective: Objective) -> str:
    """Return the preset of this tuple (k aside), else the fields that differ from the defaults."""
    fields = {n: v for n, v in canonical_value(objective).items() if n != "k"}
    if objective.python is not None:
        fields["python"] = objective.python.function
    for name, (preset, _) in PRESETS.items():
        # A preset may contain a default.
        if fields == {n: v for n, v in preset.items() if v != Objective.model_fields[n].default}:
            return name
    return "_".join(
        f"{value:g}" if isinstance(value, float) else str(value) for value in fields.values()
    )
