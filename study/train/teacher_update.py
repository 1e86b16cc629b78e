"""Update a teacher that follows its student (`teacher_update`): by moving average or by copies.

    ema        after every optimiser step        teacher = decay * teacher + (1 - decay) * student
    periodic   after every `every`-th one        teacher = student

The teacher starts as the student (the recipes are equal, `study/spec/recipe/model.py`). With
adapters it follows the weights that they make, W + (alpha / rank) B A: an average of the models.
TRL has both halves, and neither fits: `SyncRefModelCallback` refuses adapters, and SDFT's
`PEFTAdapterEMACallback` averages A and B, whose product is another model.
`tests/train/test_teacher_update.py` compares with the first.

The teacher's weights are the one state of training that no Trainer saves, so a checkpoint holds
them as teacher.safetensors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from study.errors import PrerequisiteError
from study.spec.recipe.teacher import (
    EmaTeacher,
    FrozenTeacher,
    PeriodicTeacher,
    TeacherUpdate,
)
from study.train.adapters import plain_weights

FILE = "teacher.safetensors"


class Follow(TrainerCallback):
    """Move the teacher at the end of each optimiser step.

    Every process moves its own copy, in the same way.
    """

    def __init__(self, teacher: nn.Module, update: EmaTeacher | PeriodicTeacher) -> None:
        self.teacher, self.update = teacher, update

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        decay = decay_at(self.update, state.global_step)
        if decay is not None:
            follow(self.teacher, model, decay)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def write(self, folder: Path) -> None:
        save_file(
            {name: value.detach().contiguous() for name, value in self.teacher.named_parameters()},
            folder / FILE,
        )

    @torch.no_grad()
    def read(self, folder: Path) -> None:
        kept = load_file(folder / FILE)
        for name, value in self.teacher.named_parameters():
            value.copy_(kept[name])


def followed(trainer: Trainer, teacher: nn.Module, update: TeacherUpdate) -> dict[str, Follow]:
    """Add to the trainer the callback that moves the teacher, and return it as a stateful part;
    empty for a fixed teacher.

    PrerequisiteError for weights that are spread over processes (FSDP): the student's shards are
    not the teacher's.
    """
    if isinstance(update, FrozenTeacher):
        return {}
    if trainer.is_fsdp_enabled:
        hint = (
            "let `launch` start plain processes (accelerate launch --multi_gpu), or leave"
            " `teacher_update` frozen"
        )
        raise PrerequisiteError(
            f"teacher_update: {update.kind} and sharded weights cannot be combined here", hint=hint
        )
    part = Follow(teacher, update)
    trainer.add_callback(part)
    return {"teacher": part}


def decay_at(update: EmaTeacher | PeriodicTeacher, step: int) -> float | None:
    """Return the weight of the teacher's own past at the end of this optimiser step (from 1); None:
    no update.
    """
    match update:
        case EmaTeacher():
            return update.decay
        case PeriodicTeacher():
            return 0.0 if step % update.every == 0 else None
        case _:
            assert_never(update)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Set teacher = decay * teacher + (1 - decay) * student, in the teacher's own dtype; a copy for
    decay 0. The models have one shape.
    """
    own = dict(teacher.named_parameters())
    for name, value in plain_weights(student):
        if decay == 0.0:
            own[name].copy_(value)
        else:
            own[name].mul_(decay).add_(value, alpha=1 - decay)
