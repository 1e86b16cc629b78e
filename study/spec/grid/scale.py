"""A scale binds names to specs: which recipe is `student`, which source is `math`, how many steps
are `standard`. One YAML file per scale.

    scale: lab                      extends: the name of another scale, optional: this file then
                                    contains only the differences (see `extended`)
    data: {name: source}            models: {name: recipe, or the name of another model}
    pi: {name: template, or null}   lengths: {name: steps, or settings of the distillation}
    distill: training without steps evaluations: {name: evaluation}   probes: {name: probe}
    An entry of data, models, evaluations or probes may start from another one of its section:
    {like: NAME, ...} (`study/spec/grid/like.py`).
    sft, grpo: training that a recipe of this kind starts from; its own settings override it
    sampler: for every `sampling` of this file that names none (study/models/decode.py)
    expected_seconds: {stage kind: seconds per training step; evaluate: seconds per evaluation}
        (only for the first estimate of a plan)

Inside a recipe `base`, `student`, `teacher`, `data` and `privileged` may be names of this scale;
each name is built once and shared.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from study.spec.base import Spec
from study.spec.grid.built import Built, assembled, build_privileged, build_source, member_of
from study.spec.grid.like import spelled_out, with_sampler
from study.spec.recipe.data import (
    Data,
)  # fmt: skip
from study.spec.recipe.evaluation import Evaluation, Prefix
from study.spec.recipe.model import (
    DistilledModel,
    GrpoModel,
    HubModel,
    LocalModel,
    Model,
    PretrainedLab,
    SftModel,
)
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.probe import Likelihood, PiOptimum, Probe
from study.spec.recipe.training import DistillTraining, Sampler
from study.spec.yaml.load import MAX_NAME, Located, extended, find, load, merged, plain, suggestion
from study.spec.yaml.validation import located_error, validate

_MODELS: dict[str, type[Any]] = {
    "pretrain": PretrainedLab, "local": LocalModel, "hub": HubModel, "sft": SftModel,
    "grpo": GrpoModel, "distill": DistilledModel,
}  # fmt: skip
_PROBES: dict[str, type[Any]] = {"likelihood": Likelihood, "pi_optimum": PiOptimum}
_MODEL_ROLES = ("base", "student", "teacher")


class ScalePage(Spec):
    """The shape of the file; its values are checked when they are bound, each with its own line."""

    scale: str = Field(min_length=1, max_length=MAX_NAME)
    extends: str | None = None
    data: dict[str, Any]
    models: dict[str, Any]
    pi: dict[str, Any] = Field(default={})
    lengths: dict[str, Any]
    distill: dict[str, Any]
    sft: dict[str, Any] = Field(default={})
    grpo: dict[str, Any] = Field(default={})
    evaluations: dict[str, Any]
    probes: dict[str, Any] = Field(default={})
    sampler: Sampler = "transformers"
    expected_seconds: dict[str, float] = Field(default={})


class Scale:
    """A scale, which binds names to specs. above: the names of the scales that this one extends,
    the nearest first.
    """

    def __init__(self, page: Located, above: tuple[str, ...] = ()) -> None:
        page = with_sampler(spelled_out(page), page.get("sampler"))
        self.page, self.above = page, above
        self.shape = validate(ScalePage, page, "")
        self.name = self.shape.scale
        self.expected_seconds = self.shape.expected_seconds
        self._models: dict[str, Built[Model]] = {}
        self._other: dict[tuple[str, str], Any] = {}
        self._open: list[str] = []  # names being built, to find a recipe that contains itself

    @property
    def file(self) -> str:
        return self.page.origin.rpartition(":")[0]

    def model(self, reference: Located, path: str) -> Built[Model]:
        """Build a model by name or written out."""
        if not isinstance(reference.value, str):
            return self._recipe(reference, path)
        name = reference.value
        if name not in self._models:
            recipe = self._entry("models", reference, path)
            if name in self._open:
                raise located_error(
                    reference,
                    path,
                    f"the model {name!r} is made from itself: {' -> '.join([*self._open, name])}",
                )
            self._open.append(name)
            self._models[name] = self.model(recipe, f"models.{name}")
            self._open.remove(name)
        return self._models[name]

    def _recipe(self, node: Located, path: str) -> Built[Model]:
        spec = member_of(_MODELS, node, path)
        parts: dict[str, Built[Any]] = {}
        for key, child in node.entries.items():
            if key in _MODEL_ROLES:
                parts[key] = self.model(child, f"{path}.{key}")
            elif key == "data":
                parts[key] = self.data(child, f"{path}.{key}")
            elif key == "privileged":
                parts[key] = self.privileged(child, f"{path}.{key}")
        return assembled(spec, self._with_defaults(node), path, parts)

    def _with_defaults(self, node: Located) -> Located:
        """Return a recipe with the defaults of its kind: its training overrides that of the section
        for the kind, if there is one.
        """
        section = (
            self.page.get(str(node.entries["kind"].value))
            if node.entries["kind"].value in ("sft", "grpo")
            else None
        )
        if section is None:
            return node
        own = node.get("training")
        return Located(
            node.entries | {"training": merged(section, own) if own else section},
            node.origin,
            node.comment,
        )

    def data(self, reference: Located, path: str) -> Built[Data]:
        return self._cached("data", reference, path, build_source)

    def privileged(self, reference: Located, path: str) -> Built[PrivilegedInformation | None]:
        """Build privileged information. `none` is always known: no privileged information."""
        return self._cached("pi", reference, path, build_privileged)

    def evaluation(self, reference: Located, path: str) -> Built[Evaluation]:
        def build(node: Located, where: str) -> Built[Evaluation]:
            return assembled(Evaluation, node, where, self._looked_up(node, where))

        return self._cached("evaluations", reference, path, build)

    def probe(self, reference: Located, path: str) -> Built[Probe]:
        def build(node: Located, where: str) -> Built[Probe]:
            return assembled(
                member_of(_PROBES, node, where), node, where, self._looked_up(node, where)
            )

        return self._cached("probes", reference, path, build)

    def _looked_up(self, node: Located, path: str) -> dict[str, Built[Any]]:
        """Return the fields of an evaluation or a probe that may be names of this scale."""
        ways = {
            "data": self.data,
            "teacher": self.model,
            "privileged": self._one_or_more_pi,
            "prefix": self._prefix,
        }
        return {
            key: ways[key](child, f"{path}.{key}")
            for key, child in node.entries.items()
            if key in ways
        }

    def _one_or_more_pi(self, node: Located, path: str) -> Built[Any]:
        if not node.items:
            return self.privileged(node, path)
        built = [self.privileged(item, f"{path}[{i}]") for i, item in enumerate(node.items)]
        return Built(
            tuple(one.spec for one in built),
            Located([one.node for one in built], node.origin, node.comment),
        )

    def _prefix(self, node: Located, path: str) -> Built[Prefix]:
        source = node.get("source")
        return assembled(
            Prefix, node, path, {"source": self.model(source, f"{path}.source")} if source else {}
        )

    def training(self, length: Located, patch: Located | None) -> Built[DistillTraining]:
        """Return the scale's distillation settings at a named length, overridden by a grid's own
        settings.
        """
        steps = self._entry("lengths", length, "length")
        base = self.page.entries["distill"]
        node = merged(base, steps if steps.entries else Located({"steps": steps}, steps.origin))
        node = merged(node, patch) if patch else node
        return Built(validate(DistillTraining, node, "training"), node)

    def _cached(self, section: str, reference: Located, path: str, build: Any) -> Any:
        if isinstance(reference.value, dict):
            return build(reference, path)
        key = (section, str(reference.value))
        if key not in self._other:
            self._other[key] = build(
                self._entry(section, reference, path), f"{section}.{reference.value}"
            )
        return self._other[key]

    def _entry(self, section: str, reference: Located, path: str) -> Located:
        """Return the value of a name in a section of this scale."""
        entries = self.page.entries[section].entries if section in self.page.entries else {}
        if section == "pi" and reference.value in ("none", None):
            return entries.get("none", Located(None, reference.origin))
        if isinstance(reference.value, str) and reference.value in entries:
            return entries[reference.value]
        known = ", ".join(entries) or "none"
        file = self.file
        problem = (
            f"no entry {reference.value!r} under {section} in {file} (known:"
            f" {known}){suggestion(str(reference.value), entries)}"
        )
        raise located_error(reference, path, problem)


def load_scale(name: str, root: Path | None = None) -> Scale:
    """Load a scale. Errors: `SpecError` with file and line, or the known scales."""
    page, above = _extended(load(find("scales", name, root)), root, ())
    return Scale(page, above)


def _extended(
    page: Located, root: Path | None, seen: tuple[str, ...]
) -> tuple[Located, tuple[str, ...]]:
    """Return the file merged over everything that it extends, and the names of those scales.

    seen: files that lead here, to find a scale that extends itself.
    """
    file, base = page.origin.rpartition(":")[0], page.get("extends")
    if file in seen:
        raise located_error(
            page, "extends", f"this page extends itself: {' -> '.join([*seen, file])}"
        )
    if base is None or base.value is None:
        return spelled_out(page), ()
    if page.get("scale") is None:
        raise located_error(
            page, "scale", "a page that extends another needs a name of its own: `scale: NAME`"
        )
    below, above = _extended(load(find("scales", str(base.value), root)), root, (*seen, file))
    return extended(below, spelled_out(page, below)), (str(base.value), *above)


def bound_names(scale: Scale) -> dict[str, list[str]]:
    """Return every name that a grid may use at this scale, by section."""
    return {
        section: list(plain(scale.page).get(section) or {})
        for section in ("models", "data", "pi", "lengths", "evaluations", "probes")
    }
