"""`study fetch`: download everything that a scale pins on the hub into the cache of
huggingface_hub, for machines without internet.

models        their snapshot at the pinned commit: configuration, tokenizer, every *.safetensors
              shard that the index names
data sets     read and normalised once, so that a missing column or an empty filter is found here
              and not on a compute node
benchmarks    the problems of every task that an evaluation or a contamination check names
Files that a scale finds in $STUDY_DATA are not downloaded. This module handles no token: gated sets
need `hf auth login` first.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from study.data.hub import datasets
from study.data.hub.benchmarks import Benchmark
from study.data.hub.eval_tasks import page_values, task_problems, task_source
from study.errors import PrerequisiteError, StudyError
from study.runner.work.artifacts import resolve_model
from study.spec.grid.scale import Scale
from study.spec.identity import parents
from study.spec.recipe.data import Data, HubData
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.hub_data import BenchmarkData
from study.spec.recipe.model import HubModel, Model
from study.spec.yaml.load import Located

Item = HubModel | HubData | str  # a model, a data set, or the name of a task


@dataclass(frozen=True)
class Fetched:
    """told: what is available now, in words; error: why it is not."""

    item: Item
    told: str = ""
    error: StudyError | None = None


def needed(scale: Scale) -> list[Item]:
    """Return what the scale needs from the hub or from
    $STUDY_DATA, each once: models, data sets, tasks.
    """
    models = [
        origin for model in _entries(scale, "models", scale.model) for origin in _origins(model)
    ]
    evaluations: list[Evaluation] = _entries(scale, "evaluations", scale.evaluation)
    data: list[Data] = [*_entries(scale, "data", scale.data), *(one.data for one in evaluations)]
    sets = [one for one in data if isinstance(one, HubData)]
    tasks = [one.task for one in data if isinstance(one, BenchmarkData)]
    tasks += [
        task
        for one in sets
        for task in (*one.avoid, *([one.held_out_task] if one.held_out_task else []))
    ]
    return [*_once(models), *_once(sets), *sorted(set(tasks))]


def fetch(item: Item) -> Fetched:
    """Download one item, or find it in the cache, and check it.

    A failure is returned, not raised.
    """
    try:
        match item:
            case HubModel():
                return Fetched(item, _model(item))
            case HubData():
                return Fetched(item, datasets.counts_text(datasets.draw(item).counts))
            case str():
                problems = task_problems(item)
                return Fetched(
                    item, f"{len(problems.problems)} problems, fingerprint {problems.sha256}"
                )
            case _:
                assert_never(item)
    except StudyError as error:
        return Fetched(item, error=error)


def name_of(item: Item) -> str:
    match item:
        case HubModel():
            return f"model {item.id}@{item.revision[:12]}"
        case HubData():
            where = "the files in STUDY_DATA" if item.sha256 else f"{item.hub}@{item.revision[:12]}"
            return f"data {where} {item.config or ''}".strip()
        case str():
            source = task_source(page_values(item))
            pinned = (
                f" {source.hub}@{(source.revision or 'unpinned')[:12]}"
                if isinstance(source, Benchmark)
                else ""
            )
            return f"task {item}{pinned}"
        case _:
            assert_never(item)


def refuse(fetched: list[Fetched], scale: str) -> None:
    """Raise PrerequisiteError with everything that is missing,
    and what to type on which machine.
    """
    missing = [(one.item, one.error) for one in fetched if one.error is not None]
    if not missing:
        return
    lines = [f"  {name_of(item)}: {error.message}" for item, error in missing]
    hint = (
        f"on a machine that reaches the hub: study fetch --scale {scale} --into FOLDER; copy FOLDER"
        " here, then export HF_HOME=FOLDER HF_HUB_OFFLINE=1. Data and benchmarks may be in"
        " the folder STUDY_DATA instead (docs/paper-data.md). A gated data set: accept its"
        " terms on its page, then hf auth login"
    )
    raise PrerequisiteError(
        "\n".join([f"{len(missing)} of {len(fetched)} items are missing:", *lines]), hint=hint
    )


def _model(model: HubModel) -> str:
    folder = resolve_model(model)
    index = folder / "model.safetensors.index.json"
    shards = (
        sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if index.is_file()
        else ["model.safetensors"]
    )
    absent = [
        name
        for name in ("config.json", "tokenizer_config.json", *shards)
        if not (folder / name).is_file()
    ]
    if absent:
        hint = (
            "remove that snapshot from the cache and fetch it again:"
            " its download was probably interrupted"
        )
        raise PrerequisiteError(f"{model.id}: the snapshot lacks {', '.join(absent)}", hint=hint)
    return f"{len(shards)} files of weights, {_gigabytes(folder, shards):.1f} GB"


def _gigabytes(folder: Path, names: list[str]) -> float:
    return sum((folder / name).stat().st_size for name in names) / 1e9


def _entries(scale: Scale, section: str, build: Callable[[Located, str], Any]) -> list[Any]:
    """Return the specs of a section, built by name. Errors: those of binding."""
    node = scale.page.get(section)
    names = node.entries if node else {}
    return [
        build(Located(name, entry.origin), f"{section}.{name}").spec
        for name, entry in names.items()
    ]


def _origins(model: Model) -> Iterator[HubModel]:
    if isinstance(model, HubModel):
        yield model
    for parent in parents(model).values():
        yield from _origins(parent)


def _once(items: Sequence[Item]) -> list[Item]:
    found: list[Item] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found
