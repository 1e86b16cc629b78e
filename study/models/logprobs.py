"""Compute per-token losses from hidden states in chunks: a whole [N, V] tensor never exists.

Axes: N completion tokens (padding already removed), H hidden size (each side has its own), V
vocabulary. Each chunk of tokens goes through both lm_heads, is cut to the ids that both sides have,
and gives one loss per token. The same code serves V = 64 and V = 151,936; at the lab a whole batch
is one chunk and nothing is computed twice. With more than one chunk:

    frozen student head (LoRA)   the gradient in the hidden states is computed with the loss:
                                 three products with a head per token
    trained student head         each chunk is checkpointed, and the backward pass computes its
                                 logits again: five products, and those for the head's own gradient

A teacher is its hidden states and its head, or what a server returned of it
(`study.models.server.scores`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from study.models.loss import TokenValues, bind
from study.models.server.scores import Returned, completed, coverage, cut_mass, with_written
from study.objectives import diagnostics
from study.objectives.divergences import at_least_float32, logprobs
from study.objectives.topk import top_ids
from study.spec.recipe.objective import Objective

# Logits of one chunk and one side: 2**24 float32 are 67 MB; about six such tensors exist at the
# peak. Twice as many save 5 % of the time.
CHUNK_LOGITS = 2**24


class TokenLosses(NamedTuple):
    """loss_N with gradient; diagnostics: name -> one detached value per token (see
    `_diagnostics`).
    """

    loss_N: Tensor
    diagnostics: dict[str, Tensor]


class _Heads(NamedTuple):
    student: nn.Module
    teacher: nn.Module | None


def token_losses(
    student_hidden_NH: Tensor,
    student_head: nn.Module,
    teacher_hidden_NH: Tensor | Returned,
    teacher_head: nn.Module | None,
    tokens_N: Tensor,
    objective: Objective,
    *,
    chunk_tokens: int | None = None,
    diagnostics_k: int | None = 5,
) -> TokenLosses:
    """Return per-token losses of the objective at the positions whose hidden states predict
    `tokens_N`.

    teacher_hidden_NH, teacher_head: hidden states and head like the student's, or a server's scores
    and no head. chunk_tokens: tokens per chunk (default: as many as `CHUNK_LOGITS` allows); it
    changes memory and time, neither value nor gradient. diagnostics_k: size of the TopK sets of the
    diagnostics; None measures nothing but the loss.
    """
    if chunk_tokens is None:
        chunk_tokens = max(
            1,
            CHUNK_LOGITS
            // max(_width(student_head), 0 if teacher_head is None else _width(teacher_head)),
        )
    returned = isinstance(teacher_hidden_NH, Returned)
    token_loss = _of_returned(objective) if returned else bind(objective)
    chunk = partial(
        _chunk,
        heads=_Heads(student_head, teacher_head),
        token_loss=token_loss,
        diagnostics_k=diagnostics_k,
    )
    run = (
        chunk
        if len(tokens_N) <= chunk_tokens
        else _chunk_strategy(chunk, student_hidden_NH, student_head)
    )
    teacher_parts = (
        teacher_hidden_NH.split_at(chunk_tokens)
        if returned
        else teacher_hidden_NH.detach().split(chunk_tokens)
    )
    parts = zip(
        student_hidden_NH.split(chunk_tokens),
        teacher_parts,
        tokens_N.split(chunk_tokens),
        strict=True,
    )
    results = [run(*part) for part in parts]
    names = results[0].diagnostics
    return TokenLosses(
        torch.cat([result.loss_N for result in results]),
        {name: torch.cat([result.diagnostics[name] for result in results]) for name in names},
    )


def _chunk_strategy(
    chunk: Callable[..., TokenLosses], hidden_NH: Tensor, head: nn.Module
) -> Callable[..., TokenLosses]:
    """Choose how one chunk of several is computed without keeping its logits."""
    if not (torch.is_grad_enabled() and hidden_NH.requires_grad):
        return chunk
    trained = any(parameter.requires_grad for parameter in head.parameters())
    return partial(_checkpointed, chunk) if trained else partial(_with_gradient, chunk)


class _KnownGradient(torch.autograd.Function):
    """Give loss_N as a function of hidden_NH whose gradient is known: row n of the hidden states
    moves the loss of token n alone.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,  # noqa: ARG004 - its gradient is needed
        loss_N: Tensor,
        gradient_NH: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(gradient_NH)
        return loss_N.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient_NH,) = ctx.saved_tensors
        return (upstream[0].unsqueeze(-1) * gradient_NH).to(gradient_NH.dtype), None, None


