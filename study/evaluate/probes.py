"""Measure a trained model with probes (`study.spec.recipe.probe`), each a few named numbers.

Axes: B completions, T their tokens (padded), N the valid ones, m teachers' views, V vocabulary
(materialised: the lab's vocabularies are small; at a real vocabulary a probe works on `ROWS`
completions at a time).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.load import load
from study.data.problems import Problem
from study.data.views import Messages, shifted, student_view, teacher_view
from study.models.loading import load_for_inference, load_tokenizer
from study.models.sampling import generate
from study.objectives.optimum import pi_optimum
from study.record.progress import ReportProgress
from study.record.seeds import stream
from study.spec.identity import canonical
from study.spec.recipe.probe import Likelihood, PiOptimum, Probe
from study.spec.recipe.training import Sampling

ROWS = 64  # completions scored at once,
SCORES = 2**30  # or fewer: the largest number of log-probabilities of one model in memory (4.3 GB)
Ids = Sequence[Sequence[int]]


def measure(
    probe: Probe, model_dir: Path, seed: int, report: ReportProgress, beside: Mapping[str, Path]
) -> dict[str, float]:
    """Return the numbers of one probe on the model in `model_dir`; `beside` maps its teacher's
    canonical text to a folder.
    """
    report(probe.kind, 0, 1, {})
    model, tokenizer = load_for_inference(model_dir), load_tokenizer(model_dir)
    teacher = load_for_inference(beside[canonical(probe.teacher)])
    problems = load(probe.data, "held_out")[: probe.problems]
    match probe:
        case Likelihood():
            found = likelihood(
                model, teacher, tokenizer, problems, probe.sampling, stream(seed, "likelihood")
            )
        case PiOptimum():
            found = _optimum(probe, model, teacher, tokenizer, problems, stream(seed, "pi_optimum"))
        case _:
            assert_never(probe)
    report(probe.kind, 1, 1, {})
    return found


def likelihood(
    model: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    sampling: Sampling, seed: int,
) -> dict[str, float]:  # fmt: skip
    """Return nll, perplexity, tokens: one sampled completion of the teacher for each problem,
    scored by the model.
    """
    views = [student_view(problem) for problem in problems]
    drawn = generate(teacher, tokenizer, _prompts(tokenizer, views), sampling, k=1, seed=seed)
    completions = [row[0].ids for row in drawn]
    total, tokens = 0.0, 0
    for logp_BTV, ids_BT, mask_BT in _scored(model, tokenizer, views, completions):
        total -= float(
            logp_BTV.gather(-1, ids_BT.unsqueeze(-1)).squeeze(-1)[mask_BT].double().sum()
        )
        tokens += int(mask_BT.sum())
    nll = total / tokens
    return {"nll": nll, "perplexity": float(torch.tensor(nll).exp()), "tokens": tokens}


def _optimum(
    probe: PiOptimum, model: PreTrainedModel, teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem],
    seed: int,
) -> dict[str, float]:  # fmt: skip
    views = [student_view(problem) for problem in problems]
    completions = [
        row[0].ids
        for row in generate(
            model, tokenizer, _prompts(tokenizer, views), probe.sampling, k=1, seed=seed
        )
    ]
    others = shifted(problems)
    seen = [
        [teacher_view(p, pi, other) for p, other in zip(problems, others, strict=True)]
        for pi in probe.privileged
    ]
    sums: dict[str, float] = {}
    tokens = 0
    streams = [_scored(teacher, tokenizer, views_of_one, completions) for views_of_one in seen]
    for (student_BTV, _, mask_BT), *teachers in zip(
        _scored(model, tokenizer, views, completions), *streams, strict=True
    ):
        teachers_mNV = torch.stack([logp_BTV[mask_BT] for logp_BTV, _, _ in teachers])
        for name, value_N in pi_optimum(student_BTV[mask_BT], teachers_mNV).items():
            sums[name] = sums.get(name, 0.0) + float(value_N.double().sum())
        tokens += int(mask_BT.sum())
    return {name: total / tokens for name, total in sums.items()} | {"tokens": tokens}


def _prompts(tokenizer: PreTrainedTokenizerBase, views: Sequence[Messages]) -> list[list[int]]:
    found: Any = tokenizer.apply_chat_template(
        list(views), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return found


@torch.no_grad()
def _scored(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    views: Sequence[Messages],
    completions: Ids,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (log-probabilities [B, T, V], completion ids [B, T], mask [B, T]) of at most `ROWS`
    completions, the same groups for every model.
    """
    prompts = _prompts(tokenizer, views)
    pad = int(tokenizer.pad_token_id or 0)  # pyright: ignore[reportArgumentType]
    rows = max(1, min(ROWS, SCORES // (max(1, *map(len, completions)) * len(tokenizer))))
    device: Any = model.device
    for start in range(0, len(prompts), rows):
        heads, tails = prompts[start : start + rows], completions[start : start + rows]
        left, right = max(map(len, heads)), max(1, *map(len, tails))
        pairs = list(zip(heads, tails, strict=True))
        ids = torch.tensor(
            [[pad] * (left - len(h)) + [*h, *t] + [pad] * (right - len(t)) for h, t in pairs],
            device=device,
        )
        mask = torch.tensor(
            [
                [0] * (left - len(h)) + [1] * len([*h, *t]) + [0] * (right - len(t))
                for h, t in pairs
            ],
            device=device,
        )
        logits: Any = model(
            input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)
        ).logits
        yield logits[:, left - 1 : -1].float().log_softmax(-1), ids[:, left:], mask[:, left:].bool()
