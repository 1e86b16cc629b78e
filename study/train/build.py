"""Train the top stage of a recipe and write a transformers folder with its history next to it.

history.json {"columns": {...}}; cost.json {tokens and seconds}; data.json {what was read of a hub
data set and left out}; guard.json {alarms, trace} of grpo and distill; a distillation also leaves
evidence.json, and forensics.json where its guard stopped it. Raises TypeError for a recipe that is
not a stage (a local or hub model).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from study.data.chat import template_arguments
from study.data.hub.datasets import draw
from study.data.load import load
from study.data.problems import Problem
from study.data.views import shifted, teacher_view
from study.models.loading import load_model, load_tokenizer, require_same_tokens
from study.models.sampling import end_token_ids
from study.record.checkpoints import Checkpoints
from study.record.progress import ReportProgress
from study.record.seeds import stream, training_seed
from study.spec.recipe.data import HubData
from study.spec.recipe.model import DistilledModel, GrpoModel, Model, PretrainedLab, SftModel
from study.train import supervised
from study.train.adapters import adapted
from study.train.arguments import arguments, rollout_settings
from study.train.checkpoint import save_trained, train
from study.train.curve import CurveCallback
from study.train.distill import DistillationConfig, OnPolicyDistillation
from study.train.evidence import Evidence
from study.train.grpo import Correctness, grpo_trainer
from study.train.guard.callback import DISTILL_LOG, GRPO_LOG, GuardCallback, forensics
from study.train.guard.trace import Guard
from study.train.teacher_update import followed
from study.train.teachers import ServerTeacher, teacher_of


def build(
    recipe: Model,
    seed: int,
    inputs: Mapping[str, Path],
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> None:
    """Train the top stage of `recipe` from the folders in `inputs` (roles base, student, teacher)
    into `out`.

    Continues from the newest of `checkpoints`; on a CPU the artifact then has the same bytes,
    except for the seconds in cost.json.
    """
    # One thread: several stages share a machine, and the bytes of a result depend on the number of
    # threads.
    torch.set_num_threads(1)
    seed = training_seed(seed, getattr(recipe, "repeat", 0))
    match recipe:
        case PretrainedLab():
            left: dict[str, Any] = {
                "history": supervised.pretrain(recipe, seed, out, report, checkpoints).columns
            }
        case SftModel():
            left = {
                "history": supervised.sft(recipe, seed, inputs, out, report, checkpoints).columns
            }
        case GrpoModel():
            left = _grpo(recipe, seed, inputs["base"], out, report, checkpoints)
        case DistilledModel():
            left = _distill(recipe, seed, inputs, out, report, checkpoints)
        case _:
            raise TypeError(f"{recipe.kind} is not a stage")
    _write(out / "history.json", {"columns": left.pop("history")})
    if not isinstance(recipe, PretrainedLab) and isinstance(recipe.data, HubData):
        # Counts of rows read and left out: filters, copies, problems of benchmarks.
        left["data"] = dict(draw(recipe.data).counts)
    for name, content in left.items():
        _write(out / f"{name}.json", content)


def draw_problems(problems: tuple[Problem, ...], n: int, seed: int) -> list[Problem]:
    """Return n training problems in random order, each used equally often up to one: they depend on
    the seed alone, so cells are paired.
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(problems)) for _ in range(-(-n // len(problems)))])[
        :n
    ]
    return [problems[i] for i in order]


def _grpo(
    recipe: GrpoModel,
    seed: int,
    base: Path,
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    training, tokenizer = recipe.training, load_tokenizer(base)
    model = adapted(
        load_model(base, dtype=getattr(torch, training.dtype)),
        training.lora,
        stream(seed, "grpo", "adapters"),
    )
    # The stream is the stage's own: one prompt order for every stage of a seed would pair a
    # teacher's data with its student's.
    drawn = draw_problems(
        load(recipe.data, "train"),
        training.steps * training.prompts_per_step,
        stream(seed, "grpo", "problems"),
    )
    curve = CurveCallback(
        "grpo",
        training.steps,
        training.curve,
        training.sampling,
        load(recipe.data, "held_out"),
        tokenizer,
        seed,
        report,
    )
    reward = Correctness(drawn, tokenizer, training)
    guard = Guard()
    trainer = grpo_trainer(
        recipe, model, tokenizer, drawn, reward, seed, out, [curve, GuardCallback(guard, GRPO_LOG)]
    )
    train(trainer, checkpoints, {"curve": curve, "guard": guard, "reward": reward})
    save_trained(trainer, model, tokenizer, out)
    cost = {"tokens_sampled": reward.tokens_sampled, "tokens_scored": 0}
    return {"history": curve.history.columns, "cost": cost, "guard": guard.as_dict()}


def _distill(
    recipe: DistilledModel,
    seed: int,
    inputs: Mapping[str, Path],
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    training, tokenizer = recipe.training, load_tokenizer(inputs["student"])
    require_same_tokens(tokenizer, load_tokenizer(inputs["teacher"]))
    student = load_model(inputs["student"], dtype=getattr(torch, training.dtype))
    student = adapted(student, training.lora, stream(seed, "distill", "adapters"))
    problems = draw_problems(
        load(recipe.data, "train"),
        training.steps * training.prompts_per_step,
        stream(seed, "distill", "problems"),
    )
    sampling, held_out = training.sampling, load(recipe.data, "held_out")
    evidence = Evidence(
        problems,
        tokenizer,
        end_token_ids(student, tokenizer),
        training.steps,
        sampling.max_completion_length,
    )
    curve = CurveCallback(
        "distill",
        training.steps,
        training.curve,
        sampling,
        held_out,
        tokenizer,
        seed,
        report,
        evidence.window,
    )
    guard = Guard(training.guard)
    args = arguments(
        DistillationConfig, out, training.optimisation, steps=training.steps,
        batch=training.prompts_per_step,
        seed=stream(seed, "distill"), max_completion_length=sampling.max_completion_length,
        temperature=sampling.temperature,
        top_p=sampling.top_p, top_k=0, shuffle_dataset=False,
        chat_template_kwargs=template_arguments(sampling.thinking),
        **rollout_settings(),
    )  # fmt: skip
    with teacher_of(recipe, inputs["teacher"]) as teacher:
        trainer = OnPolicyDistillation(
            student, teacher, args, prompt_rows(problems, recipe), tokenizer,
            objective=recipe.objective, seed=seed, evidence=evidence,
            callbacks=[curve, GuardCallback(guard, DISTILL_LOG, evidence.step.take)],
            sampler=sampling.sampler, length_groups=training.length_groups,
            measure_every=training.measure_every,
        )  # fmt: skip
        moving = (
            {}
            if isinstance(teacher, ServerTeacher)
            else followed(trainer, teacher, training.teacher_update)
        )
        train(
            trainer,
            checkpoints,
            {"curve": curve, "guard": guard, "evidence": evidence, "trainer": trainer, **moving},
        )
    save_trained(trainer, student, tokenizer, out)
    cost = {f"tokens_{name}": n for name, n in trainer.tokens.items()} | {
        f"{name}_s": round(s, 3) for name, s in trainer.seconds.items()
    }
    left = {
        "history": curve.history.columns,
        "evidence": evidence.as_dict(),
        "cost": cost,
        "guard": guard.as_dict(),
    }
    if guard.stopped_at is not None:
        left["forensics"] = forensics(
            guard, evidence.last_rollouts, evidence.last_scored, tokenizer
        )
    return left


def prompt_rows(problems: list[Problem], recipe: DistilledModel) -> Dataset:
    others = shifted(problems)
    return Dataset.from_list(
        [
            {
                "prompt": teacher_view(p, None),
                "teacher_prompt": teacher_view(p, recipe.privileged, other),
                "problem": i,
            }
            for i, (p, other) in enumerate(zip(problems, others, strict=True))
        ]
    )


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
