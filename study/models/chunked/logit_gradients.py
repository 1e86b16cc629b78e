"""Compute a token's loss together with its gradient in the student's logits, written out.

Axes: N tokens, V vocabulary, K tokens of a support. The definitions are those of
`study.models.loss`, which autograd differentiates; here each form passes over [N, V] as few times
as it needs, because at V = 151,936 those passes cost as much as a product with a head.

With z the student's logits, p = softmax(z) and L the loss:

    reverse KL    dL/dz = p (r - L),          r = log p - log q
    forward KL    dL/dz = p - q
    JSD           dL/dz = a - p sum(a),       a = (1 - beta) p (log p - log m)

A truncated form is a function of log p on K ids, and of log p_tail with a tail bucket. With a and
a_t its derivatives (autograd on N K numbers), c = sum(a) + a_t and T the probability outside:

    dL/dz_v = a_v - c p_v                     v in S
    dL/dz_v = (a_t / T - c) p_v               otherwise
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from study.models.loss import choose_support, divergence_of, sampled_loss
from study.objectives import topk
from study.objectives.divergences import at_least_float32
from study.objectives.topk import Support
from study.spec.recipe.objective import Objective


class WithGradient(NamedTuple):
    """loss_N in nats, support_size_N, and gradient_NV = the derivative of loss_N in the logits."""

    loss_N: Tensor
    support_size_N: Tensor
    gradient_NV: Tensor


class _Row(NamedTuple):
    """Logits divided at a support.

    logprobs_NK: of its ids, 0 at fillers. tail_N1: log of the probability outside, a finite number
    where nothing is outside. outside_NV: probabilities relative to the tail, zero on the support.
    some_N1: whether any id is outside.
    """

    logprobs_NK: Tensor
    tail_N1: Tensor
    outside_NV: Tensor
    some_N1: Tensor


def needs_teacher(objective: Objective) -> bool:
    """Whether the teacher is in the loss: a constant advantage has none."""
    return objective.advantage is None


@torch.no_grad()
def loss_and_gradient(
    objective: Objective, student_NV: Tensor, teacher_NV: Tensor | None, tokens_N: Tensor
) -> WithGradient:
    """Return losses and gradients, as `bind(objective)` and autograd give them. Both logits may be
    overwritten.

    teacher_NV: None where `needs_teacher` is False. Losses are not checked to be finite.
    """
    assert objective.python is None, "a user-supplied loss is differentiated by autograd"
    temperature = objective.temperature
    # The undivided logits choose the student's TopK; a division would leave the set, but for ties.
    chooser_NV = student_NV
    student_NV = at_least_float32(student_NV)
    if teacher_NV is not None:
        teacher_NV = at_least_float32(teacher_NV)
    if temperature != 1.0:
        student_NV = student_NV / temperature
        teacher_NV = None if teacher_NV is None else teacher_NV / temperature
    if objective.support == "full":
        assert teacher_NV is not None
        result = _full(objective, student_NV, teacher_NV)
    elif objective.support == "sampled":
        result = _sampled(objective, student_NV, teacher_NV, tokens_N)
    else:
        assert teacher_NV is not None
        result = _truncated(objective, student_NV, teacher_NV, chooser_NV)
    if temperature != 1.0:
        result.gradient_NV.div_(temperature)
    return result


def _full(objective: Objective, student_NV: Tensor, teacher_NV: Tensor) -> WithGradient:
    size_N = torch.full_like(student_NV[:, 0], student_NV.shape[-1], dtype=torch.int64)
    match objective.divergence:
        case "reverse_kl":
            student_NV, p_NV = _both(student_NV)
            ratio_NV = student_NV.sub_(_logprobs(teacher_NV))
            loss_N1 = torch.mul(p_NV, ratio_NV, out=teacher_NV).sum(dim=-1, keepdim=True)
            gradient_NV = ratio_NV.sub_(loss_N1).mul_(p_NV)
        case "forward_kl":
            student_NV, p_NV = _both(student_NV)
            teacher_NV, q_NV = _both(teacher_NV)
            terms_NV = torch.sub(teacher_NV, student_NV, out=teacher_NV).mul_(q_NV)
            loss_N1 = terms_NV.sum(dim=-1, keepdim=True)
            gradient_NV = p_NV.sub_(q_NV)
        case "jsd":
            assert objective.beta is not None, "refused by study.spec.recipe.objective"
            loss_N1, gradient_NV = _jsd(student_NV, teacher_NV, objective.beta)
    return WithGradient(loss_N1.squeeze(-1), size_N, gradient_NV)


def _jsd(student_NV: Tensor, teacher_NV: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    student_NV, p_NV = _both(student_NV)
    teacher_NV, q_NV = _both(teacher_NV)
    mixture_NV = torch.logaddexp(student_NV + math.log(1 - beta), teacher_NV + math.log(beta))
    teacher_side_NV = q_NV.mul_(beta).mul_(teacher_NV.sub_(mixture_NV))
    student_NV.sub_(mixture_NV)
    pull_NV = torch.mul(p_NV, student_NV, out=student_NV).mul_(1 - beta)
    student_N1 = pull_NV.sum(dim=-1, keepdim=True)
    loss_N1 = teacher_side_NV.sum(dim=-1, keepdim=True) + student_N1
    return loss_N1, pull_NV.sub_(p_NV.mul_(student_N1))


def _both(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Return (log-probabilities in place of the logits, probabilities)."""
    logits_NV.sub_(logits_NV.amax(dim=-1, keepdim=True))
    p_NV = logits_NV.exp()
    total_N1 = p_NV.sum(dim=-1, keepdim=True)
    return logits_NV.sub_(total_N1.log()), p_NV.div_(total_N1)


