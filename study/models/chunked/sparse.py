"""Compute a renormalised TopK loss from K logits per token and side.

Axes: N tokens, H hidden size (each side has its own), V vocabulary, K tokens of a support (2K for a
union), B tokens of a block.

Both sides are divided by their mass on the support S, so their log-partitions over V cancel: the
loss is a function of K logits of each side, and its gradient is zero outside S. What is left of a
whole row is the choice of S:

    student's TopK                   one product of [N, H] with [H, V]: the student's
    teacher's TopK                   one: the teacher's
    intersection, union, and the
    policies for missing tokens      two

The K logits come from K gathered rows of each head, in float32 at least, on both sides alike: a
teacher equal to its student has exactly the student's logits.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from study.models.chunked.known_gradient import Entries, tokens_per_block
from study.models.loss import choose_support, divergence_of, rows_for_support
from study.objectives import topk
from study.objectives.divergences import at_least_float32
from study.objectives.topk import Support
from study.spec.recipe.objective import Objective


class SparseLosses(NamedTuple):
    """loss_N (nats), support_size_N, gradient_NH in the hidden states, entries in the K logits."""

    loss_N: Tensor
    support_size_N: Tensor
    gradient_NH: Tensor
    entries: Entries


class Rows(NamedTuple):
    """Whole rows of logits that were made to choose a support, as wide as each head; None where
    none were needed.
    """

    student_NV: Tensor | None
    teacher_NV: Tensor | None


class _Fill(NamedTuple):
    """What stands for the teacher's missing tokens.

    known_NK: which ids of the support the teacher returned. level_NK: the teacher's logit of the
    others (floor). partitions: log-partitions of student and teacher (student_value).
    """

    known_NK: Tensor
    level_N1: Tensor | None
    partitions: tuple[Tensor, Tensor] | None


def is_sparse(objective: Objective, *heads: nn.Module | None) -> bool:
    """Whether K rows of each head give this loss: a renormalised form, and plain linear heads."""
    return objective.normalisation == "renormalised" and all(is_plain(head) for head in heads)


def is_plain(head: nn.Module | None) -> bool:
    """Whether a head is its weight (and bias) and nothing else.

    False for adapters on the head, subclasses, and weights divided over devices.
    """
    return type(head) is nn.Linear and type(head.weight) in (nn.Parameter, Tensor)


@torch.no_grad()
def sparse_chunk(
    objective: Objective,
    student_NH: Tensor,
    student_head: nn.Linear,
    teacher_NH: Tensor,
    teacher_head: nn.Linear,
) -> tuple[SparseLosses, Rows]:
    """Return losses and gradients of one chunk, and the rows that chose its support.

    Only ids that both heads have are chosen. Losses are not checked to be finite.
    """
    needed = rows_for_support(objective)
    rows = Rows(
        student_head(student_NH) if needed.student else None,
        teacher_head(teacher_NH) if needed.teacher else None,
    )
    shared = min(len(student_head.weight), len(teacher_head.weight))
    student_NV = None if rows.student_NV is None else rows.student_NV[:, :shared]
    teacher_NV = None if rows.teacher_NV is None else rows.teacher_NV[:, :shared]
    if teacher_NV is not None and objective.temperature != 1.0:
        # The dense form chooses the teacher's TopK after the division.
        teacher_NV = teacher_NV / objective.temperature
    support, known_ids_NK = choose_support(objective, student_NV, teacher_NV, None)
    fill = _fill(objective, support, known_ids_NK, student_NV, teacher_NV)
    size = tokens_per_block(
        support.ids_NK.shape[-1], max(student_NH.shape[-1], teacher_NH.shape[-1])
    )
    blocks = [slice(start, start + size) for start in range(0, len(student_NH), size)]
    # Under autocast the gathered rows would be rounded to 8 bits.
    with torch.autocast(student_NH.device.type, enabled=False):
        parts = [
            _block(
                objective,
                Support(support.ids_NK[block], support.live_NK[block]),
                _part(fill, block),
                (student_NH[block], student_head),
                (teacher_NH[block], teacher_head),
            )
            for block in blocks
        ]
    loss_N, gradient_NH, entries_NK = (torch.cat(column) for column in zip(*parts, strict=True))
    entries = Entries(support.ids_NK, entries_NK)
    return SparseLosses(loss_N, support.size_N, gradient_NH, entries), rows


def _fill(
    objective: Objective, support: Support, known_ids_NK: Tensor,
    student_NV: Tensor | None, teacher_NV: Tensor | None,
) -> _Fill | None:  # fmt: skip
    """Return what fills the teacher's missing tokens; None where none of the support is missing."""
    if objective.missing not in ("floor", "student_value"):
        return None
    assert student_NV is not None
    assert teacher_NV is not None
    known_NK = topk.contains(known_ids_NK, support.ids_NK)
    teacher_NV = at_least_float32(teacher_NV)
    if objective.missing == "floor":
        return _Fill(known_NK, topk.floor_level(teacher_NV, known_ids_NK), None)
    student_NV = at_least_float32(student_NV) / objective.temperature
    partitions = tuple(row.logsumexp(dim=-1, keepdim=True) for row in (student_NV, teacher_NV))
    return _Fill(known_NK, None, (partitions[0], partitions[1]))


