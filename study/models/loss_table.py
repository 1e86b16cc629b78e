"""Compute the rows of `study losses`: every preset on seeded random states, or on the states of a
student's own rollouts.

Axes: N states, V vocabulary. No training. Sampled-token presets appear twice where the vocabulary
is small enough to sum over all tokens: in expectation, and with the one token per state that
training would see.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from study.data.load import load
from study.data.views import Messages, student_view
from study.errors import SpecError
from study.models.loss import bind
from study.objectives.landscape import (
    Comparison,
    Loss,
    Shape,
    States,
    compare,
    descend,
    full_gradient,
    over_every_token,
    shape,
    value_and_gradient,
)
from study.spec.recipe.data import Data
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective
from study.spec.recipe.training import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXPECTATION_VOCABULARY = 512  # up to here a sampled loss is summed over every token
# The largest N x V of a descent; more states are thinned, so that it ends in seconds.
DESCENT_NUMBERS = 2**12


@dataclass(frozen=True)
class Row:
    """One preset at one K.

    bias: norm of the part of the gradient that comes through log p_S inside the log-ratio (sum_S
    p_v grad log p_v = grad of the TopK mass), relative to the norm of the full gradient; zero for a
    faithful form, None where the form has no such term (forward KL, JSD). fixed_point: None where
    descent was not run (one drawn token has no fixed point).
    """

    preset: str
    k: int | None
    comparison: Comparison
    bias: float | None
    fixed_point: Shape | None


@dataclass(frozen=True)
class Report:
    """Rows, and what their fixed points are compared with: the student at the start and the
    teacher, on the same states, for each K.
    """

    rows: tuple[Row, ...]
    student: dict[int, Shape]
    teacher: dict[int, Shape]
    num_states: int
    vocabulary: int
    descent_states: int


def report(
    states: States, ks: Sequence[int], *, fixed_support: bool = False, steps: int = 200
) -> Report:
    """Compute every preset, TopK forms at each K. Raises SpecError for a K outside 1..V."""
    number, vocabulary = states.student_NV.shape
    for k in ks:
        if not 1 <= k <= vocabulary:
            raise SpecError(
                f"K = {k} is not between 1 and the vocabulary of {vocabulary} tokens",
                hint="study losses --k 5",
            )
    thinned = States(*(x[:: max(1, -(-number * vocabulary // DESCENT_NUMBERS))] for x in states))
    rows = [
        row
        for name in PRESETS
        for k in ks
        for row in _rows(name, k, states, thinned, fixed_support, steps, first=k == ks[0])
    ]
    return Report(
        tuple(rows),
        {k: shape(thinned.student_NV, thinned.teacher_NV, k) for k in ks},
        {
            k: shape(
                thinned.teacher_NV,
                thinned.teacher_NV,
                k,
                thinned.student_NV if fixed_support else None,
            )
            for k in ks
        },
        number,
        vocabulary,
        len(thinned.tokens_N),
    )


def _rows(
    name: str,
    k: int,
    states: States,
    thinned: States,
    fixed_support: bool,
    steps: int,
    *,
    first: bool,
) -> Iterator[Row]:
    fields, _ = PRESETS[name]
    truncated = fields.get("support") in TOPK_SUPPORTS
    if not truncated and not first:  # the same at every K
        return
    if fields.get("normalisation") == "renormalised" and k == 1:  # refused: identically zero
        return
    objective = Objective.model_validate(fields | ({"k": k} if truncated else {}))
    loss, full_NV = as_loss(objective), full_gradient(states)

    def fixed_point(loss: Loss) -> Shape:
        end_NV = descend(loss, thinned, steps=steps, fixed_support=fixed_support)
        return shape(end_NV, thinned.teacher_NV, k, thinned.student_NV if fixed_support else None)

    def row(label: str, loss: Loss, end: Callable[[Loss], Shape] | None) -> Row:
        bias = _bias(objective, loss, states, full_NV)
        return Row(
            label,
            k if truncated else None,
            compare(loss, states, full_NV),
            bias,
            end(loss) if end else None,
        )

    if objective.support != "sampled":
        yield row(name, loss, fixed_point)
        return
    if states.student_NV.shape[-1] <= EXPECTATION_VOCABULARY:
        yield row(f"{name} (expected)", over_every_token(loss), fixed_point)
    yield row(f"{name} (one draw)", loss, None)


def as_loss(objective: Objective) -> Loss:
    """Return the objective as the function that `study.objectives.landscape` works on."""
    token_loss = bind(objective)
    return lambda student, teacher, tokens, chooser: (
        token_loss(student, teacher, tokens, support_logits_NV=chooser).loss_N
    )


def _bias(objective: Objective, loss: Loss, states: States, full_NV: Tensor) -> float | None:
    """Return ||g - g with log p_S detached|| / ||g_full||.

    The plain sampled loss and the constant advantage have nothing but this term.
    """
    if objective.divergence != "reverse_kl":
        return None
    if objective.gradient != "through" and objective.advantage is None:
        return 0.0
    gradient_NV = value_and_gradient(loss, states)[1]
    if objective.support != "sampled":
        # Not validated: on a whole distribution the detached form is refused as an objective,
        # because this difference is zero.
        gradient_NV = (
            gradient_NV
            - value_and_gradient(
                as_loss(objective.model_copy(update={"gradient": "stop_gradient"})), states
            )[1]
        )
    return float(gradient_NV.norm() / full_NV.norm())


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
    """Load two model folders and let the student write completions (temperature 1, no privileged
    information).

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
    """Draw completion -> positions in it; `number` in all, or every position when there are
    fewer.
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