def _logprobs(logits_NV: Tensor) -> Tensor:
    return logits_NV.sub_(logits_NV.logsumexp(dim=-1, keepdim=True))


def _sampled(
    objective: Objective, student_NV: Tensor, teacher_NV: Tensor | None, tokens_N: Tensor
) -> WithGradient:
    support = topk.whole(tokens_N.unsqueeze(-1))
    teacher_N = student_NV.new_zeros(len(student_NV))
    if teacher_NV is not None and needs_teacher(objective):
        teacher_N = topk.on_support(teacher_NV, support).squeeze(-1)
    student = _divided(student_NV, support)
    with torch.enable_grad():
        leaf_NK = student.logprobs_NK.requires_grad_()
        loss_N = sampled_loss(objective, leaf_NK.squeeze(-1), teacher_N)
        (pull_NK,) = torch.autograd.grad(loss_N.sum(), leaf_NK)
    gradient_NV = _spread(student, support, pull_NK, None)
    return WithGradient(loss_N.detach(), support.size_N, gradient_NV)


def _truncated(
    objective: Objective, student_NV: Tensor, teacher_NV: Tensor, chooser_NV: Tensor
) -> WithGradient:
    support, known_ids_NK = choose_support(objective, chooser_NV, teacher_NV, None)
    if objective.missing == "floor":
        teacher_NV = topk.floored(teacher_NV, known_ids_NK)
    bucket = objective.normalisation == "tail_bucket"
    student = _divided(student_NV, support)
    if bucket:
        teacher = _divided(teacher_NV, support)
        teacher_NK = torch.cat([teacher.logprobs_NK, teacher.tail_N1], dim=-1)
        live_NK = torch.cat([support.live_NK, student.some_N1], dim=-1)
    else:
        teacher_NK, live_NK = topk.on_support(teacher_NV, support), support.live_NK
    with torch.enable_grad():
        leaf_NK = student.logprobs_NK
        if bucket:
            leaf_NK = torch.cat([leaf_NK, student.tail_N1], dim=-1)
        leaf_NK.requires_grad_()
        if objective.missing == "student_value":
            known_NK = topk.contains(known_ids_NK, support.ids_NK)
            teacher_NK = teacher_NK.where(known_NK, leaf_NK.detach())
        ours_NK = leaf_NK
        if objective.normalisation == "renormalised":
            ours_NK = topk.renormalised(leaf_NK, live_NK)
            teacher_NK = topk.renormalised(teacher_NK, live_NK)
        loss_N = divergence_of(objective)(ours_NK, teacher_NK, live_NK)
        (pull_NK,) = torch.autograd.grad(loss_N.sum(), leaf_NK)
    tail_N1 = None
    if bucket:
        pull_NK, tail_N1 = pull_NK[:, :-1], pull_NK[:, -1:]
    gradient_NV = _spread(student, support, pull_NK, tail_N1)
    return WithGradient(loss_N.detach(), support.size_N, gradient_NV)


def _divided(logits_NV: Tensor, support: Support) -> _Row:
    """Divide logits at a support, in place.

    The tail has a logsumexp of its own: 1 - P_S, or a sum relative to the largest logit of all, has
    no digits left where P_S is near 1.
    """
    ids_NK, live_NK = support
    values_NK = logits_NV.gather(-1, ids_NK).masked_fill(~live_NK, -math.inf)
    # Added, not assigned: fillers of a union repeat a live id.
    logits_NV.scatter_add_(-1, ids_NK, torch.zeros_like(values_NK).masked_fill(live_NK, -math.inf))
    largest_N1 = logits_NV.amax(dim=-1, keepdim=True)
    some_N1 = largest_N1 > -math.inf
    shift_N1 = largest_N1.where(some_N1, 0.0)
    outside_NV = logits_NV.sub_(shift_N1).exp_()
    total_N1 = outside_NV.sum(dim=-1, keepdim=True).where(some_N1, 1.0)
    outside_NV.div_(total_N1)
    tail_N1 = shift_N1 + total_N1.log()
    whole_N1 = values_NK.logsumexp(dim=-1, keepdim=True)
    whole_N1 = torch.logaddexp(whole_N1, tail_N1.where(some_N1, -math.inf))
    return _Row((values_NK - whole_N1).where(live_NK, 0.0), tail_N1 - whole_N1, outside_NV, some_N1)


def _spread(row: _Row, support: Support, pull_NK: Tensor, tail_N1: Tensor | None) -> Tensor:
    """Return dL/dz from the derivatives in log p on the support (and in log p_tail), in place of
    the row's probabilities outside.
    """
    pull_NK = pull_NK.where(support.live_NK, 0.0)
    tail_N1 = torch.zeros_like(row.tail_N1) if tail_N1 is None else tail_N1
    tail_N1 = tail_N1.where(row.some_N1, 0.0)
    sum_N1 = pull_NK.sum(dim=-1, keepdim=True) + tail_N1
    inside_NK = pull_NK - sum_N1 * row.logprobs_NK.detach().exp()
    gradient_NV = row.outside_NV.mul_(tail_N1 - sum_N1 * row.tail_N1.exp())
    return gradient_NV.scatter_add_(-1, support.ids_NK, inside_NK.where(support.live_NK, 0.0))
