"""GPU memory of a stage, part by part, in bytes on one device: what lies there all the time, and
the larger of training and generation.

    weights, gradients, optimiser   4, 4, 8 bytes a trained weight (float32, AdamW); 2 a frozen or
                                    bfloat16 one
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
ROWS, CACHE_SHARE = (
    512,
    0.5,
    # study/models/sampling.py: drawn together at most, and the share of the room that their cache
    # may
    # take
)
CHUNK_BYTES = 6 * 4 * 2**24  # study/models/logprobs.py: CHUNK_LOGITS float32, six alive at the peak
BYTES = {"float32": 4.0, "bfloat16": 2.0}
CACHE_BYTES = {
    "float32": 3.0,
    "bfloat16": 2.0,
}  # under autocast with float32 weights the keys are float32 and the values bfloat16


@dataclass(frozen=True)
class Settings:
    """How a stage lies on the machine, one process a device. processes: those that share a batch;
    sharded: its weights too.
    """

    processes: int = 1
    sharded: bool = False
    micro_batch: int | None = None
    recompute: bool = False
    room: float | None = (
        None  # bytes that may be used; rollouts are sampled in as many parts as that asks for
    )


@dataclass(frozen=True)
class Memory:
    """Bytes by part. `training` and `generation` hold what is alive in that phase alone."""

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
    """Processes: the GPUs of a stage that has a launcher, else one; sharded: where the launcher's
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
    """Of the device that holds one process's share."""
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
    gradients = (
        learning * each * (2 if settings.processes > 1 and not settings.sharded else 1) / shards
    )  # DDP's buckets are a copy
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
    """Of the largest pass: what the backward pass needs, or what one layer of a pass without one
    holds.
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
    """What autograd keeps of one token in one block, weights in float32 under bfloat16 autocast,
    attention without a T x T matrix.

    Two norms: input and scaled input in float32, output in bfloat16 (20 hidden); norms of queries
    and keys in float32 (8 each); queries,
    keys and values repeated to all heads, output (2 each of four); gate, its activation, up and
    their product in bfloat16 (8).
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
    """Of the rollouts of a step, as many at once as there is room for."""
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
    """Rows that are drawn together (study/models/sampling.py): half of the room for their cache,
    counted in the weights' type.
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