def _with_gradient(
    chunk: Callable[..., TokenLosses],
    hidden_NH: Tensor,
    teacher_hidden_NH: Tensor,
    tokens_N: Tensor,
) -> TokenLosses:
    leaf_NH = hidden_NH.detach().requires_grad_()
    result = chunk(leaf_NH, teacher_hidden_NH, tokens_N)
    (gradient_NH,) = torch.autograd.grad(result.loss_N.sum(), leaf_NH)
    return TokenLosses(
        _KnownGradient.apply(hidden_NH, result.loss_N.detach(), gradient_NH), result.diagnostics
    )


def _checkpointed(chunk: Callable[..., TokenLosses], *arguments: Any) -> TokenLosses:
    # Nothing in a chunk draws random numbers (dropout is below the hidden states), so their state
    # need not be saved.
    result = checkpoint(chunk, *arguments, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(result, TokenLosses)
    return result


def _chunk(
    student_hidden_NH: Tensor,
    teacher_NH: Tensor | Returned,
    tokens_N: Tensor,
    heads: _Heads,
    token_loss: Any,
    diagnostics_k: int | None,
) -> TokenLosses:
    student_NV = heads.student(student_hidden_NH)
    if isinstance(teacher_NH, Returned):
        return _returned_chunk(student_NV, teacher_NH, tokens_N, token_loss, diagnostics_k)
    assert heads.teacher is not None, "hidden states come with the head that reads them"
    with torch.no_grad():
        teacher_NV = heads.teacher(teacher_NH)
    shared = min(student_NV.shape[-1], teacher_NV.shape[-1])
    values = token_loss(student_NV[:, :shared], teacher_NV[:, :shared], tokens_N)
    if diagnostics_k is None:
        return TokenLosses(values.loss_N, {})
    # After the loss: a checkpoint's second forward stops at the last tensor that the backward pass
    # needs, so this runs once.
    with torch.no_grad():
        measured = _diagnostics(
            student_NV[:, :shared], teacher_NV[:, :shared], tokens_N, diagnostics_k
        )
        measured["teacher_cut_mass"] = _cut_mass(teacher_NV, shared)
        measured["support_size"] = values.support_size_N
    return TokenLosses(values.loss_N, measured)


def _of_returned(objective: Objective) -> Callable[[Tensor, Returned, Tensor], TokenValues]:
    """Return the objective's loss on a completed row.

    The written token, which a server always returns, is used by the sampled form alone.

    A TopK form that used it too would know more of a position the luckier the draw: what a loss
    knows must not depend on what was sampled.
    """
    token_loss = bind(objective)

    def loss(student_NV: Tensor, returned: Returned, tokens_N: Tensor) -> TokenValues:
        known = with_written(returned, tokens_N) if objective.support == "sampled" else returned
        teacher_NV = completed(known, student_NV.shape[-1])
        if not returned.whole:
            # divided again: a row that is not whole stays at temperature 1
            teacher_NV = teacher_NV * objective.temperature
        return token_loss(student_NV, teacher_NV, tokens_N, returned_ids_NK=known.ids_NK)

    return loss


def _returned_chunk(
    student_NV: Tensor,
    returned: Returned,
    tokens_N: Tensor,
    token_loss: Any,
    diagnostics_k: int | None,
) -> TokenLosses:
    student_NV = student_NV[:, : returned.rows]
    values = token_loss(student_NV, returned, tokens_N)
    if diagnostics_k is None:
        return TokenLosses(values.loss_N, {})
    with torch.no_grad():
        shared = student_NV.shape[-1]
        if returned.whole:
            measured = _diagnostics(
                student_NV, completed(returned, shared), tokens_N, diagnostics_k
            )
            measured["teacher_cut_mass"] = cut_mass(returned, shared)
        else:
            measured = _partial_diagnostics(student_NV, returned, tokens_N, diagnostics_k)
        measured |= coverage(returned, top_ids(student_NV, diagnostics_k), logprobs(student_NV))
        measured["support_size"] = values.support_size_N
    return TokenLosses(values.loss_N, measured)


def _partial_diagnostics(
    student_NV: Tensor, returned: Returned, tokens_N: Tensor, k: int
) -> dict[str, Tensor]:
    """Return those of `_diagnostics` that need no more of the teacher than a server returned; the
    others are absent, not zero.
    """
    student_ids_NK = top_ids(student_NV, k)
    student_NV = logprobs(student_NV)
    student_N = student_NV.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1)
    measured = {
        "student_entropy": torch.special.entr(student_NV.exp()).sum(dim=-1),
        "student_topk_mass": diagnostics.support_mass(student_NV, student_ids_NK),
        "log_ratio": returned.written_N - student_N,
        "student_logprob": student_N,
    }
    if k <= returned.ids_NK.shape[-1]:
        measured["topk_overlap"] = diagnostics.overlap(student_ids_NK, returned.ids_NK[:, :k])
    return measured


