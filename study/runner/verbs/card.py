"""Write the card of an exported model: what it is, its size, how it was made, its scores with the
number of problems, how to load it.

The card is a pure function of the exported files, the artifact's manifest and the run's record. It
contains no path of the machine.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

from pydantic import TypeAdapter, ValidationError

from study.errors import RecordMismatch
from study.record.schema import Record
from study.runner.work.artifacts import weights_digest
from study.spec.identity import objective_name, parents, slug
from study.spec.recipe.data import ArithmeticData, Data, JsonlData
from study.spec.recipe.model import (
    DistilledModel,
    GrpoModel,
    HubModel,
    LocalModel,
    Model,
    PretrainedLab,
    SftModel,
)

_MODEL: TypeAdapter[Model] = TypeAdapter(Model)
_USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, problem = "FOLDER", PROBLEM
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
messages = [{"role": "user", "content": problem}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
completion = model.generate(**prompt, max_new_tokens=MAX_TOKENS, do_sample=True, temperature=1.0)
print(tokenizer.decode(completion[0, prompt["input_ids"].shape[1] :]))
```"""


def model_card(
    folder: Path, stage: str, manifest: Mapping[str, Any], record: Record | None, step: int | None
) -> str:
    """Return Markdown with front matter.

    Errors: RecordMismatch for a recipe that this version cannot read.
    """
    try:
        recipe = _MODEL.validate_json(json.dumps(manifest["recipe"]))
    except ValidationError as error:
        raise RecordMismatch(
            f"the recipe of {stage} is not one that this version knows",
            hint=f"use code {manifest['code']}",
        ) from error
    origins = list(_origins(recipe))
    parts = [
        _front_matter(origins),
        f"# {slug(recipe)}, seed {manifest['seed']}",
        _what(folder, recipe, origins, record),
        "## How it was made",
        _table(("", ""), _made(stage, recipe, manifest, step)),
        *_scores(record, step),
        "## Use",
        _use(record),
        "As a model in a scale file of this study:",
        f"```yaml\n{{kind: local, path: FOLDER, digest: {weights_digest(folder)}}}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def count_parameters(folder: Path) -> int:
    """Count the parameters in a folder's safetensors files, from their headers (8 bytes of length,
    JSON); tied weights are stored and counted once.
    """
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as handle:
            header = json.loads(handle.read(struct.unpack("<Q", handle.read(8))[0]))
        total += sum(
            math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"
        )
    return total


def _origins(model: Model) -> Iterable[PretrainedLab | LocalModel | HubModel]:
    """Yield the models that the weights came from, without teachers, which give only scores."""
    if isinstance(model, PretrainedLab | LocalModel | HubModel):
        yield model
    else:
        own = parents(model)
        yield from _origins(own.get("student") or own["base"])


def _front_matter(origins: Sequence[Model]) -> str:
    bases = [f"base_model: {origin.id}" for origin in origins if isinstance(origin, HubModel)]
    lines = [
        "library_name: transformers",
        "pipeline_tag: text-generation",
        *bases,
        "tags: [on-policy-distillation]",
    ]
    return "\n".join(["---", *lines, "---"])


def _what(folder: Path, recipe: Model, origins: Sequence[Model], record: Record | None) -> str:
    scale = f" at scale `{record.scale}`" if record else ""
    lines = [
        f"A language model of {count_parameters(folder):,} parameters, made by stage"
        f" `{recipe.kind}` of opd-study{scale}."
    ]
    for origin in origins:
        if isinstance(origin, PretrainedLab):
            lines += [
                f"It was trained from random weights on {_data(origin.data)} and on nothing else.",
                (
                    "It is evidence of an experiment: far too small to be an assistant, and of no"
                    " use outside these problems."
                ),
            ]
    if record is not None and record.status == "collapsed":
        lines.append("**Its training collapsed and was stopped by the guard.**")
    return "\n".join(lines)


def _data(data: Data) -> str:
    if isinstance(data, ArithmeticData):
        return (
            f"synthetic arithmetic modulo 10 with {data.min_operations}"
            f" to {data.max_operations} operations"
        )
    if isinstance(data, JsonlData):
        return f"the problems of `{Path(data.train).name}`"
    return f"the synthetic world `{data.kind}` of this study (modulo 10)"


def _made(
    stage: str, recipe: Model, manifest: Mapping[str, Any], step: int | None
) -> list[tuple[str, object]]:
    inputs: Mapping[str, str] = manifest["inputs"]
    roles = {
        role: f"{slug(model)} (`{inputs.get(role, model.kind)}`)"
        for role, model in parents(recipe).items()
    }
    steps = (
        f"{manifest['steps']}; these weights are of step {step}"
        if step is not None
        else manifest["steps"]
    )
    last = [("steps", steps), ("seed", manifest["seed"]), ("code", f"`{manifest['code']}`")]
    return [("stage", f"`{stage}`"), *roles.items(), *_settings(recipe), *last]


def _settings(recipe: Model) -> list[tuple[str, object]]:
    match recipe:
        case DistilledModel():
            k = f", k = {recipe.objective.k}" if recipe.objective.k else ""
            seen = "none" if recipe.privileged is None else f"`{recipe.privileged.template}`"
            per_step = ("prompts per step", recipe.training.prompts_per_step)
            return [
                ("objective", f"{objective_name(recipe.objective)}{k}"),
                ("privileged information", seen),
                per_step,
            ]
        case GrpoModel():
            return [
                ("objective", "GRPO with the grader as reward"),
                ("prompts per step", recipe.training.prompts_per_step),
            ]
        case PretrainedLab() | SftModel():
            return [
                ("objective", "cross-entropy on documents"),
                ("documents per step", recipe.training.documents_per_step),
            ]
        case HubModel() | LocalModel():
            raise TypeError(f"{recipe.kind} is not a stage")
        case _:
            assert_never(recipe)


def _scores(record: Record | None, step: int | None) -> list[str]:
    if record is None:
        return ["No run has evaluated this model."]
    if step is not None:
        return [f"The scores of run `{record.run}` are those of the final weights, not of these."]
    rows = [
        (task, f"{s.mean:.4f}", s.k, s.num_problems, s.temperature, f"{s.truncated_fraction:.4f}")
        for task, s in record.scores.items()
    ]
    headers = (
        "task",
        "accuracy (avg@k)",
        "k samples",
        "n problems",
        "temperature",
        "truncated fraction",
    )
    return [
        "## Scores",
        _table(headers, rows),
        f"One model of one seed: run `{record.run}`. An effect needs several seeds.",
    ]


def _use(record: Record | None) -> str:
    """Return example code that runs, with a problem that the run has seen and its length limit, if
    they are known.
    """
    problem = next((c.prompt for c in record.completions), "") if record else ""
    longest = (
        max((s.max_completion_length for s in record.scores.values()), default=256)
        if record
        else 256
    )
    return _USE.replace("MAX_TOKENS", str(longest)).replace(
        "PROBLEM", json.dumps(problem or "PROBLEM", ensure_ascii=False)
    )


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(
        "| "
        + " | ".join(str(value).replace("|", "\\|").replace("\n", " ") for value in line)
        + " |"
        for line in lines
    )
