"""Measure both sides' whole rows at a token: divergence, entropies, masses, the written token.

Axes: N tokens, V vocabulary, K tokens of a support. Everything is at temperature 1, over the ids
that both sides have, detached, one value per token.
"""

import torch
from torch import Tensor

from study.models.server.scores import Returned, completed, coverage, cut_mass
from study.objectives import diagnostics
from study.objectives.divergences import at_least_float32, logprobs
from study.objectives.topk import top_ids


@torch.no_grad()
def measure(student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor, k: int) -> dict[str, Tensor]:
    """Return `_diagnostics` and teacher_cut_mass of rows of logits that may differ in width."""
    shared = min(student_NV.shape[-1], teacher_NV.shape[-1])
    measured = _diagnostics(student_NV[:, :shared], teacher_NV[:, :shared], tokens_N, k)
    measured["teacher_cut_mass"] = _cut_mass(teacher_NV, shared)
    return measured


@torch.no_grad()
def measure_returned(
    student_NV: Tensor, returned: Returned, tokens_N: Tensor, k: int
) -> dict[str, Tensor]:
    """Return what a server's scores allow: everything where it returned whole rows, and how much of
    the student's TopK it returned.
    """
    student_NV = student_NV[:, : returned.rows]
    if returned.whole:
        shared = student_NV.shape[-1]
        measured = _diagnostics(student_NV, completed(returned, shared), tokens_N, k)
        measured["teacher_cut_mass"] = cut_mass(returned, shared)
    else:
        measured = _partial_diagnostics(student_NV, returned, tokens_N, k)
    return measured | coverage(returned, top_ids(student_NV, k), logprobs(student_NV))


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
