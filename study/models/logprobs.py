"""Compute per-token losses from hidden states in chunks: a whole [N, V] tensor never exists.

Axes: N completion tokens (padding already removed), H hidden size (each side has its own), V
vocabulary, M the tokens that are measured. The same code serves V = 64 and V = 151,936; at the lab
a whole batch is one chunk, and autograd differentiates the loss. With more than one chunk, or more
than `WIDE` columns, the gradient is computed with the loss, in this many products of [N, H] with
[H, V]:

    form                              head frozen (LoRA)   head trained
    renormalised TopK                 1                    1
    the same; needs both sides' TopK  2                    2
    every other                       3                    4

A renormalised TopK form needs K logits of each side (`study.models.chunked.sparse`). The others
need both sides' logits, the gradient in the hidden states, and the trained head's own, which is one
sum over all tokens: their weights must be known with the losses (`weights_N`). Diagnostics need
both sides' whole rows: up to two products more for each measured token.

A teacher is its hidden states and its head, or what a server returned of it
(`study.models.server.scores`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from study.models.chunked.chunks import Chunks
from study.models.chunked.sides import Sides, TokenLosses, measured, teacher_logits, token_values
from study.models.server.scores import Returned
from study.objectives.divergences import WIDE
from study.spec.recipe.objective import Objective

__all__ = ["CHUNK_LOGITS", "TokenLosses", "chunk_size", "token_losses"]

# Logits of one chunk and one side: 2**24 float32 are 67 MB; about six such tensors exist at the
# peak. Twice as many save 5 % of the time.
CHUNK_LOGITS = 2**24
# Of a GPU's free memory, the share that the six tensors of a chunk may take, 4 bytes per number.
FREE_SHARE = 0.25
CHUNK_TENSORS = 6


def token_losses(
    student_hidden_NH: Tensor,
    student_head: nn.Module,
    teacher_hidden_NH: Tensor | Returned,
    teacher_head: nn.Module | None,
    tokens_N: Tensor,
    objective: Objective,
    *,
    weights_N: Tensor | Callable[[], Tensor] | None = None,
    measured_at: Sequence[int] | None = None,
    chunk_tokens: int | None = None,
    diagnostics_k: int | None = 5,
) -> TokenLosses:
    """Return per-token losses of the objective at the positions whose hidden states predict
    `tokens_N`.

    teacher_hidden_NH, teacher_head: hidden states and head like the student's, or a server's scores
    and no head.

    weights_N: the derivative of the reduced loss in each token's loss, up to one factor (None: all
    alike), or a function that returns it. A trained head's gradient is computed with them, and a
    backward pass with others raises `UnknownUpstream`.

    measured_at: the tokens that diagnostics measure, ascending (None: all). diagnostics_k: size of
    the TopK sets of the diagnostics; None measures nothing but the loss.

    chunk_tokens: tokens per chunk (default: `chunk_size`); it changes memory and time, neither
    value nor gradient.
    """
    if not isinstance(teacher_hidden_NH, Returned):
        teacher_hidden_NH = teacher_hidden_NH.detach()
    sides = Sides(student_hidden_NH, student_head, teacher_hidden_NH, teacher_head, tokens_N)
    size = chunk_size(_widest(sides), tokens_N.device) if chunk_tokens is None else chunk_tokens
    if len(tokens_N) <= size and _widest(sides) <= WIDE:
        return _whole(sides, objective, measured_at, diagnostics_k)
    return Chunks(sides, objective, weights_N, measured_at, diagnostics_k, size).losses()


def chunk_size(width: int, device: torch.device) -> int:
    """Return the tokens of one chunk of logits of that width: `CHUNK_LOGITS`, or on a GPU a share
    of its free memory where that is more.
    """
    numbers = CHUNK_LOGITS
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds and does not use is free as well.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        numbers = max(numbers, int(free * FREE_SHARE) // (4 * CHUNK_TENSORS))
    return max(1, numbers // max(1, width))


def _whole(
    sides: Sides, objective: Objective, measured_at: Sequence[int] | None, k: int | None
) -> TokenLosses:
    """Compute all tokens at once, and leave the gradient to autograd."""
    student_NV = sides.student_head(sides.student_NH)
    teacher_NV = teacher_logits(sides)
    values = token_values(objective, sides, student_NV, teacher_NV)
    if k is None:
        return TokenLosses(values.loss_N, {})
    size_N = values.support_size_N
    if measured_at is not None:
        rows = torch.tensor(measured_at, dtype=torch.int64, device=student_NV.device)
        sides, student_NV, size_N = sides.at(rows), student_NV[rows], size_N[rows]
        teacher_NV = None if teacher_NV is None else teacher_NV[rows]
    found = measured(sides, student_NV, teacher_NV, k)
    found["support_size"] = size_N
    return TokenLosses(values.loss_N, found)


def _widest(sides: Sides) -> int:
    """Return the columns of the wider side's logits."""
    return max(
        _width(head) for head in (sides.student_head, sides.teacher_head) if head is not None
    )


def _width(head: nn.Module) -> int:
    """Return the columns of the logits that a head makes: `out_features` of a Linear, else the rows
    of its weight; 0 where it has neither.
    """
    weight = getattr(head, "weight", None)
    rows = 0 if weight is None else int(weight.shape[0])
    return int(getattr(head, "out_features", 0)) or rows
