"""Find the size of every model of a grid without its weights: from an available configuration, else
from the table of known shapes.

A stage does not change the shape of the model it trains, so every recipe is as large as the model
it starts from.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError
from study.spec.identity import canonical, parents
from study.spec.machine.shape import KnownShapes, Shape
from study.spec.recipe.model import HubModel, LocalModel, Model, PretrainedLab
from study.spec.yaml.load import find, load
from study.spec.yaml.validation import validate


@dataclass(frozen=True)
class Sized:
    """A model's shape and where it was read."""

    name: str
    shape: Shape
    source: str


@dataclass
class Sizes:
    """Look up the shapes of models.

    configs: a folder with NAME/config.json for each hub model
    (NAME: the last part of its id), read first.
    """

    configs: Path | None = None
    found: dict[str, Sized] = field(default_factory=dict[str, Sized])

    def of(self, model: Model) -> Sized:
        """Return the size of a model.

        Errors: PrerequisiteError for a model of unknown shape, or one that this estimate has no
        formula for.
        """
        root = root_of(model)
        key = canonical(root)
        if key not in self.found:
            self.found[key] = self._read(root)
        return self.found[key]

    def _read(self, root: Model) -> Sized:
        match root:
            case PretrainedLab():
                fields = root.architecture.model_dump(
                    exclude={"max_position_embeddings", "initializer_range"}
                )
                return Sized(
                    root.name, Shape(vocab_size=root.tokenizer.vocab_size, **fields), "its recipe"
                )
            case LocalModel():
                return Sized(
                    Path(root.path).name, read_config(Path(root.path) / "config.json"), root.path
                )
            case HubModel():
                return self._hub(root)
            case _:
                raise TypeError(f"{root.kind} starts from another model")

    def _hub(self, model: HubModel) -> Sized:
        name = model.id.rpartition("/")[2]
        file = self.configs / name / "config.json" if self.configs else None
        if file is not None and file.is_file():
            return Sized(name, read_config(file), str(file))
        known = validate(KnownShapes, load(find("architectures", "hub")), "").models
        if model.id in known:
            return Sized(name, known[model.id], "architectures/hub.yaml")
        hint = (
            f"put its config.json into DIR/{name}/ and type --configs DIR, or add its shape to"
            " experiments/architectures/hub.yaml"
        )
        raise PrerequisiteError(f"the shape of {model.id} is not known here", hint=hint)


def root_of(model: Model) -> Model:
    """Return the model that a recipe starts from; for a distillation the student."""
    own = parents(model)
    base = own.get("base", own.get("student"))
    return model if base is None else root_of(base)


def read_config(file: Path) -> Shape:
    """Return the shape that a transformers config.json describes.

    Errors: PrerequisiteError for a model family without a formula here.
    """
    try:
        page: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise PrerequisiteError(
            f"{file} cannot be read ({error})", hint="give the folder of a transformers model"
        ) from error
    kind = page.get("model_type")
    if kind not in ("qwen3", "qwen2"):
        what = f"{file}: model_type {kind!r} has no formula here (known: qwen3, qwen2)"
        raise PrerequisiteError(what, hint="add it to study/spec/machine/shape.py")
    page.setdefault("head_dim", page["hidden_size"] // page["num_attention_heads"])
    return Shape(**{name: page[name] for name in Shape.model_fields if name in page})