def _diagnostics(
    student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor, k: int
) -> dict[str, Tensor]:
    """Return diagnostics per token, at temperature 1, over the shared ids; S_S and S_T are the k
    likeliest tokens of student and teacher.

    reverse_kl: KL(student || teacher), exact, unclamped. *_entropy: in nats. student_topk_mass,
    teacher_topk_mass: each side's mass on S_S. topk_overlap: |S_S and S_T| / k. log_ratio: log
    p_T(y) - log p_S(y) of the written token (its advantage). student_logprob: log p_S(y).
    """
    student_ids_NK, teacher_ids_NK = top_ids(student_NV, k), top_ids(teacher_NV, k)
    student_NV, teacher_NV = logprobs(student_NV), logprobs(teacher_NV)
    probabilities_NV = student_NV.exp()
    log_ratio_NV = teacher_NV - student_NV
    return {
        "reverse_kl": (
            -(probabilities_NV * log_ratio_NV).where(probabilities_NV > 0, 0.0).sum(dim=-1)
        ),
        "student_entropy": torch.special.entr(probabilities_NV).sum(dim=-1),
        "teacher_entropy": diagnostics.entropy(teacher_NV),
        "student_topk_mass": diagnostics.support_mass(student_NV, student_ids_NK),
        "teacher_topk_mass": diagnostics.support_mass(teacher_NV, student_ids_NK),
        "topk_overlap": diagnostics.overlap(student_ids_NK, teacher_ids_NK),
        "log_ratio": log_ratio_NV.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1),
        "student_logprob": student_NV.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1),
    }


def _cut_mass(logits_NV: Tensor, shared: int) -> Tensor:
    """Return the probability that a side gave to ids that the other does not have (padding of a
    wider head): lost when its logits are cut.
    """
    if logits_NV.shape[-1] == shared:
        return at_least_float32(logits_NV.new_zeros(logits_NV.shape[0]))
    return logprobs(logits_NV)[:, shared:].exp().sum(dim=-1)


def _width(head: nn.Module) -> int:
    """Return the columns of the logits that a head makes: `out_features` of a Linear, else the rows
    of its weight.
    """
    return int(getattr(head, "out_features", 0)) or int(head.get_parameter("weight").shape[0])
