"""Compute the optimum of distillation from several PI-conditioned teachers: the normalised
geometric mean of the teachers (paper Eqs. 10-11).

For teachers q_1..q_m with equal weight and a student p that sees none of their prompts, per token:

    mean_i KL(p || q_i) = KL(p || g) - log Z
    g = exp(mean_i log q_i) / Z
    Z = sum_v exp(mean_i log q_i(v)) <= 1

so g is the best p under reverse KL and no p can remove -log Z. Under forward KL the best p is the
arithmetic mean a = mean_i q_i. Axes: m teachers, N tokens, V vocabulary.
"""

import math

import torch
from torch import Tensor


def geometric_mean(teachers_mNV: Tensor) -> tuple[Tensor, Tensor]:
    """Turn log-probabilities of m teachers into (log g [N, V], log Z [N])."""
    mean_NV = teachers_mNV.mean(dim=0)
    log_z_N = mean_NV.logsumexp(-1)
    return mean_NV - log_z_N.unsqueeze(-1), log_z_N


def arithmetic_mean(teachers_mNV: Tensor) -> Tensor:
    """Turn log-probabilities of m teachers into log a [N, V]."""
    return teachers_mNV.logsumexp(0) - math.log(teachers_mNV.shape[0])


def pi_optimum(student_NV: Tensor, teachers_mNV: Tensor) -> dict[str, Tensor]:
    """Return per token [N], in nats: kl_geometric, kl_arithmetic, kl_teachers (mean over teachers),
    heterogeneity = -log Z.
    """
    geometric_NV, log_z_N = geometric_mean(teachers_mNV)
    return {
        "kl_geometric": _kl(student_NV, geometric_NV),
        "kl_arithmetic": _kl(student_NV, arithmetic_mean(teachers_mNV)),
        "kl_teachers": (
            torch.stack([_kl(student_NV, teacher_NV) for teacher_NV in teachers_mNV]).mean(0)
        ),
        "heterogeneity": -log_z_N,
    }


def _kl(p_NV: Tensor, q_NV: Tensor) -> Tensor:
    return (p_NV.exp() * (p_NV - q_NV)).sum(-1)
