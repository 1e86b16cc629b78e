"""Hold what token losses are computed from, and compute them on whole rows of logits.

Axes: N completion tokens, H hidden size (each side has its own), V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from study.models.chunked.token_diagnostics import measure, measure_returned
from study.models.loss import TokenValues, bind
from study.models.server.scores import Returned, completed, with_written
from study.spec.recipe.objective import Objective


class TokenLosses(NamedTuple):
    """loss_N with gradient; diagnostics: name -> one detached value per measured token (see
    `study.models.chunked.token_diagnostics`).
    """

    loss_N: Tensor
    diagnostics: dict[str, Tensor]


class Sides(NamedTuple):
    """What the losses are computed from. teacher_head: None where a server scored."""

    student_NH: Tensor
    student_head: nn.Module
    teacher: Tensor | Returned
    teacher_head: nn.Module | None
    tokens_N: Tensor

    def part(self, start: int, stop: int) -> "Sides":
        return self._replace(
            student_NH=self.student_NH[start:stop],
            teacher=_rows(self.teacher, slice(start, stop)),
            tokens_N=self.tokens_N[start:stop],
        )

    def at(self, rows: Tensor) -> "Sides":
        return self._replace(
            student_NH=self.student_NH[rows],
            teacher=_rows(self.teacher, rows),
            tokens_N=self.tokens_N[rows],
        )


@torch.no_grad()
def teacher_logits(sides: Sides) -> Tensor | None:
    """Return the teacher's rows; None where a server scored."""
    if isinstance(sides.teacher, Returned):
        return None
    assert sides.teacher_head is not None, "hidden states come with the head that reads them"
    return sides.teacher_head(sides.teacher)


def token_values(
    objective: Objective, sides: Sides, student_NV: Tensor, teacher_NV: Tensor | None
) -> TokenValues:
    """Return the objective's values on whole rows, differentiable."""
    if isinstance(sides.teacher, Returned):
        student_NV = student_NV[:, : sides.teacher.rows]
        return _of_returned(objective)(student_NV, sides.teacher, sides.tokens_N)
    assert teacher_NV is not None
    shared = min(student_NV.shape[-1], teacher_NV.shape[-1])
    return bind(objective)(student_NV[:, :shared], teacher_NV[:, :shared], sides.tokens_N)


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


def measured(
    sides: Sides, student_NV: Tensor, teacher_NV: Tensor | None, k: int
) -> dict[str, Tensor]:
    """Return the diagnostics of these tokens (`study.models.chunked.token_diagnostics`)."""
    if isinstance(sides.teacher, Returned):
        return measure_returned(student_NV, sides.teacher, sides.tokens_N, k)
    assert teacher_NV is not None
    return measure(student_NV, teacher_NV, sides.tokens_N, k)


def _rows(teacher: Tensor | Returned, rows: slice | Tensor) -> Tensor | Returned:
    if isinstance(teacher, Returned):
        return Returned(
            teacher.ids_NK[rows], teacher.logprobs_NK[rows], teacher.written_N[rows], teacher.rows
        )
    return teacher[rows]
