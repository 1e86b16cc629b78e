"""Estimate a whole grid on a named machine: every stage, evaluation and probe once; seconds,
memory, disk and cost.

Wall time is the larger of all device-hours divided by the devices and of the longest chain of
stages that wait for one another. Nothing is measured here and no weights are needed;
`study.runner.estimate.check` reports the error of the same formulas on existing records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from study.errors import PrerequisiteError
from study.runner.estimate import memory, roofline, workload
from study.runner.estimate.advice import knobs
from study.runner.estimate.memory import GB, Memory, Settings
from study.runner.estimate.sizes import Sized, Sizes
from study.runner.estimate.workload import Lengths, Workload
from study.runner.graph.stages import Ready, Staged, StageNode, run_graph
from study.spec.grid.cell import Cell, models_beside
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import stage_id
from study.spec.machine.hardware import Hardware
from study.spec.machine.profile import Profile
from study.spec.recipe.model import DistilledModel, Model, PretrainedLab
from study.spec.recipe.teacher import FrozenTeacher

TEXT_BYTES = 1.5  # per token of a stored completion, compressed
BESIDE_WEIGHTS = 5e6  # tokenizer, curves and evidence of an artifact


@dataclass(frozen=True)
class Estimated:
    """The estimate of one stage, or of all evaluations and probes of one run.

    gpus: devices that it holds. disk: bytes that stay. problems: why it does not fit.
    """

    id: str
    kind: str
    model: str
    seconds: Mapping[str, float]
    gpus: int
    memory: Memory
    disk: float
    checkpoint: float
    knobs: tuple[str, ...] = ()
    fits: bool = True

    @property
    def wall_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def device_s(self) -> float:
        return self.wall_s * self.gpus


@dataclass(frozen=True)
class Rehearsal:
    hardware: Hardware
    lengths: Lengths
    models: tuple[Sized, ...]
    stages: tuple[Estimated, ...]
    chain_s: float

    @cached_property
    def device_hours(self) -> float:
        return sum(one.device_s for one in self.stages) / 3600

    @property
    def wall_hours(self) -> float:
        return max(self.device_hours / self.hardware.devices, self.chain_s / 3600)

    @property
    def disk_gb(self) -> float:
        """GB of everything that stays, plus two checkpoints (the old one is removed when the new
        one is complete) of as many stages as run at once.
        """
        working = sorted((one.checkpoint for one in self.stages), reverse=True)[
            : self.hardware.devices
        ]
        return (sum(one.disk for one in self.stages) + 2 * sum(working)) / GB

    @property
    def cost(self) -> float | None:
        """Return the cost of the device-hours, without idle devices."""
        return None if self.hardware.price is None else self.device_hours * self.hardware.price

    @property
    def too_large(self) -> tuple[Estimated, ...]:
        return tuple(one for one in self.stages if not one.fits)

    @property
    def disk_fits(self) -> bool:
        return self.hardware.disk_gb is None or self.disk_gb <= self.hardware.disk_gb


def rehearse(
    runs: Sequence[LabelledRun], profile: Profile, sizes: Sizes, lengths: Lengths
) -> Rehearsal:
    """Estimate the runs on the machine of the profile.

    Errors: PrerequisiteError for a profile without `hardware` and for a model of unknown shape.
    """
    if profile.hardware is None:
        hint = "name one that has it (h200, a100x8, rtx-pro-6000x10), or add `hardware:` to yours"
        raise PrerequisiteError(
            f"the profile {profile.profile!r} does not say what the machine can do", hint=hint
        )
    estimate = _Estimate(profile, profile.hardware, sizes, lengths)
    nodes = {node.id: node for run in runs for node in run_graph(run.cell, run.seed)}
    stages = {name: estimate.stage(node) for name, node in nodes.items()}
    ends: dict[str, float] = {}
    for name, node in nodes.items():  # inputs come first in each run's graph
        ends[name] = stages[name].wall_s + max((ends[i] for i in node.inputs.values()), default=0.0)
    judged = [estimate.run(run) for run in runs]
    chain = max(
        (
            one.wall_s + _ready(run.cell, run.seed, ends)
            for one, run in zip(judged, runs, strict=True)
        ),
        default=0.0,
    )
    return Rehearsal(
        profile.hardware, lengths, tuple(sizes.found.values()), (*stages.values(), *judged), chain
    )


def _ready(cell: Cell, seed: int, ends: Mapping[str, float]) -> float:
    """Return the time at which the last of the models that a run reads is made."""
    models = [model for model in (*models_beside(cell), cell.model) if not isinstance(model, Ready)]
    return max((ends[stage_id(model, seed)] for model in models), default=0.0)


@dataclass(frozen=True)
class _Estimate:
    profile: Profile
    hardware: Hardware
    sizes: Sizes
    lengths: Lengths

    @property
    def room(self) -> float:
        return (self.hardware.memory_gb - self.hardware.reserve_gb) * GB

    def stage(self, node: StageNode) -> Estimated:
        recipe, settings = node.recipe, self._settings(node.kind)
        work = workload.of_stage(recipe, self.sizes, self.lengths)
        held = memory.of_stage(recipe, work, settings)
        sized, dtype = self.sizes.of(recipe), recipe.training.dtype
        weights = sized.shape.parameters * memory.BYTES[dtype]
        fits, parts = held.peak <= self.room, settings.processes if settings.sharded else 1
        return Estimated(
            node.id,
            node.kind,
            sized.name,
            roofline.seconds(work, self.hardware, settings, dtype),
            self._gpus(node.kind),
            held,
            disk=self._kept(recipe, weights),
            checkpoint=weights + held.always["optimiser"] * parts + _moving(recipe, held),
            knobs=()
            if fits
            else tuple(knobs(recipe, settings, _rows(recipe), self.room, self._peak)),
            fits=fits,
        )

    def _settings(self, kind: str) -> Settings:
        return replace(memory.settings_of(kind, self.profile), room=self.room)

    def _peak(self, recipe: Staged, settings: Settings) -> float:
        return memory.of_stage(
            recipe, workload.of_stage(recipe, self.sizes, self.lengths), settings
        ).peak

    def _kept(self, recipe: Staged, weights: float) -> float:
        keep = self.profile.keep.get(recipe.kind, "final")
        return BESIDE_WEIGHTS + (0.0 if keep == "none" else weights)

    def _gpus(self, kind: str) -> int:
        return max(1, self.profile.resources_for(kind).gpus)

    def run(self, run: LabelledRun) -> Estimated:
        """Estimate all evaluations and probes of a run, in one process on one device."""
        cell = run.cell
        works = [
            workload.of_evaluation(one, cell.model, self.sizes, self.lengths)
            for one in cell.evaluations
        ]
        works += [
            workload.of_probe(probe, cell.model, self.sizes, self.lengths) for probe in cell.probes
        ]
        work = Workload(
            tuple(g for one in works for g in one.generations),
            tuple(p for one in works for p in one.passes),
        )
        sampled = sum(
            g.rows * g.tokens
            for g in workload.of_evaluation(
                cell.evaluation, cell.model, self.sizes, self.lengths
            ).generations
        )
        held, fits = self._judging(work, cell.model)
        how = ("a device with more memory, or a shorter `max_completion_length` of the evaluation",)
        return Estimated(
            run.run_id, "evaluate", self.sizes.of(cell.model).name,
            roofline.seconds(work, self.hardware, Settings(), "bfloat16"),
            self._gpus("evaluate"), held, disk=BESIDE_WEIGHTS + sampled * TEXT_BYTES,
            checkpoint=0.0, knobs=() if fits else how, fits=fits,
        )  # fmt: skip

    def _judging(self, work: Workload, model: Model) -> tuple[Memory, bool]:
        """Return the memory of weights and of the cache of one batch; for a probe also of the other
        model and its log-probabilities.
        """
        used = [one.shape for one in (*work.generations, *work.passes)]
        shapes = set([*used, self.sizes.of(model).shape])  # noqa: C405 - for pyright, not hashable
        caches = [
            (one, min(one.rows, roofline.rows_at_once(one, self.hardware)))
            for one in work.generations
        ]
        cache = max((memory.cache_of(one, rows, "bfloat16") for one, rows in caches), default=0.0)
        held = Memory(
            {"weights": max(2.0 * shape.parameters for shape in shapes)}, {}, {"cache": cache}
        )
        if work.passes:
            # Logits, float32 and log-softmax of one row.
            scores = max(3 * 4.0 * one.limit * one.shape.vocab_size for one in work.passes)
            held = replace(
                held,
                always={"weights": 2.0 * sum(shape.parameters for shape in shapes)},
                training={"logits": scores},
            )
        return held, held.peak <= self.room


def _moving(recipe: Staged, held: Memory) -> float:
    """Return the bytes of a teacher that follows its student, which is part of each checkpoint."""
    moves = isinstance(recipe, DistilledModel) and not isinstance(
        recipe.training.teacher_update, FrozenTeacher
    )
    return held.always["teacher"] if moves else 0.0


def _rows(recipe: Staged) -> int:
    """Return the rows of an optimiser step."""
    training = recipe.training
    if isinstance(recipe, PretrainedLab) or recipe.kind == "sft":
        return int(getattr(training, "documents_per_step", 1))
    return int(getattr(training, "prompts_per_step", 1)) * int(
        getattr(training, "rollouts_per_prompt", 1)
    )
