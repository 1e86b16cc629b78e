"""Find the settings that make a stage fit: try each change of the profile or of the recipe alone,
and compute the resulting memory.

A change of the profile leaves every number as it is. A change of the recipe makes another
experiment with another id.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeGuard

from study.runner.estimate.memory import GB, Settings
from study.runner.graph.stages import Staged
from study.spec.recipe.model import DistilledModel, PretrainedLab
from study.spec.recipe.teacher import EmaTeacher
from study.spec.recipe.training import Lora, SupervisedTraining

Peak = Callable[[Staged, Settings], float]  # bytes on one device
LORA = Lora(rank=32, alpha=64.0)
Change = tuple[str, Staged, Settings]


def knobs(recipe: Staged, settings: Settings, rows: int, room: float, peak: Peak) -> list[str]:
    """Return the changes that suffice alone; if none does, the best ones and all of them together.

    rows: of an optimiser step. room: bytes.
    """
    tried = [
        (text, peak(changed, other)) for text, changed, other in _changes(recipe, settings, rows)
    ]
    enough = [f"{text} ({bytes_ / GB:.0f} GB)" for text, bytes_ in tried if bytes_ <= room]
    if enough:
        return enough
    best = sorted(tried, key=lambda one: one[1])[:3]
    return [
        f"{text} ({bytes_ / GB:.0f} GB, not enough alone)" for text, bytes_ in best
    ] + _together(recipe, settings, rows, room, peak)


def _changes(recipe: Staged, settings: Settings, rows: int) -> Iterator[Change]:
    kind = recipe.kind
    for micro in (16, 8, 4, 2, 1):
        if micro < (settings.micro_batch or rows) and rows % micro == 0:
            yield (
                f"profile `micro_batch: {{{kind}: {micro}}}`",
                recipe,
                replace(settings, micro_batch=micro),
            )
    if not settings.recompute:
        yield f"profile `recompute: [{kind}]`", recipe, replace(settings, recompute=True)
        small = replace(settings, recompute=True, micro_batch=1)
        yield f"profile `recompute: [{kind}]` and `micro_batch: {{{kind}: 1}}`", recipe, small
    yield from _shared(recipe, settings, rows)
    for text, changed in _recipes(recipe):
        yield text, changed, settings


def _shared(recipe: Staged, settings: Settings, rows: int) -> Iterator[Change]:
    for processes in (2, 4, 8):
        if processes > settings.processes and rows % processes == 0:
            other = replace(settings, processes=processes, sharded=True)
            yield (
                (
                    f"profile `resources: {{{recipe.kind}: {{gpus: {processes}}}}}` with an FSDP"
                    " `launch`"
                ),
                recipe,
                other,
            )


def _recipes(recipe: Staged) -> Iterator[tuple[str, Staged]]:
    training = recipe.training
    if _may_narrow(recipe) and recipe.training.teacher_dtype == "float32":
        yield (
            "`teacher_dtype: bfloat16` in the training settings",
            _with(recipe, teacher_dtype="bfloat16"),
        )
    if training.lora is None and not isinstance(recipe, PretrainedLab):
        yield "`lora: {rank: 32, alpha: 64}` in the training settings", _with(recipe, lora=LORA)
    if not isinstance(training, SupervisedTraining):
        for share in (2, 4):
            limit = training.sampling.max_completion_length // share
            sampling = training.sampling.model_copy(update={"max_completion_length": limit})
            yield (
                f"`max_completion_length: {limit}` in the training settings",
                _with(recipe, sampling=sampling),
            )


def _together(recipe: Staged, settings: Settings, rows: int, room: float, peak: Peak) -> list[str]:
    """Return the mildest combination that fits: settings of the profile first, then more GPUs, then
    settings of the recipe.
    """
    small = replace(settings, recompute=True, micro_batch=1)
    softer = _with(recipe, teacher_dtype="bfloat16") if _may_narrow(recipe) else recipe
    words, more = (
        f"`recompute: [{recipe.kind}]`, `micro_batch: {{{recipe.kind}: 1}}`",
        list(_shared(recipe, small, rows)),
    )
    tried: list[Change] = [(words, recipe, small)]
    tried += (
        [(f"{words}, `teacher_dtype: bfloat16`", softer, small)] if softer is not recipe else []
    )
    tried += [(f"{words}, {text}", recipe, other) for text, _, other in more]
    tried += (
        [(f"{words}, `teacher_dtype: bfloat16`, {text}", softer, other) for text, _, other in more]
        if softer is not recipe
        else []
    )
    fits = (
        (text, bytes_) for text, changed, other in tried if (bytes_ := peak(changed, other)) <= room
    )
    return [f"together: {text} ({bytes_ / GB:.0f} GB)" for text, bytes_ in fits][:1]


def _may_narrow(recipe: Staged) -> TypeGuard[DistilledModel]:
    """Whether bfloat16 can hold the teacher's weights. A moving average needs float32."""
    return isinstance(recipe, DistilledModel) and not isinstance(
        recipe.training.teacher_update, EmaTeacher
    )


def _with(recipe: Staged, **changes: object) -> Staged:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})
