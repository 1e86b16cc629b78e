"""Compute what a loss does to categorical distributions, without a model: its gradient next to the
true one, and where descent on it ends.

Axes: N states (one categorical distribution each), V outcomes. The logits are the parameters, so a
gradient here is the gradient in a model's last layer, before any network mixes the states.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from study.objectives.diagnostics import cosine, entropy, relative_error, support_mass
from study.objectives.divergences import logprobs, reverse_kl
from study.objectives.topk import top_ids

# (student_logits_NV, teacher_logits_NV, tokens_N, logits that choose the student's TopK) -> loss_N
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# Log-scale and spread of the random states' peakedness, and the teacher's distance. Chosen once so
# that the mass on the likeliest 1, 5 and 20 of 64 tokens (.68, .92, .98) and the reverse KL (.36)
# are near those of a small language model on its own text.
LOG_SCALE, LOG_SCALE_SPREAD, TEACHER_SHIFT = 1.8, 0.8, 1.25


class States(NamedTuple):
    """Distributions to compare losses on; tokens_N is one draw from each student."""

    student_NV: Tensor
    teacher_NV: Tensor
    tokens_N: Tensor


class Comparison(NamedTuple):
    """One loss compared with the reverse KL over the whole vocabulary.

    Gradients of all states together are one long vector.

    value: mean loss. cosine: None when the gradient vanishes next to the reference. error: ||g -
    g_full|| / ||g_full||.
    """

    value: float
    cosine: float | None
    error: float


class Shape(NamedTuple):
    """Means over states: mass on the K likeliest tokens (or on a fixed support), exact reverse KL
    to the teacher, entropy (nats).
    """

    mass: float
    reverse_kl: float
    entropy: float


def random_states(number: int, vocabulary: int, seed: int) -> States:
    """Draw random states in float64: student = s z with z standard normal and log s ~ N(LOG_SCALE,
    LOG_SCALE_SPREAD) per state; teacher = student + noise.

    The noise is normal with standard deviation TEACHER_SHIFT.
    """
    generator = torch.Generator().manual_seed(seed)
    scale_N1 = torch.exp(
        LOG_SCALE
        + LOG_SCALE_SPREAD * torch.randn(number, 1, generator=generator, dtype=torch.float64)
    )
    student_NV = scale_N1 * torch.randn(
        number, vocabulary, generator=generator, dtype=torch.float64
    )
    teacher_NV = student_NV + TEACHER_SHIFT * torch.randn(
        number, vocabulary, generator=generator, dtype=torch.float64
    )
    return States(student_NV, teacher_NV, draw(student_NV, generator))


def draw(logits_NV: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one token from each distribution."""
    return torch.multinomial(logits_NV.detach().softmax(dim=-1), 1, generator=generator).squeeze(-1)


def over_every_token(loss: Loss) -> Loss:
    """Return the expectation of a sampled-token loss over y ~ p, in value and gradient: sum_y
    sg[p_y] loss(y), over all V tokens.

    Costs V times as much: for a small vocabulary.
    """

    def expected(
        student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor, chooser_NV: Tensor
    ) -> Tensor:
        number, vocabulary = student_NV.shape
        every_N = torch.arange(vocabulary).repeat(number).to(tokens_N)
        student_RV, teacher_RV, chooser_RV = (
            x.repeat_interleave(vocabulary, dim=0) for x in (student_NV, teacher_NV, chooser_NV)
        )
        loss_NV = loss(student_RV, teacher_RV, every_N, chooser_RV).view(number, vocabulary)
        return (student_NV.detach().softmax(dim=-1) * loss_NV).sum(dim=-1)

    return expected


def value_and_gradient(
    loss: Loss, states: States, chooser_NV: Tensor | None = None
) -> tuple[float, Tensor]:
    """Return the mean loss, and the gradient of each state's loss in its own logits."""
    leaf_NV = states.student_NV.detach().clone().requires_grad_()
    loss_N = loss(
        leaf_NV,
        states.teacher_NV,
        states.tokens_N,
        states.student_NV if chooser_NV is None else chooser_NV,
    )
    return float(loss_N.detach().mean()), torch.autograd.grad(loss_N.sum(), leaf_NV)[0]


def full_gradient(states: States) -> Tensor:
    """Return the reference: the gradient of KL(student || teacher) over the whole vocabulary."""
    return value_and_gradient(
        lambda student, teacher, _tokens, _chooser: reverse_kl(
            logprobs(student), logprobs(teacher)
        ),
        states,
    )[1]


def compare(loss: Loss, states: States, full_NV: Tensor) -> Comparison:
    value, gradient_NV = value_and_gradient(loss, states)
    return Comparison(value, cosine(gradient_NV, full_NV), relative_error(gradient_NV, full_NV))


def descend(
    loss: Loss, states: States, *, steps: int = 200, rate: float = 0.2, fixed_support: bool = False
) -> Tensor:
    """Return the logits where descent on the loss ends (its fixed point, or as near as `steps`
    come).

    Each step is z <- z - rate * grad / p, at most 1 in each coordinate: the natural gradient of a
    categorical distribution. It has the fixed points of plain descent and reaches all tokens at one
    speed, where plain descent needs 1 / p_v steps for an unlikely one. The student's TopK is chosen
    anew at each step, as in training; fixed_support keeps the one of the start, as in the closed
    forms.
    """
    logits_NV = states.student_NV.detach().double()
    start_NV, teacher_NV = logits_NV.clone(), states.teacher_NV.double()
    for _ in range(steps):
        here = States(logits_NV, teacher_NV, states.tokens_N)
        _, gradient_NV = value_and_gradient(loss, here, start_NV if fixed_support else None)
        natural_NV = gradient_NV / logits_NV.softmax(dim=-1).clamp(
            min=torch.finfo(logits_NV.dtype).tiny
        )
        logits_NV = logits_NV - (rate * natural_NV).clamp(-1.0, 1.0)
    return logits_NV


def shape(
    logits_NV: Tensor, teacher_NV: Tensor, k: int, support_of_NV: Tensor | None = None
) -> Shape:
    """Summarise a set of distributions. `support_of_NV`: the logits whose k likeliest tokens carry
    the mass (default: their own).
    """
    log_p, log_q = logprobs(logits_NV), logprobs(teacher_NV)
    mass_N = support_mass(log_p, top_ids(logits_NV if support_of_NV is None else support_of_NV, k))
    return Shape(
        float(mass_N.mean()), float(reverse_kl(log_p, log_q).mean()), float(entropy(log_p).mean())
    )
