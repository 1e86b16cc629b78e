"""Bind a grid to a scale: settings (names) + a scale (their meanings) -> one `Cell`, with file and
line of every value.
"""

from collections.abc import Callable
from typing import Any

from study.spec.grid.built import Built
from study.spec.grid.cell import Cell
from study.spec.grid.scale import Scale
from study.spec.identity import parents
from study.spec.recipe.model import (
    BpeTokenizer,
    DistilledModel,
    Model,
    PretrainedLab,
    cannot_follow,
)
from study.spec.recipe.objective import PRESETS, Objective
from study.spec.recipe.training import DistillTraining
from study.spec.yaml.load import Located, suggestion
from study.spec.yaml.validation import located_error, validate

Settings = dict[str, Located]  # key of a grid's base -> its value, each with its own line


class Binder:
    """Bind the cells of one grid; equal parts are built once and shared by all cells."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._objectives: dict[int, tuple[Located, Built[Objective]]] = {}
        self._trainings: dict[tuple[str, int], tuple[Located | None, Built[DistillTraining]]] = {}

    def cell(self, settings: Settings) -> Built[Cell]:
        """Build a cell.

        With `model` among the settings the cell is that recipe, evaluated; without it, the student
        distilled from the teacher.
        """
        model = (
            self.scale.model(settings["model"], "model")
            if settings.get("model")
            else self._distilled(settings)
        )
        evaluation = self.scale.evaluation(_required(settings, "evaluation"), "evaluation")
        also = self._several(settings.get("also"), "also", self.scale.evaluation)
        probes = self._several(settings.get("probes"), "probes", self.scale.probe)
        origin = model.node.origin
        tree = {
            "model": model.node,
            "evaluation": evaluation.node,
            "scale": self.scale.page.entries["scale"],
        }
        tree |= {
            name: Located([one.node for one in several], origin)
            for name, several in (("also", also), ("probes", probes))
            if several
        }
        spec = Cell(
            scale=self.scale.name, model=model.spec, evaluation=evaluation.spec,
            also=tuple(one.spec for one in also), probes=tuple(one.spec for one in probes),
        )  # fmt: skip
        _refuse_two_of_one_name(spec, settings["evaluation"])
        return Built(spec, Located(tree, origin))

    def _several(
        self, node: Located | None, path: str, build: Callable[[Located, str], Built[Any]]
    ) -> list[Built[Any]]:
        """Bind a list of names, or one name."""
        if node is None or node.value is None:
            return []
        return [build(item, f"{path}[{i}]") for i, item in enumerate(node.items or [node])]

    def _distilled(self, settings: Settings) -> Built[Model]:
        for key in ("student", "teacher", "objective", "length", "data"):
            _required(settings, key)
        parts: dict[str, Built[Any]] = {
            "student": self.scale.model(settings["student"], "student"),
            "teacher": self.scale.model(settings["teacher"], "teacher"),
            "data": self.scale.data(settings["data"], "data"),
            "privileged": self.scale.privileged(settings["pi"], "pi"),
            "objective": self._objective(settings["objective"]),
            "training": self._training(settings["length"], settings.get("training")),
        }
        _refuse_other_vocabularies(parts, settings["teacher"])
        _refuse_to_follow_another(parts, settings["teacher"])
        model = DistilledModel(**{role: part.spec for role, part in parts.items()})
        return Built(
            model,
            Located(
                {role: part.node for role, part in parts.items()}, settings["objective"].origin
            ),
        )

    def _objective(self, node: Located) -> Built[Objective]:
        if id(node) not in self._objectives:
            self._objectives[id(node)] = (node, objective(node))
        return self._objectives[id(node)][1]

    def _training(self, length: Located, patch: Located | None) -> Built[DistillTraining]:
        key = (str(length.value), id(patch))
        if key not in self._trainings:
            self._trainings[key] = (patch, self.scale.training(length, patch))
        return self._trainings[key][1]


def _required(settings: Settings, key: str) -> Located:
    found = settings.get(key)
    if found is None or found.value is None:
        where = next(iter(settings.values()), Located(None, "the grid"))
        raise located_error(
            where,
            f"base.{key}",
            f"a distilled cell needs `{key}`; name it in base or in the level, or give `model`",
        )
    return found


def _refuse_two_of_one_name(cell: Cell, node: Located) -> None:
    """Raise SpecError for two scores of one name: one would overwrite the other in the record."""
    names = [evaluation.score_name for evaluation in cell.evaluations]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise located_error(
            node,
            "also",
            f"two evaluations of this cell are called {doubled!r}; give one of them a `name`",
        )


def objective(node: Located, path: str = "objective") -> Built[Objective]:
    """Bind an objective: `{preset: topk_biased, k: 5}`, a bare preset name, or the full tuple;
    fields next to a preset override it.
    """
    fields = {"preset": node} if isinstance(node.value, str) else dict(node.entries)
    if not fields:
        raise located_error(
            node, path, f"expected a preset or the fields of an objective, found {node.value!r}"
        )
    preset = fields.pop("preset", None)
    if preset is not None:
        name = str(preset.value)
        if name not in PRESETS:
            raise located_error(
                preset,
                f"{path}.preset",
                f"unknown preset {name!r}{suggestion(name, PRESETS)} (known: {', '.join(PRESETS)})",
            )
        spelled, source = PRESETS[name]
        fields = {
            field: Located(value, f"{preset.origin} (preset {name})", source)
            for field, value in spelled.items()
        } | fields
    whole = Located(fields, node.origin, node.comment)
    return Built(validate(Objective, whole, path), whole)


def base_of(model: Model) -> Model:
    """Return the weights that a recipe starts from, whose tokenizer and vocabulary it has."""
    above = parents(model)
    return base_of(above.get("base") or above["student"]) if above else model


def vocabulary_size(model: Model) -> int | None:
    """Return the size of the model's vocabulary; None if only the weights give it (hub and local
    models).
    """
    base = base_of(model)
    if not isinstance(base, PretrainedLab):
        return None
    return base.tokenizer.vocab_size


def _refuse_other_vocabularies(parts: dict[str, Built[Any]], teacher_node: Located) -> None:
    """Raise SpecError for K above the vocabulary size, and for two models that cannot share token
    ids.
    """
    student, teacher = base_of(parts["student"].spec), base_of(parts["teacher"].spec)
    if (
        isinstance(student, PretrainedLab)
        and isinstance(teacher, PretrainedLab)
        and _token_source(student) != _token_source(teacher)
    ):
        problem = (
            "student and teacher do not share a map from tokens to ids: their tokenizers are made"
            " differently"
        )
        raise located_error(teacher_node, "teacher", problem)
    k_node = parts["objective"].node.get("k")
    sizes = [
        (size, role)
        for role in ("student", "teacher")
        if (size := vocabulary_size(parts[role].spec)) is not None
    ]
    if k_node is None or not sizes:
        return
    size, role = min(sizes)
    if parts["objective"].spec.k > size:
        raise located_error(
            k_node,
            "objective.k",
            f"{k_node.value} is larger than the vocabulary of the {role} ({size} tokens)",
        )


def _refuse_to_follow_another(parts: dict[str, Built[Any]], teacher_node: Located) -> None:
    problem = cannot_follow(parts["student"].spec, parts["teacher"].spec, parts["training"].spec)
    if problem is not None:
        raise located_error(teacher_node, "teacher", problem)


def _token_source(model: PretrainedLab) -> Any:
    """Return what determines the token map: a BPE tokenizer is trained on the stage's data, the
    lab's is fixed.
    """
    return (
        (model.tokenizer, model.data)
        if isinstance(model.tokenizer, BpeTokenizer)
        else model.tokenizer
    )
