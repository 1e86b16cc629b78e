"""Load a user-supplied loss: `def loss(student_NK, teacher_NK, tokens_N, ids_NK) -> loss_N`, in
nats per token.

    student_NK, teacher_NK   log-probabilities on the declared support, at the declared
                             temperature; the teacher's carry no gradient
    tokens_N                 the tokens that the student wrote
    ids_NK                   the ids of the K columns; None where the support is the whole
                             vocabulary (K = V)

Support, k, temperature and reduction are declared next to it, `{python: my.py:loss, support:
student_topk, k: 5}`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from study.errors import SpecError
from study.objectives import divergences, sampled, topk
from study.spec.recipe.objective import Objective
from study.spec.recipe.user_code import load_function

# Called with student_NV, teacher_NV, tokens_N, chooser_NV.
UserLoss = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def bind_user(objective: Objective) -> UserLoss:
    """Return (logits of both sides, tokens, the logits that
    choose the student's TopK) -> (loss_N, support_size_N).
    """
    assert objective.python is not None
    name, given = objective.python.function, load_function(objective.python)

    def loss(
        student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor, chooser_NV: Tensor
    ) -> tuple[Tensor, Tensor]:
        student_NK, teacher_NK, ids_NK = _on_support(
            objective, student_NV, teacher_NV, tokens_N, chooser_NV
        )
        value_N = checked(given(student_NK, teacher_NK, tokens_N, ids_NK), student_NK, name)
        return value_N, tokens_N.new_full(tokens_N.shape, student_NK.shape[-1])

    return loss


def _on_support(
    objective: Objective,
    student_NV: Tensor,
    teacher_NV: Tensor,
    tokens_N: Tensor,
    chooser_NV: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    if objective.support == "full":
        return divergences.logprobs(student_NV), divergences.logprobs(teacher_NV), None
    if objective.support == "sampled":
        student_N, teacher_N = (
            sampled.token_logprobs(side, tokens_N) for side in (student_NV, teacher_NV)
        )
        return student_N.unsqueeze(-1), teacher_N.unsqueeze(-1), tokens_N.unsqueeze(-1)
    assert objective.k is not None, "refused by study.spec.recipe.objective"
    support = topk.whole(
        topk.top_ids(chooser_NV if objective.support == "student_topk" else teacher_NV, objective.k)
    )
    return (
        topk.on_support(student_NV, support),
        topk.on_support(teacher_NV, support),
        support.ids_NK,
    )


def checked(value: Any, student_NK: Tensor, name: str) -> Tensor:
    """Check that the loss is one number per token, of the student's type."""
    wanted = tuple(student_NK.shape[:1])
    if (
        not isinstance(value, torch.Tensor)
        or tuple(value.shape) != wanted
        or value.dtype != student_NK.dtype
    ):
        found = (
            f"{tuple(value.shape)} of {value.dtype}"
            if isinstance(value, torch.Tensor)
            else repr(value)
        )
        raise SpecError(
            f"{name} gave {found}, not one {student_NK.dtype} per token: {wanted}",
            hint="sum over the last axis, and no mean",
        )
    return value
