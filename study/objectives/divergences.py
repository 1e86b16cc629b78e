"""Compute divergences between two sets of log-probabilities: forward KL, reverse KL, generalised
JSD.

Axes: N any leading token axes, V outcomes (the vocabulary, a support of K tokens, or K tokens and a
tail bucket). The functions take log-probabilities and sum over the last axis; no mask over tokens,
no mean, no temperature inside. The outcomes need not add up to one: on a truncated support the same
formulas give the unnormalised ("biased") losses of the literature. `live_NV` marks the outcomes
that take part (None = all); the others give exactly zero value and gradient. The teacher is a
constant: it is detached here, once, whatever the caller passes.
"""

import torch
from torch import Tensor

from study.errors import StudyError

WIDE = 2**14  # columns; narrower ones, the lab's among them, lose nothing in log_softmax


class UndefinedDivergence(StudyError):
    """A divergence that is infinite or undefined at some token.

    For example, the teacher gives probability zero to what the student can write.
    """


def logprobs(logits_NV: Tensor) -> Tensor:
    """Return log softmax over the last axis, in float32 at least (bfloat16 keeps 8 bits: not enough
    for a log-ratio).

    Over a wide axis as x - logsumexp(x): torch's log_softmax on a CPU loses a digit of the
    normaliser over 151,936 float32 columns (gradient error 1.4e-5 against 1.4e-6 in float64;
    benchmarks/bench_losses.py).
    """
    logits_NV = at_least_float32(logits_NV)
    if logits_NV.shape[-1] <= WIDE:
        return torch.log_softmax(logits_NV, dim=-1)
    return logits_NV - logits_NV.logsumexp(dim=-1, keepdim=True)


def at_least_float32(values: Tensor) -> Tensor:
    """Turn half precisions into float32; leave float32 and float64 unchanged."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def reverse_kl(
    student_NV: Tensor,
    teacher_NV: Tensor,
    *,
    live_NV: Tensor | None = None,
    stop_gradient: bool = False,
) -> Tensor:
    """Return KL(student || teacher) = sum_v p_v (log p_v - log q_v), one value per token (nats).

    stop_gradient detaches log p_v inside the log-ratio and keeps the gradient of the weight p_v
    (paper Eq. 12): the same value, and the gradient sum_v p_v (log p_v - log q_v) grad log p_v.
    Where p is a distribution over the outcomes the two gradients are equal.
    """
    log_p = student_NV.detach() if stop_gradient else student_NV
    return _total(student_NV.exp() * (log_p - teacher_NV.detach()), live_NV)


def forward_kl(student_NV: Tensor, teacher_NV: Tensor, *, live_NV: Tensor | None = None) -> Tensor:
    """Return KL(teacher || student) = sum_v q_v (log q_v - log p_v), one value per token (nats)."""
    teacher_NV = teacher_NV.detach()
    return _total(teacher_NV.exp() * (teacher_NV - student_NV), live_NV)


def jsd(
    student_NV: Tensor, teacher_NV: Tensor, beta: float, *, live_NV: Tensor | None = None
) -> Tensor:
    """Return beta KL(teacher || m) + (1 - beta) KL(student || m) with m = beta q + (1 - beta) p, 0
    < beta < 1 (GKD, 2306.13649; TRL's convention).

    Divided by beta it tends to the forward KL as beta -> 0; divided by 1 - beta, to the reverse KL
    as beta -> 1.
    """
    teacher_NV = teacher_NV.detach()
    weights = student_NV.new_tensor([1.0 - beta, beta]).log()
    mixture_NV = torch.logaddexp(student_NV + weights[0], teacher_NV + weights[1])
    terms_NV = beta * teacher_NV.exp() * (teacher_NV - mixture_NV) + (
        1.0 - beta
    ) * student_NV.exp() * (student_NV - mixture_NV)
    return _total(terms_NV, live_NV)


def require_finite(values_N: Tensor) -> Tensor:
    """Return the values unchanged; raise `UndefinedDivergence` when one of them is infinite or not
    a number.
    """
    if not bool(torch.isfinite(values_N).all()):
        bad = int((~torch.isfinite(values_N)).sum())
        raise UndefinedDivergence(
            f"the loss is infinite or undefined at {bad} of {values_N.numel()} tokens",
            hint=(
                "look for -inf or nan logits: a model that masks tokens the other one can write, or"
                " weights that have diverged"
            ),
        )
    return values_N


def _total(terms_NV: Tensor, live_NV: Tensor | None) -> Tensor:
    return (terms_NV if live_NV is None else terms_NV.where(live_NV, 0.0)).sum(dim=-1)