def _part(fill: _Fill | None, block: slice) -> _Fill | None:
    if fill is None:
        return None
    level_N1 = None if fill.level_N1 is None else fill.level_N1[block]
    partitions = fill.partitions
    if partitions is not None:
        partitions = (partitions[0][block], partitions[1][block])
    return _Fill(fill.known_NK[block], level_N1, partitions)


def _block(
    objective: Objective,
    support: Support,
    fill: _Fill | None,
    student: tuple[Tensor, nn.Linear],
    teacher: tuple[Tensor, nn.Linear],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (loss_B, gradient_BH, entries_BK) of one block of tokens."""
    ids_BK, live_BK = support
    student_BK, rows_BKH = _gathered(*student, ids_BK)
    teacher_BK, _ = _gathered(*teacher, ids_BK)
    student_BK, teacher_BK = student_BK / objective.temperature, teacher_BK / objective.temperature
    if fill is not None:
        teacher_BK = _filled(fill, student_BK, teacher_BK)
    student_BK, teacher_BK = student_BK.where(live_BK, 0.0), teacher_BK.where(live_BK, 0.0)
    with torch.enable_grad():
        leaf_BK = student_BK.requires_grad_()
        ours_BK = topk.renormalised(leaf_BK, live_BK)
        loss_B = divergence_of(objective)(ours_BK, topk.renormalised(teacher_BK, live_BK), live_BK)
        (entries_BK,) = torch.autograd.grad(loss_B.sum(), leaf_BK)
    entries_BK = entries_BK / objective.temperature
    gradient_BH = torch.bmm(entries_BK.unsqueeze(-2), rows_BKH).squeeze(-2)
    return loss_B.detach(), gradient_BH.to(student[0].dtype), entries_BK


def _gathered(hidden_BH: Tensor, head: nn.Linear, ids_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Return (logits_BK, rows_BKH) of K gathered rows of a head, in float32 at least."""
    rows_BKH = at_least_float32(nn.functional.embedding(ids_BK, head.weight))
    hidden_B1H = at_least_float32(hidden_BH).to(rows_BKH.dtype).unsqueeze(-2)
    # `sum` adds in pairs: ten times nearer to float64 than a product with one column.
    logits_BK = (rows_BKH * hidden_B1H).sum(dim=-1)
    if head.bias is not None:
        logits_BK = logits_BK + head.bias[ids_BK]
    return logits_BK, rows_BKH


def _filled(fill: _Fill, student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
    """Replace the teacher's logits of missing tokens; a constant per token cancels later."""
    if fill.level_N1 is not None:
        return teacher_BK.where(fill.known_NK, fill.level_N1)
    assert fill.partitions is not None
    student_N1, teacher_N1 = fill.partitions
    return (teacher_BK - teacher_N1).where(fill.known_NK, student_BK - student_N1)
