"""Estimate the GPU memory of a stage by part, in bytes on one device: what is always allocated,
plus the larger of training and generation.

    weights, gradients, optimiser   4, 4, 8 bytes per trained weight (float32, AdamW); 2 per frozen
                                    or bfloat16 one
    activations   what autograd keeps of one micro-batch (`kept_bytes`); with `recompute` a layer's
                  input each and one whole layer
    logits        the chunks of the losses: about six tensors of `CHUNK_LOGITS` float32
    cache         keys and values of the rows that are generated at once, at their limit
Sharded weights (FSDP) are divided by the number of processes, and gathered whole while completions
are generated.
"""

from dataclasses import dataclass

from study.runner.estimate.workload import Generation, Pass, Workload
from study.runner.graph.stages import Staged
from study.spec.machine.profile import Profile
from study.spec.machine.shape import Shape
from study.spec.recipe.model import DistilledModel

GB = 1e9
# study/models/sampling.py: the most rows drawn together, and the share of memory for their cache.
ROWS, CACHE_SHARE = (512, 0.5)
CHUNK_BYTES = 6 * 4 * 2**24  # study/models/logprobs.py: CHUNK_LOGITS float32, six alive at the peak
BYTES = {"float32": 4.0, "bfloat16": 2.0}
# Under autocast with float32 weights the keys are float32 and the values bfloat16.
CACHE_BYTES = {"float32": 3.0, "bfloat16": 2.0}


@dataclass(frozen=True)
class Settings:
    """How a stage is placed on the machine, one process per device.

    processes: those that share a batch; sharded: whether they also share the weights.
    """

    processes: int = 1
    sharded: bool = False
    micro_batch: int | None = None
    recompute: bool = False
    room: float | None = None  # bytes that may be used; rollouts are sampled in parts that fit


@dataclass(frozen=True)
class Memory:
    """Bytes by part. `training` and `generation` hold what exists in that phase only."""

    always: dict[str, float]
    training: dict[str, float]
    generation: dict[str, float]

    @property
    def peak(self) -> float:
        return sum(self.always.values()) + max(
            sum(self.training.values()), sum(self.generation.values())
        )

    @property
    def parts(self) -> dict[str, float]:
        return self.always | self.training | self.generation


def settings_of(kind: str, profile: Profile) -> Settings:
    """Return the settings of a stage kind.

    Processes: the GPUs of a stage that has a launcher, else one; sharded: whether the launcher's
    command names FSDP or ZeRO.
    """
    command = profile.launch.get(kind, [])
    processes = max(1, profile.resources_for(kind).gpus) if command else 1
    sharded = any(word in part.lower() for part in command for word in ("fsdp", "zero3", "zero-3"))
    return Settings(
        processes,
        sharded and processes > 1,
        profile.micro_batch.get(kind),
        kind in profile.recompute,
    )


def of_stage(recipe: Staged, work: Workload, settings: Settings) -> Memory:
    """Return the memory of the device that holds one process's share."""
    training = recipe.training
    trained = next(one for one in work.passes if one.trained)
    shards = settings.processes if settings.sharded else 1
    weights = trained.shape.parameters * BYTES[training.dtype]
    learning = (
        trained.shape.adapters(training.lora.rank) if training.lora else trained.shape.parameters
    )
    each = 4.0 if training.lora else BYTES[training.dtype]
    always = {"weights": weights / shards, "optimiser": 2 * learning * each / shards}
    if training.lora:
        always["weights"] += learning * 4.0 / shards
    if isinstance(recipe, DistilledModel):
        teacher = next(one for one in work.passes if not one.trained)
        always["teacher"] = teacher.shape.parameters * BYTES[recipe.training.teacher_dtype]
    # DDP's buckets are a copy of the gradients.
    gradients = (
        learning * each * (2 if settings.processes > 1 and not settings.sharded else 1) / shards
    )
    during = {
        "gradients": gradients,
        "activations": _activations(work, settings),
        "logits": CHUNK_BYTES,
    }
    if training.dtype == "float32":
        during["bfloat16 copies"] = 2.0 * trained.shape.parameters
    return Memory(
        always, during, _generation(recipe, work, settings, sum(always.values()), weights)
    )


def _activations(work: Workload, settings: Settings) -> float:
    """Return the activations of the largest pass: those kept for the backward pass, or those of one
    layer in a pass without one.
    """
    return max(_pass_bytes(one, settings) for one in work.passes)


def _pass_bytes(one: Pass, settings: Settings) -> float:
    share = max(1.0, one.rows / max(1, one.steps) / settings.processes)
    tokens = min(share, settings.micro_batch or share) * one.limit
    layer = kept_bytes(one.shape)
    if not one.trained:
        return tokens * (layer + 8.0 * one.shape.hidden_size)
    if settings.recompute:
        return tokens * (layer + 4.0 * one.shape.hidden_size * one.shape.num_hidden_layers)
    return tokens * layer * one.shape.num_hidden_layers


def kept_bytes(shape: Shape) -> float:
    """Return the bytes that autograd keeps per token and block, with float32 weights under bfloat16
    autocast and attention without a T x T matrix.

    Two norms: input and scaled input in float32, output in bfloat16 (20 hidden); norms of queries
    and keys in float32 (8 each); queries, keys and values repeated to all heads, output (2 each of
    four); gate, its activation, up and their product in bfloat16 (8).
    """
    return (
        20.0 * shape.hidden_size
        + 8.0 * (shape.queries + shape.keys)
        + 8.0 * shape.queries
        + 8.0 * shape.intermediate_size
    )


def _generation(
    recipe: Staged, work: Workload, settings: Settings, always: float, weights: float
) -> dict[str, float]:
    """Return the memory of the rollouts of a step, with as many at once as fit."""
    rollouts = [one for one in work.generations if one.training]
    gathered = weights if settings.sharded and rollouts else 0.0
    room = None if settings.room is None else settings.room - always - gathered
    rows = [
        (one, rows_in(room, one, recipe.training.dtype, -(-one.rows // settings.processes)))
        for one in rollouts
    ]
    parts = {
        "cache": max(
            (cache_of(one, count, recipe.training.dtype) for one, count in rows), default=0.0
        )
    }
    return parts | ({"gathered weights": gathered} if gathered else {})


def rows_in(room: float | None, one: Generation, dtype: str, wanted: int) -> int:
    """Return the rows that are drawn together (study/models/sampling.py): half of the free memory
    is for their cache, counted in the weights' type.
    """
    if room is None:
        return wanted
    return max(
        1,
        min(
            ROWS,
            wanted,
            int(CACHE_SHARE * room // (one.limit * one.shape.cache_bytes(BYTES[dtype]))),
        ),
    )


def cache_of(one: Generation, rows: int, dtype: str) -> float:
    return rows * one.limit * one.shape.cache_bytes(CACHE_BYTES[dtype])
