"""Train stages `pretrain` and `sft`: TRL's SFTTrainer on
documents, loss on the assistant's tokens only.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from study.data.chat import prompt_ids
from study.data.load import load
from study.data.problems import Problem
from study.data.worlds.common import Document
from study.data.worlds.corpus import author
from study.errors import PrerequisiteError
from study.evaluate.light import sample
from study.grading.boxed import Outcome
from study.models.lab import build_model, build_tokenizer
from study.models.loading import load_for_inference, load_model, load_tokenizer, save
from study.record.checkpoints import Checkpoints
from study.record.progress import ReportProgress
from study.record.seeds import stream
from study.spec.recipe.corpus import SolutionCorpus, TeacherSamples
from study.spec.recipe.model import BpeTokenizer, PretrainedLab, SftModel
from study.train.adapters import adapted, merged
from study.train.arguments import arguments
from study.train.checkpoint import save_trained, train
from study.train.progress import History, ProgressCallback

Documents = Sequence[Document]
MAX_PASSES = 20  # over the training problems, while a teacher's completions are rejected


def pretrain(
    recipe: PretrainedLab, seed: int, out: Path, report: ReportProgress, checkpoints: Checkpoints
) -> History:
    """Train a base model from random weights; `recipe.name` separates the random streams of two
    bases of one seed.
    """
    documents = write_documents(recipe, stream(seed, "pretrain", recipe.name, "documents"))
    tokenizer = build_tokenizer(recipe.tokenizer, tokenizer_texts(recipe))
    model = build_model(
        recipe.architecture, len(tokenizer), stream(seed, "pretrain", recipe.name, "weights")
    )
    return _train(
        recipe,
        model,
        tokenizer,
        documents,
        stream(seed, "pretrain", recipe.name, "order"),
        out,
        report,
        checkpoints,
    )


def sft(
    recipe: SftModel,
    seed: int,
    inputs: Mapping[str, Path],
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> History:
    """Fine-tune the model folder `base` on a corpus or on the answers of the folder `teacher`."""
    base = inputs["base"]
    if isinstance(recipe.corpus, TeacherSamples):
        documents = teacher_documents(
            recipe, recipe.corpus, inputs["teacher"], stream(seed, "sft", "documents")
        )
    else:
        documents = write_documents(recipe, stream(seed, "sft", "documents"))
    training = recipe.training
    model = adapted(
        load_model(base, dtype=getattr(torch, training.dtype)),
        training.lora,
        stream(seed, "sft", "adapters"),
    )
    return _train(
        recipe,
        model,
        load_tokenizer(base),
        documents,
        stream(seed, "sft", "order"),
        out,
        report,
        checkpoints,
    )


def write_documents(recipe: PretrainedLab | SftModel, seed: int) -> Documents:
    """Write as many documents as the stage will read, all of the train split."""
    wanted = max(1, recipe.training.steps * recipe.training.documents_per_step)
    rng = np.random.default_rng(seed)
    if not isinstance(recipe.corpus, SolutionCorpus | TeacherSamples):
        return list(author(recipe.data, recipe.corpus, rng).documents(wanted))
    problems = load(recipe.data, "train")
    chosen = np.concatenate(
        [rng.permutation(len(problems)) for _ in range(-(-wanted // len(problems)))]
    )[:wanted]
    return [Document(None, problems[i].prompt, reference(problems[i])) for i in chosen]


def teacher_documents(
    recipe: SftModel, corpus: TeacherSamples, teacher: Path, seed: int
) -> Documents:
    """Return one completion of the teacher for each document that the stage will read, over the
    training problems in random order.

    A truncated completion is not used as a document: it would teach to write the end token in the
    middle. Raises PrerequisiteError where rejection leaves fewer documents than the stage reads.
    """
    wanted = max(1, recipe.training.steps * recipe.training.documents_per_step)
    problems, model, tokenizer = (
        load(recipe.data, "train"),
        load_for_inference(teacher),
        load_tokenizer(teacher),
    )
    rng, found = np.random.default_rng(seed), list[Document]()
    for attempt in range(MAX_PASSES):
        order = [
            problems[i]
            for i in rng.permutation(len(problems))[
                : (2 if corpus.correct_only else 1) * (wanted - len(found)) + 8
            ]
        ]
        for graded in sample(
            model, tokenizer, order, corpus.sampling, k=1, seed=stream(seed, "teacher", attempt)
        ):
            kept = (
                graded[0].outcome is Outcome.correct
                if corpus.correct_only
                else not graded[0].completion.truncated
            )
            found += [Document(None, graded[0].problem.prompt, graded[0].text)] if kept else []
        if len(found) >= wanted:
            return found[:wanted]
    what = (
        f"{MAX_PASSES} passes over the teacher's completions"
        f" left {len(found)} documents of {wanted}"
    )
    raise PrerequisiteError(
        what, hint="train for fewer steps, allow longer completions, or leave correct_only out"
    )


def reference(problem: Problem) -> str:
    """Return the worked solution, with the answer in a box where the grader looks for it."""
    return (
        problem.solution
        if "\\boxed" in problem.solution
        else f"{problem.solution}\n\\boxed{{{problem.answer}}}".lstrip()
    )


def tokenizer_texts(recipe: PretrainedLab) -> Iterable[str]:
    """Return the texts for a BPE tokenizer to learn from: the train split, so that all models of
    one data source share one tokenizer.
    """
    if isinstance(recipe.tokenizer, BpeTokenizer):
        for problem in load(recipe.data, "train"):
            yield from (problem.prompt, reference(problem))


def encode(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    thinking: bool | None = None,
) -> Dataset:
    """Return input_ids and labels; prompt tokens carry label -100.

    A document longer than `max_length` is cut at its end.
    """
    documents = list(documents)
    prompts = [
        ([{"role": "system", "content": d.system}] if d.system else [])
        + [{"role": "user", "content": d.user}]
        for d in documents
    ]
    heads = prompt_ids(tokenizer, prompts, thinking)
    tails: Any = tokenizer([d.assistant for d in documents], add_special_tokens=False)["input_ids"]
    rows = [(h, [*t, tokenizer.eos_token_id]) for h, t in zip(heads, tails, strict=True)]
    return Dataset.from_dict({
        "input_ids": [(h + t)[:max_length] for h, t in rows],
        "labels": [([-100] * len(h) + t)[:max_length] for h, t in rows],
    })  # fmt: skip


def _train(
    recipe: PretrainedLab | SftModel, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    documents: Documents,
    seed: int, out: Path, report: ReportProgress, checkpoints: Checkpoints,
) -> History:  # fmt: skip
    training = recipe.training
    if training.steps == 0:
        save(merged(model), tokenizer, out)
        return History()
    progress = ProgressCallback(
        recipe.kind, training.steps, report, every=max(1, training.steps // 20)
    )
    args = arguments(
        SFTConfig, out, training.optimisation, steps=training.steps,
        batch=training.documents_per_step, seed=seed,
        train_sampling_strategy="group_by_length", dataset_kwargs={"skip_prepare_dataset": True},
        max_length=training.max_length,
        logging_steps=max(1, training.steps // 20),
    )  # fmt: skip
    dataset = encode(documents, tokenizer, training.max_length, training.thinking)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[progress],
    )
    train(trainer, checkpoints, {"progress": progress})
    save_trained(trainer, model, tokenizer, out)
    return progress.history
