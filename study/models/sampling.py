"""Draw completions through one contract: token ids in, token ids out.

The engine is the declared sampler: transformers' `generate`, or the loop for the lab's architecture
(`study.models.decode`), which gives the same completions.

Randomness is an argument: the same seed gives the same completions whatever the global random
state, and leaves that state alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from study.models import decode
from study.spec.recipe.training import Sampler, Sampling

ROWS = 512  # drawn together where memory sets no other number
# share of a GPU's free memory for the keys and values of one batch: `generate` concatenates, and so
# holds a layer twice
CACHE_SHARE = 0.5


@dataclass(frozen=True)
class Completion:
    """Token ids up to and including the end token; truncated = the length limit came first."""

    ids: tuple[int, ...]
    truncated: bool


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return every id that ends a completion: the tokenizer's and those that the model declares (an
    end-of-turn token).
    """
    declared: Any = model.generation_config.eos_token_id if model.generation_config else None
    declared = [declared] if isinstance(declared, int) else list(declared or [])
    own: Any = tokenizer.eos_token_id
    return [token for token in dict.fromkeys([own, *declared]) if token is not None]


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    k: int,
    seed: int,
    greedy: bool = False,
    batch_size: int | None = None,
) -> list[list[Completion]]:
    """Draw k completions of each prompt, [P][k]. Raises ValueError on an empty prompt.

    batch_size: rows drawn together; None: `ROWS`, or as many as a GPU has memory for. The
    completions of a seed depend on it.
    """
    if any(not p for p in prompts):
        raise ValueError("an empty prompt cannot be continued")
    rows = [list(p) for p in prompts for _ in range(k)]
    longest = max(map(len, rows), default=0) + sampling.max_completion_length
    batch_size = batch_size or (rows_on(model, longest) if model.device.type == "cuda" else ROWS)
    ends = end_token_ids(model, tokenizer)
    pad: Any = tokenizer.pad_token_id
    config = _generation_config(sampling, ends, pad, greedy)
    completions: list[Completion] = []
    was_training = model.training
    model.eval()
    with torch.random.fork_rng(devices=_devices(model)), torch.inference_mode():
        torch.manual_seed(seed)
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            completions += _batch(model, sampling.sampler, some, config, ends, pad)
    model.train(was_training)
    return [completions[i * k : (i + 1) * k] for i in range(len(prompts))]


def _generation_config(
    sampling: Sampling, ends: list[int], pad: int, greedy: bool
) -> GenerationConfig:
    drawn = {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
    }
    how = {"do_sample": False} if greedy else drawn
    longest = sampling.max_completion_length
    return GenerationConfig(
        max_new_tokens=longest, eos_token_id=ends, pad_token_id=pad, disable_compile=True, **how
    )


def _batch(
    model: PreTrainedModel,
    sampler: Sampler,
    rows: list[list[int]],
    config: GenerationConfig,
    ends: list[int],
    pad: int,
) -> list[Completion]:
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=model.device)
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=model.device)
    draw: Any = drawing_by(model, sampler)
    out = draw(input_ids=ids, attention_mask=mask, generation_config=config)
    return [_cut(row, ends) for row in out[:, width:].tolist()]


def drawing_by(model: PreTrainedModel, sampler: Sampler) -> Any:
    """Return a sampler's function with the arguments and the result of `model.generate`."""
    match sampler:
        case "transformers":
            return model.generate
        case "qwen3":
            return partial(decode.generate, model)


def _cut(row: list[int], ends: list[int]) -> Completion:
    stop = next((i for i, token in enumerate(row) if token in ends), None)
    return (
        Completion(tuple(row), True) if stop is None else Completion(tuple(row[: stop + 1]), False)
    )


def rows_on(model: PreTrainedModel, tokens: int) -> int:
    """Return how many rows of so many tokens fit in a GPU's free memory: 2 (keys, values) x layers
    x heads x width x bytes per token.
    """
    config: Any = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    row = (
        2
        * config.num_hidden_layers
        * config.num_key_value_heads
        * width
        * model.dtype.itemsize
        * tokens
    )
    free, _ = torch.cuda.mem_get_info(model.device)
    # Memory that torch has reserved and does not use is free, too.
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return max(1, min(ROWS, int(CACHE_SHARE * free) // row))


def at_once(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], max_completion_length: int
) -> int:
    """Return how many of these prompts to continue together: all of them on a CPU, as many as fit
    on a GPU.
    """
    longest = max(map(len, rows), default=0) + max_completion_length
    return rows_on(model, longest) if model.device.type == "cuda" else max(1, len(rows))


def _devices(model: PreTrainedModel) -> list[torch.device]:
    return [model.device] if model.device.type == "cuda" else []
