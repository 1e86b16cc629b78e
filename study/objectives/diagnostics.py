"""Compute diagnostics of a loss: entropy, mass on a support, overlap, rank, and how two gradients
compare.

Axes: N any leading token axes, V vocabulary, K tokens of a support. Log-probabilities in, one value
per token out (nats or fractions).
"""

import torch
from torch import Tensor

from study.objectives.topk import contains


def entropy(logprobs_NV: Tensor) -> Tensor:
    """Return H(p) = -sum_v p_v log p_v, in nats."""
    return torch.special.entr(logprobs_NV.exp()).sum(dim=-1)


def support_mass(logprobs_NV: Tensor, ids_NK: Tensor) -> Tensor:
    """Return sum_{v in S} p_v: a distribution's mass on the given ids."""
    return logprobs_NV.gather(-1, ids_NK).exp().sum(dim=-1)


def overlap(student_ids_NK: Tensor, teacher_ids_NK: Tensor) -> Tensor:
    """Return |S_S and S_T| / K: the fraction of the student's TopK ids that are in the teacher's
    TopK.
    """
    return contains(teacher_ids_NK, student_ids_NK).float().mean(dim=-1)


def token_rank(logits_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """Return how many tokens the model puts strictly above the given one (0 = its likeliest)."""
    return (logits_NV > logits_NV.gather(-1, tokens_N.unsqueeze(-1))).sum(dim=-1)


def cosine(gradient: Tensor, reference: Tensor) -> float | None:
    """Return the cosine of the angle between two gradients as single long vectors; None when the
    first is zero up to rounding (1e-9 of the second).
    """
    ours, theirs = float(gradient.norm()), float(reference.norm())
    return float((gradient * reference).sum()) / (ours * theirs) if ours > 1e-9 * theirs else None


def relative_error(gradient: Tensor, reference: Tensor) -> float:
    """Return ||g - g_ref|| / ||g_ref||: 0 is the same gradient, 1 is as wrong as no gradient at
    all.
    """
    return float((gradient - reference).norm() / reference.norm())
