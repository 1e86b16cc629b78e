"""Continue a training where it was killed: the Trainer's own checkpoints, completed with the state
that it does not save.

The Trainer writes weights, optimiser, schedule and random states. A file state-<process>.json is
added to them: the state of every stateful part of a stage (curve, evidence, counters, guard) and
what the Trainer leaves out of its checkpoints (the loss summed since it last logged, TRL's count of
micro-steps). JSON keeps every float exactly. The folder is then sealed
(`study.record.checkpoints`).

With several processes the first one decides and seals; each writes its own state.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from study.errors import PrerequisiteError
from study.models.loading import save
from study.record.checkpoints import Checkpoints
from study.train.adapters import merged, save_as_plain
from study.train.arguments import close_reports, silent

STOPPED = 143  # exit status of a process that SIGTERM ended
_CONTINUE_ONLY = (
    "optimizer*",
    "scheduler.pt",
    "scaler.pt",
    "trainer_state.json",
    "rng_state*",
    "state-*.json",
    "teacher.safetensors",
)
_ADAPTER = ("adapter_*", "README.md")


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Heavy(Protocol):
    """A stateful part with weights of its own, the same in every process: saved as a file of a
    checkpoint instead of JSON.
    """

    def write(self, folder: Path) -> None: ...

    def read(self, folder: Path) -> None: ...


def train(trainer: Trainer, checkpoints: Checkpoints, parts: Mapping[str, Stateful]) -> None:
    """Train to the end, from the newest checkpoint where there is one.

    Raises SystemExit(143) after the checkpoint that a stop signal requested.

    PrerequisiteError for adapters on weights that are spread over processes (FSDP): gathering would
    give only the adapters.
    """
    if isinstance(trainer.model, PeftModel) and trainer.is_fsdp_enabled:
        hint = (
            "a model with adapters fits without sharding: let `launch` start plain processes"
            " (accelerate launch --multi_gpu)"
        )
        raise PrerequisiteError("lora and sharded weights cannot be combined here", hint=hint)
    # TRL would write a model card with every checkpoint.
    trainer.create_model_card = lambda *_, **__: None  # pyright: ignore[reportAttributeAccessIssue]
    place: Path | None = _same_everywhere(
        checkpoints.latest() if trainer.is_world_process_zero() else None
    )
    state = _read_state(place, trainer, parts)
    for name, part in parts.items() if state else ():
        part.load_state_dict(state["parts"][name])
        if isinstance(part, Heavy) and place is not None:
            part.read(place)
    trainer.add_callback(CheckpointCallback(trainer, checkpoints, parts, state.get("trainer", {})))
    try:
        silent(trainer).train(resume_from_checkpoint=str(place) if state else None)
    finally:
        checkpoints.training = False
        close_reports()
    if trainer.is_world_process_zero():
        out = Path(str(trainer.args.output_dir))
        shutil.rmtree(out, ignore_errors=True)
        checkpoints.take_kept(out.with_name("steps"))


def save_trained(
    trainer: Trainer, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path
) -> None:
    """Save the trained model as a folder, its adapters merged.

    All processes gather weights that are spread over them
    (FSDP); the first process writes the weights.
    """
    if not trainer.is_fsdp_enabled:
        save(merged(model), tokenizer, out)
        return
    trainer.save_model(str(out))
    (out / "training_args.bin").unlink(missing_ok=True)


class CheckpointCallback(TrainerCallback):
    """Request a checkpoint at the end of a step, then complete and seal what the Trainer wrote; the
    last callback of a trainer.
    """

    def __init__(
        self,
        trainer: Trainer,
        checkpoints: Checkpoints,
        parts: Mapping[str, Stateful],
        continued: Mapping[str, Any],
    ) -> None:
        self.trainer, self.checkpoints, self.parts, self.continued = (
            trainer,
            checkpoints,
            parts,
            continued,
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.continued:
            _set_hidden(self.trainer, self.continued)
        self.checkpoints.training = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # After the last step only a stop needs a checkpoint: what follows is short.
        last = state.global_step >= state.max_steps
        wanted = self.checkpoints.stop_asked if last else self.checkpoints.due()
        control.should_save = _same_everywhere(wanted and between_generations(self.trainer))
        self.checkpoints.training = not last

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        made = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if control.should_training_stop and state.global_step < state.max_steps:
            self._drop(made)  # the guard ends training here: no run may continue past it
            return
        (made / f"state-{args.process_index}.json").write_text(
            json.dumps(self._state(args.world_size)), encoding="utf-8"
        )
        self.trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            for part in self.parts.values():
                if isinstance(part, Heavy):
                    part.write(made)
            self._seal(made, state.global_step)
        if _same_everywhere(self.checkpoints.stop_asked):
            raise SystemExit(STOPPED)

    def _state(self, processes: int) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        return {"processes": processes, "trainer": _hidden(self.trainer), "parts": parts}

    def _drop(self, made: Path) -> None:
        self.trainer.accelerator.wait_for_everyone()
        if self.trainer.is_world_process_zero():
            shutil.rmtree(made, ignore_errors=True)

    def _seal(self, made: Path, step: int) -> None:
        (made / "training_args.bin").unlink(missing_ok=True)  # a pickle that is never read
        if self.checkpoints.keep == "all":
            self._keep(made, step)
        self.checkpoints.seal(made, step)

    def _keep(self, made: Path, step: int) -> None:
        """Save the weights of this step as a plain model folder; the checkpoint of a model with
        adapters holds only the adapters.
        """
        files = [
            file
            for file in made.iterdir()
            if file.is_file() and not any(map(file.match, _CONTINUE_ONLY))
        ]
        if not isinstance(self.trainer.model, PeftModel):
            self.checkpoints.keep_weights(files, step)
            return
        with tempfile.TemporaryDirectory(dir=made.parent) as plain:
            save_as_plain(self.trainer.model, Path(plain))
            beside = [file for file in files if not any(map(file.match, _ADAPTER))]
            self.checkpoints.keep_weights([*Path(plain).iterdir(), *beside], step)


def _hidden(trainer: Any) -> dict[str, Any]:
    """Return the state of the next step that no checkpoint of the Trainer or TRL holds."""
    return {
        "loss_since_log": float(trainer._tr_loss), "logged_at": trainer._globalstep_last_logged,
        "total_loss": trainer._total_loss_scalar,
        "micro_steps": getattr(trainer, "_step", None),
    }  # fmt: skip


def _set_hidden(trainer: Any, values: Mapping[str, Any]) -> None:
    """Restore what `_hidden` returned.

    The Trainer has just set these to their values at the beginning of a training.
    """
    trainer._tr_loss = torch.full_like(trainer._tr_loss, values["loss_since_log"])
    trainer._globalstep_last_logged, trainer._total_loss_scalar = (
        values["logged_at"],
        values["total_loss"],
    )
    if values["micro_steps"] is not None:
        trainer._step = values["micro_steps"]


def between_generations(trainer: Any) -> bool:
    """Whether every sampled rollout has been used: TRL may sample once for several optimiser steps,
    and a checkpoint does not hold its buffer, so none is taken before the buffer is used.
    """
    every = getattr(trainer.args, "steps_per_generation", 1) * getattr(trainer, "num_iterations", 1)
    return getattr(trainer, "_step", 0) % every == 0


def _read_state(
    place: Path | None, trainer: Trainer, parts: Mapping[str, Stateful]
) -> dict[str, Any]:
    """Read this process's own state; empty where there is none, and where the checkpoint has
    another number of processes.
    """
    path = place / f"state-{trainer.args.process_index}.json" if place else None
    state: dict[str, Any] = json.loads(path.read_bytes()) if path and path.is_file() else {}
    fits = (
        state.get("processes") == trainer.args.world_size and state["parts"].keys() == parts.keys()
    )
    return state if fits else {}


def _same_everywhere(value: Any) -> Any:
    """Return the first process's value in all of them; with one process, the value."""
    return broadcast_object_list([value])[0]
