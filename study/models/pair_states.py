"""Collect the states of a pair of models for `study losses`: both sides' logits at positions of the
student's own completions.

Axes: N states, V vocabulary (the ids that both sides have). Nothing is trained.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from study.data.load import load
from study.data.views import Messages, student_view
from study.objectives.landscape import States
from study.spec.recipe.data import Data
from study.spec.recipe.training import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Pair(NamedTuple):
    """A student, a teacher and the student's own completions as (prompt, completion) token ids.

    shared: the number of ids that both sides have. ends: the ids that end a completion. limit: of a
    completion, in tokens.
    """

    student: torch.nn.Module
    teacher: torch.nn.Module
    texts: list[tuple[list[int], list[int]]]
    shared: int
    ends: list[int]
    limit: int


def open_pair(
    student_dir: Path, teacher_dir: Path, data: Data, *, num_completions: int, seed: int,
    max_completion_length: int = 64,
) -> Pair:  # fmt: skip
    """Load two model folders and let the student write
    completions (temperature 1, no privileged information).

    Errors: PrerequisiteError for a missing folder, SpecError for tokenizers that disagree.
    """
    # transformers takes seconds to import; random states need no model.
    from study.models.loading import load_model, load_tokenizer, require_same_tokens
    from study.models.sampling import end_token_ids, generate

    student, teacher, tokenizer = (
        load_model(student_dir).eval(),
        load_model(teacher_dir).eval(),
        load_tokenizer(student_dir),
    )
    shared = require_same_tokens(tokenizer, load_tokenizer(teacher_dir))
    problems = load(data, "selection")[:num_completions]
    prompts = [_prompt_ids(tokenizer, student_view(problem)) for problem in problems]
    sampling = Sampling(max_completion_length=max_completion_length)
    completions = generate(student, tokenizer, prompts, sampling, k=1, seed=seed)
    texts = [
        (prompt, list(drawn[0].ids)) for prompt, drawn in zip(prompts, completions, strict=True)
    ]
    ends = sorted(end_token_ids(student, tokenizer))
    return Pair(student, teacher, texts, shared, ends, max_completion_length)


def pair_states(pair: Pair, num_states: int, seed: int) -> States:
    """Return the logits of both sides at positions drawn by seed from all completion tokens."""
    places = _places([len(ids) for _, ids in pair.texts], num_states, seed)
    parts = [_scored(pair, row, positions) for row, positions in places.items()]
    return States(*(torch.cat(side) for side in zip(*parts, strict=True)))


def completion_states(pair: Pair) -> Iterator[States]:
    """Return the logits of both sides at every position, one completion after the other."""
    for row, (_, ids) in enumerate(pair.texts):
        if ids:
            yield _scored(pair, row, list(range(len(ids))))


def _prompt_ids(tokenizer: "PreTrainedTokenizerBase", messages: Messages) -> list[int]:
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert isinstance(text, str)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _places(lengths: Sequence[int], number: int, seed: int) -> dict[int, list[int]]:
    """Draw completion -> positions in it; `number` in all, or
    every position when there are fewer.
    """
    every = [(row, position) for row, length in enumerate(lengths) for position in range(length)]
    order = (
        torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))[:number]
        .sort()
        .values
    )
    chosen: dict[int, list[int]] = {}
    for index in order.tolist():
        chosen.setdefault(every[index][0], []).append(every[index][1])
    return chosen


def _scored(pair: Pair, row: int, positions: Sequence[int]) -> States:
    """Score one completion: no padding, and only the chosen positions' logits are kept."""
    prompt, completion = pair.texts[row]
    ids = torch.tensor([prompt + completion])
    where = torch.tensor(positions) + len(prompt) - 1
    sides: list[Tensor] = []
    for model in (pair.student, pair.teacher):
        with torch.inference_mode():
            sides.append(model(input_ids=ids).logits[0, where, : pair.shared].float().clone())
    student_NV, teacher_NV = (side_NV.clone().double() for side_NV in sides)
    return States(student_NV, teacher_NV, torch.tensor([completion[t] for t in positions]))
