"""Turn a stage's settings into TRL arguments, and set here
what TRL defaults differently from the study.
"""

import os
import sys
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from study.errors import PrerequisiteError
from study.spec.machine.serving import Rollouts
from study.spec.recipe.training import Optimisation

Arguments = TypeVar("Arguments", bound=TrainingArguments)


def arguments(
    kind: type[Arguments],
    out: Path,
    optimisation: Optimisation,
    *,
    steps: int,
    batch: int,
    seed: int,
    **extra: Any,
) -> Arguments:
    """Return the arguments of a TRL trainer: reports only where the profile wants them, no
    checkpoints inside the artifact, full precision on a CPU.

    `batch` is the batch of an optimiser step: several processes (WORLD_SIZE) share it, and each
    takes its share in micro-batches of STUDY_MICRO_BATCH rows (without it, all at once).
    PrerequisiteError if it cannot be shared evenly.
    """
    cuda, micro_batch = torch.cuda.is_available(), _micro_batch(batch)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    seed %= 2**32  # the largest seed of numpy, used in transformers.set_seed
    settings: dict[str, Any] = {
        "output_dir": str(out / "trainer"), "max_steps": steps,
        "per_device_train_batch_size": micro_batch, "seed": seed,
        "gradient_accumulation_steps": batch // processes // micro_batch,
        "gradient_checkpointing": bool(os.environ.get("STUDY_RECOMPUTE")),
        "data_seed": seed, "use_cpu": not cuda, "bf16": cuda, **_reports(),
        "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1,
        "logging_strategy": "steps", "dataloader_pin_memory": cuda,
        **optimisation.model_dump(),
    }  # fmt: skip
    made = kind(**(settings | extra))
    # one process trains on one GPU: the Trainer would multiply the batch by all GPUs it sees
    made._n_gpu = min(made.n_gpu, 1)
    return made


def _reports() -> dict[str, Any]:
    """Return the reporting arguments from STUDY_REPORT_TO and STUDY_TASK
    (study/runner/work/reporting.py): a stage is one W&B run under its id.
    """
    target, task = os.environ.get("STUDY_REPORT_TO", ""), os.environ.get("STUDY_TASK", "")
    if not (target and task):  # a rehearsal or a preflight has no task, and reports nothing
        return {"report_to": []}
    os.environ.setdefault("WANDB_PROJECT", "opd-study")
    os.environ.setdefault("WANDB_RUN_GROUP", task)
    return {"report_to": [target], "run_name": task}


def close_reports() -> None:
    """Close the W&B run: a worker process ends without the exit hooks that W&B needs, and the next
    training is another run.
    """
    wandb: Any = sys.modules.get("wandb")
    if os.environ.get("STUDY_REPORT_TO") and os.environ.get("STUDY_TASK") and wandb is not None:
        wandb.finish()


def rollout_settings() -> dict[str, Any]:
    """Return TRL's arguments for the profile's `rollouts`
    (STUDY_ROLLOUTS); none where transformers samples.
    """
    said = os.environ.get("STUDY_ROLLOUTS")
    if not said:
        return {}
    rollouts = Rollouts.model_validate_json(said)
    if rollouts.mode == "server":
        if not rollouts.url:
            raise PrerequisiteError(
                "rollouts of mode server need the address of a server",
                hint="url: http://127.0.0.1:PORT in the profile",
            )
        return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": rollouts.url}
    return {
        "use_vllm": True, "vllm_mode": "colocate", "vllm_enable_sleep_mode": rollouts.sleep,
        "vllm_gpu_memory_utilization": rollouts.gpu_memory_utilization,
        "vllm_tensor_parallel_size": rollouts.tensor_parallel_size,
        "vllm_max_model_length": rollouts.max_model_length,
    }  # fmt: skip


def _micro_batch(batch: int) -> int:
    """Return the rows that one process takes forward and
    backward at once. Errors: as `arguments`.
    """
    processes, asked = (
        int(os.environ.get("WORLD_SIZE", "1")),
        int(os.environ.get("STUDY_MICRO_BATCH") or 0),
    )
    if batch % processes:
        hint = f"let `launch` in the profile start a number of processes that divides {batch}"
        raise PrerequisiteError(
            f"{processes} processes cannot share a batch of {batch} evenly", hint=hint
        )
    share = batch // processes
    if asked and share % min(asked, share):
        hint = f"let `micro_batch` in the profile divide {share}"
        raise PrerequisiteError(
            f"a process's {share} rows of a step cannot be split into micro-batches of {asked}",
            hint=hint,
        )
    return min(asked, share) if asked else share


def silent(trainer: Trainer) -> Trainer:
    """Return the same trainer without its own prints; callbacks report progress."""
    trainer.remove_callback(PrinterCallback)
    return trainer
