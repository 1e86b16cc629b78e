"""Build supports (TopK of the student, of the teacher, their intersection and union) and
log-probabilities on them.

Axes: N any leading token axes, V vocabulary, K tokens of a support (2K for a union).

A truncated objective is a composition: choose a `Support`, take both sides' log-probabilities on it
(`on_support`), normalise them (`renormalised`, `with_tail_bucket`, or not at all), and pass them to
a divergence. At K = V every composition is the full divergence. Log-probabilities are gathered
logits minus the log-partition over the whole vocabulary: no [N, V] log-softmax is kept for K
numbers.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from study.errors import SpecError
from study.objectives.divergences import at_least_float32


class Support(NamedTuple):
    """Token ids per position; entries that are not `live` are fillers that keep the shape
    rectangular.
    """

    ids_NK: Tensor
    live_NK: Tensor

    @property
    def size_N(self) -> Tensor:
        return self.live_NK.sum(dim=-1)


def top_ids(logits_NV: Tensor, k: int) -> Tensor:
    """Return ids of the k largest logits; among equal logits at the border the lowest ids win, on
    every device.

    `torch.topk` leaves the choice open, and bfloat16 logits (8 bits) tie often.
    """
    vocabulary = logits_NV.shape[-1]
    if k > vocabulary:
        raise SpecError(
            f"k = {k} is larger than the vocabulary of {vocabulary} tokens",
            hint=f"choose k <= {vocabulary}, or support: full",
        )
    logits_NV = logits_NV.detach()
    if k == vocabulary:
        return torch.arange(k, device=logits_NV.device).expand(logits_NV.shape).contiguous()
    if logits_NV.is_cuda and logits_NV.dtype != torch.float64:
        return by_keys(logits_NV, k)
    values, ids = logits_NV.topk(k + 1)
    ids_NK = ids[..., :k].contiguous()
    tied_N = values[..., k - 1] == values[..., k]
    if bool(tied_N.any()):
        ids_NK[tied_N] = _lowest_ids_first(logits_NV[tied_N], values[tied_N][:, k - 1 : k], k)
    return ids_NK


def by_keys(logits_NV: Tensor, k: int) -> Tensor:
    """Return the ids of `top_ids` without a branch on a value: on CUDA that would wait for the
    device, once for each chunk of tokens.

    Each key is 64 bits: the logit's float32 bits in the order of integers, then the id, the lowest
    largest. No two are equal.
    """
    # + 0.0 turns -0.0, which equals 0.0 and has other bits, into 0.0.
    bits_NV = (logits_NV.float() + 0.0).view(torch.int32)
    ordered_NV = bits_NV ^ ((bits_NV >> 31) & 0x7FFFFFFF)
    last = logits_NV.shape[-1] - 1
    backwards_V = last - torch.arange(last + 1, device=logits_NV.device)
    keys_NV = (ordered_NV.long() << 32) | backwards_V
    return keys_NV.topk(k).indices


def _lowest_ids_first(logits_RV: Tensor, border_R1: Tensor, k: int) -> Tensor:
    """Return the k largest of each row when the border value occurs more often than there is room:
    linear in V, no sort.
    """
    above_RV = logits_RV > border_R1
    equal_RV = logits_RV == border_R1
    room_R1 = k - above_RV.sum(dim=-1, keepdim=True)
    chosen_RV = above_RV | (equal_RV & (equal_RV.cumsum(dim=-1) <= room_R1))
    return chosen_RV.nonzero()[:, 1].view(-1, k)


def whole(ids_NK: Tensor) -> Support:
    """Return a support in which every id counts (the student's or the teacher's TopK)."""
    return Support(ids_NK, torch.ones_like(ids_NK, dtype=torch.bool))


def intersection(student_ids_NK: Tensor, teacher_ids_NK: Tensor) -> Support:
    """Return the student's TopK ids that are also in the teacher's TopK (paper Eq. 17); may be
    empty at a position.
    """
    return Support(student_ids_NK, contains(teacher_ids_NK, student_ids_NK))


def union(student_ids_NK: Tensor, teacher_ids_NK: Tensor) -> Support:
    """Return both TopK sets, each id once: the student's, then the teacher's that the student's
    lacks.
    """
    new_NK = ~contains(student_ids_NK, teacher_ids_NK)
    ids_N2K = torch.cat([student_ids_NK, teacher_ids_NK], dim=-1)
    return Support(ids_N2K, torch.cat([torch.ones_like(new_NK), new_NK], dim=-1))


def contains(set_NK: Tensor, ids_NJ: Tensor) -> Tensor:
    """Return for each id whether it is in the set of its position. (K x J comparisons; K is tens, V
    would be a hundred thousand.)
    """
    return (ids_NJ.unsqueeze(-1) == set_NK.unsqueeze(-2)).any(dim=-1)


def on_support(logits_NV: Tensor, support: Support) -> Tensor:
    """Return log p_v for v in the support, normalised over the whole vocabulary; 0 at fillers,
    whose own value may be -inf (0 * inf is nan).
    """
    logits_NV = at_least_float32(logits_NV)
    logprobs_NK = logits_NV.gather(-1, support.ids_NK) - logits_NV.logsumexp(dim=-1, keepdim=True)
    return logprobs_NK.where(support.live_NK, 0.0)


def log_mass(logprobs_NK: Tensor, live_NK: Tensor) -> Tensor:
    """Return log sum_{v in S} p_v, keeping the axis; 0 where the support is empty (there is nothing
    to normalise then).
    """
    live_NK = live_NK | ~live_NK.any(dim=-1, keepdim=True)
    return logprobs_NK.masked_fill(~live_NK, -math.inf).logsumexp(dim=-1, keepdim=True)


def renormalised(logprobs_NK: Tensor, live_NK: Tensor) -> Tensor:
    """Return log(p_v / P_S): the distribution on the support alone.

    The mass P_S is discarded, and the gradient flows through it. Fillers are 0: divided by a mass
    below exp(-88) they would be infinite.
    """
    return (logprobs_NK - log_mass(logprobs_NK, live_NK)).where(live_NK, 0.0)


def with_tail_bucket(
    logprobs_NK: Tensor, logits_NV: Tensor, support: Support
) -> tuple[Tensor, Tensor]:
    """Add one more outcome, log(1 - P_S), after the K: (log-probabilities, live), each with K + 1
    columns.

    The tail is summed outside the support instead of taken from 1 - P_S, which has no digits left
    in float32 when P_S is near 1. Where the support is the whole vocabulary there is no tail: its
    column is not live.
    """
    logits_NV = at_least_float32(logits_NV)
    tail_N1, some_N1 = _log_tail(logits_NV, support)
    tail_N1 = tail_N1 - logits_NV.logsumexp(dim=-1, keepdim=True)
    return torch.cat([logprobs_NK, tail_N1], dim=-1), torch.cat([support.live_NK, some_N1], dim=-1)


def _log_tail(logits_NV: Tensor, support: Support) -> tuple[Tensor, Tensor]:
    """Return log sum of exp(logits) outside the support, and whether there is any token outside."""
    inside_NV = inside(support, logits_NV.shape[-1])
    some_N1 = ~inside_NV.all(dim=-1, keepdim=True)
    # A row without tail keeps its logits, so that its (unused) column has a finite value and no nan
    # gradient.
    return (
        logits_NV.masked_fill(inside_NV & some_N1, -math.inf).logsumexp(dim=-1, keepdim=True),
        some_N1,
    )


def inside(support: Support, vocabulary: int) -> Tensor:
    """Return the support as a boolean row over the vocabulary.

    Fillers of a union repeat a live id, so they are added, not assigned.
    """
    counts_NV = torch.zeros(
        *support.ids_NK.shape[:-1], vocabulary, dtype=torch.uint8, device=support.ids_NK.device
    )
    return counts_NV.scatter_add_(-1, support.ids_NK, support.live_NK.to(torch.uint8)) > 0


def floored(teacher_logits_NV: Tensor, teacher_ids_NK: Tensor) -> Tensor:
    """Complete a teacher that returned only its own TopK to a distribution.

    The rest of its probability is spread evenly over the other V - K tokens: a level without a
    fixed constant, never above the smallest returned probability. At K = V nothing changes.
    """
    teacher_logits_NV = at_least_float32(teacher_logits_NV.detach())
    if teacher_ids_NK.shape[-1] == teacher_logits_NV.shape[-1]:
        return teacher_logits_NV
    floor_NV = floor_level(teacher_logits_NV, teacher_ids_NK).expand_as(teacher_logits_NV)
    return floor_NV.scatter(-1, teacher_ids_NK, teacher_logits_NV.gather(-1, teacher_ids_NK))


def floor_level(teacher_logits_NV: Tensor, teacher_ids_NK: Tensor) -> Tensor:
    """Return the logit, [N, 1], that every token outside a teacher's own TopK has in `floored`.

    At K = V there is no such token, and the value is of no use.
    """
    tail_N1, _ = _log_tail(teacher_logits_NV, whole(teacher_ids_NK))
    others = teacher_logits_NV.shape[-1] - teacher_ids_NK.shape[-1]
    return tail_N1 - math.log(max(1, others))
