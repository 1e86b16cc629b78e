"""Binding: the settings of a grid (names) + a scale (what the names mean) -> one `Cell`, with the page and line of every value."""

from typing import Any

from study.spec.cell import Cell
from study.spec.identity import parents
from study.spec.model import BpeTokenizer, DistilledModel, Model, PretrainedLab
from study.spec.objective import PRESETS, Objective
from study.spec.scale import Built, Scale
from study.spec.training import DistillTraining
from study.spec.validation import located_error, validate
from study.spec.yaml import Located, suggestion

LAB_VOCABULARY = {"arithmetic": 64, "worlds": 82}  # tokens of the lab tokenizers, see LabTokenizer
Settings = dict[str, Located]  # key of a grid's base -> its value, each with its own line


class Binder:
    """Binds the cells of one grid; equal parts are built once and shared by all cells."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._objectives: dict[int, tuple[Located, Built[Objective]]] = {}
        self._trainings: dict[tuple[str, int], tuple[Located | None, Built[DistillTraining]]] = {}

    def cell(self, settings: Settings) -> Built[Cell]:
        parts: dict[str, Built[Any]] = {
            "student": self.scale.model(settings["student"], "student"),
            "teacher": self.scale.model(settings["teacher"], "teacher"),
            "data": self.scale.data(settings["data"], "data"),
            "privileged": self.scale.privileged(settings["pi"], "pi"),
            "objective": self._objective(settings["objective"]),
            "training": self._training(settings["length"], settings.get("training")),
        }
        _refuse_other_vocabularies(parts, settings["teacher"])
        evaluation = self.scale.evaluation(settings["evaluation"], "evaluation")
        model = DistilledModel(**{role: part.spec for role, part in parts.items()})
        origin = settings["objective"].origin
        tree = {"model": Located({role: part.node for role, part in parts.items()}, origin), "evaluation": evaluation.node}
        tree["scale"] = self.scale.page.entries["scale"]
        return Built(Cell(scale=self.scale.name, model=model, evaluation=evaluation.spec), Located(tree, origin))

    def _objective(self, node: Located) -> Built[Objective]:
        if id(node) not in self._objectives:
            self._objectives[id(node)] = (node, objective(node))
        return self._objectives[id(node)][1]

    def _training(self, length: Located, patch: Located | None) -> Built[DistillTraining]:
        key = (str(length.value), id(patch))
        if key not in self._trainings:
            self._trainings[key] = (patch, self.scale.training(length, patch))
        return self._trainings[key][1]


def objective(node: Located, path: str = "objective") -> Built[Objective]:
    """`{preset: topk_biased, k: 5}`, a bare preset name, or the full tuple; fields beside a preset override it."""
    fields = {"preset": node} if isinstance(node.value, str) else dict(node.entries)
    if not fields:
        raise located_error(node, path, f"expected a preset or the fields of an objective, found {node.value!r}")
    preset = fields.pop("preset", None)
    if preset is not None:
        name = str(preset.value)
        if name not in PRESETS:
            raise located_error(
                preset, f"{path}.preset", f"unknown preset {name!r}{suggestion(name, PRESETS)} (known: {', '.join(PRESETS)})"
            )
        spelled, source = PRESETS[name]
        fields = {field: Located(value, f"{preset.origin} (preset {name})", source) for field, value in spelled.items()} | fields
    whole = Located(fields, node.origin, node.comment)
    return Built(validate(Objective, whole, path), whole)


def base_of(model: Model) -> Model:
    """The weights that a recipe starts from: its tokenizer and vocabulary are the recipe's."""
    above = parents(model)
    return base_of(above.get("base") or above["student"]) if above else model


def vocabulary_size(model: Model) -> int | None:
    """Tokens of the model's vocabulary; None where only the weights can tell (hub and local models)."""
    base = base_of(model)
    if not isinstance(base, PretrainedLab):
        return None
    return base.tokenizer.vocab_size if isinstance(base.tokenizer, BpeTokenizer) else LAB_VOCABULARY[base.tokenizer.vocabulary]


def _refuse_other_vocabularies(parts: dict[str, Built[Any]], teacher_node: Located) -> None:
    """K beyond the vocabulary, and two models that cannot share token ids."""
    student, teacher = base_of(parts["student"].spec), base_of(parts["teacher"].spec)
    if isinstance(student, PretrainedLab) and isinstance(teacher, PretrainedLab) and _token_source(student) != _token_source(teacher):
        problem = "student and teacher do not share a map from tokens to ids: their tokenizers are made differently"
        raise located_error(teacher_node, "teacher", problem)
    k_node = parts["objective"].node.get("k")
    sizes = [(size, role) for role in ("student", "teacher") if (size := vocabulary_size(parts[role].spec)) is not None]
    if k_node is None or not sizes:
        return
    size, role = min(sizes)
    if parts["objective"].spec.k > size:
        raise located_error(k_node, "objective.k", f"{k_node.value} is larger than the vocabulary of the {role} ({size} tokens)")


def _token_source(model: PretrainedLab) -> Any:
    """What decides the map: a BPE tokenizer is trained on the stage's data, the lab's is fixed."""
    return (model.tokenizer, model.data) if isinstance(model.tokenizer, BpeTokenizer) else model.tokenizer
