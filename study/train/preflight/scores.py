"""Check scores: zero loss at the teacher, the teacher's part in the gradient, TopK coverage.

Axes: N completion tokens of a few rollouts, H hidden size, K tokens of a support. Losses go through
the driver that training uses (`study.models.logprobs`); a gradient is that in the student's last
hidden states, from which all of its weights' gradients follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.chat import prompt_ids
from study.data.problems import Problem
from study.models.logprobs import token_losses
from study.models.sampling import generate
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective
from study.train import build
from study.train.preflight.check import Check

ZERO = 1e-5  # nats per token; float32 rounding of a sum over a vocabulary stays below
SAME = 1e-3  # two gradients closer than this, relative to the larger, are one
DRAWS, LENGTH = 2, 24  # completions per prompt and their tokens: enough for two seeds to differ


@dataclass(frozen=True)
class Scored:
    """Hidden states of both sides at the student's own tokens, and their heads. trained: whether
    these are weights of the study.
    """

    student_NH: Tensor
    again_NH: Tensor  # the student's states scored like a teacher's: its own prompt, no dropout
    teacher_NH: Tensor
    tokens_N: Tensor
    student_head: nn.Module
    teacher_head: nn.Module
    trained: bool


def score(
    student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    recipe: DistilledModel,
    problems: Sequence[Problem], trained: bool,
) -> Scored:  # fmt: skip
    """Score both sides on one rollout of each problem, each with its own view."""
    rows = build.prompt_rows(list(problems), recipe)
    thinking = recipe.training.sampling.thinking
    mine, theirs = (
        prompt_ids(tokenizer, list(rows[side]), thinking) for side in ("prompt", "teacher_prompt")
    )
    length = min(LENGTH, recipe.training.sampling.max_completion_length)
    sampling = recipe.training.sampling.model_copy(update={"max_completion_length": length})
    written = [row[0].ids for row in generate(student, tokenizer, mine, sampling, k=1, seed=0)]
    # as in training: with dropout a teacher equal to the student would score differently
    student.train()
    student_NH = _hidden(student, mine, written)
    student.eval()
    student_head: Any = student.get_output_embeddings()
    teacher_head: Any = teacher.get_output_embeddings()
    tokens_N = torch.tensor([token for row in written for token in row], device=student_NH.device)
    again_NH, teacher_NH = _hidden(student, mine, written), _hidden(teacher, theirs, written)
    return Scored(student_NH, again_NH, teacher_NH, tokens_N, student_head, teacher_head, trained)


@torch.no_grad()
def _hidden(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]
) -> Tensor:
    """Return the last hidden states at the positions that predict the written tokens, [N, H]; one
    sequence at a time, so there is no padding.
    """
    parts: list[Tensor] = []
    for prompt, completion in zip(prompts, written, strict=True):
        ids = torch.tensor([[*prompt, *completion]], device=model.device)
        parts.append(model.base_model(input_ids=ids).last_hidden_state[0, len(prompt) - 1 : -1])
    return torch.cat(parts)


def _loss_and_gradient(
    scored: Scored, teacher_NH: Tensor, teacher_head: nn.Module, objective: Objective
) -> tuple[Tensor, Tensor]:
    leaf_NH = scored.student_NH.detach().clone().requires_grad_()
    losses = token_losses(
        leaf_NH,
        scored.student_head,
        teacher_NH,
        teacher_head,
        scored.tokens_N,
        objective,
        diagnostics_k=None,
    )
    return losses.loss_N.detach(), torch.autograd.grad(losses.loss_N.sum(), leaf_NH)[0]


def zero(scored: Scored, objective: Objective, subject: str) -> Check:
    """Check that a teacher equal to the student gives no loss at any token, and no gradient where
    the form promises none.
    """
    loss_N, gradient_NH = _loss_and_gradient(
        scored, scored.again_NH, scored.student_head, objective
    )
    _, usual_NH = _loss_and_gradient(
        scored, _shuffled(scored.again_NH), scored.student_head, objective
    )
    left = _relative(gradient_NH, usual_NH)
    # a constant advantage has the value -A at every token, whatever the teacher
    constant = -(objective.advantage or 0.0)
    measured = {
        "largest_loss": float((loss_N - constant).abs().max()),
        "relative_gradient": left,
        "tokens": loss_N.numel(),
    }
    if measured["largest_loss"] > ZERO:
        message = (
            "a teacher equal to the student has a loss of up to"
            f" {measured['largest_loss']:.2g} nats per token"
        )
        hint = (
            "look for dropout in the student, or a padding or a"
            " head that the two sides treat differently"
        )
        return Check("zero at the teacher", subject, False, message, hint, False, measured)
    if left <= SAME:
        return Check(
            "zero at the teacher",
            subject,
            True,
            "no loss and no gradient at a teacher equal to the student",
            measured=measured,
        )
    known = (
        "expected: negative control" if negative_control(objective) else _known_gradient(objective)
    )
    message = "no loss at a teacher equal to the student, but a gradient"
    if known:
        return Check(
            "zero at the teacher", subject, True, f"{message}; {known}", "", True, measured
        )
    message = f"{message} ({left:.2g} of that at a shuffled one)"
    hint = "study losses compares the gradients of all forms: this one should vanish"
    return Check("zero at the teacher", subject, False, message, hint, False, measured)


def _known_gradient(objective: Objective) -> str:
    """Explain a gradient at equality that belongs to the form: the TopK mass is part of it (paper
    Eqs. 6-9).
    """
    free = (
        objective.python is None
        and objective.support in TOPK_SUPPORTS
        and objective.normalisation == "none"
    )
    through = objective.divergence == "forward_kl" or (
        objective.divergence == "reverse_kl" and objective.gradient == "through"
    )
    return "expected: an unnormalised TopK form moves its TopK mass" if free and through else ""


def teacher_matters(scored: Scored, objective: Objective, subject: str) -> Check:
    """Check that the gradient changes when the teacher's rows move to other positions; otherwise
    the loss learns nothing from its teacher.
    """
    _, aligned_NH = _loss_and_gradient(scored, scored.teacher_NH, scored.teacher_head, objective)
    _, shuffled_NH = _loss_and_gradient(
        scored, _shuffled(scored.teacher_NH), scored.teacher_head, objective
    )
    change = _relative(shuffled_NH - aligned_NH, shuffled_NH, aligned_NH)
    measured = {"relative_change": change, "tokens": len(scored.tokens_N)}
    control = negative_control(objective)
    if change > SAME and not control:
        return Check(
            "teacher matters",
            subject,
            True,
            "a shuffled teacher changes the gradient",
            measured=measured,
        )
    if change > SAME:
        message = "declared a negative control, but a shuffled teacher changes its gradient"
        return Check(
            "teacher matters",
            subject,
            False,
            message,
            "study/objectives/sampled.py: it is not a control any more",
            False,
            measured,
        )
    message = (
        "a shuffled teacher leaves the gradient as it is: the loss does not learn from its teacher"
    )
    if control:
        return Check(
            "teacher matters",
            subject,
            True,
            f"{message}; expected: negative control",
            "",
            True,
            measured,
        )
    return Check(
        "teacher matters",
        subject,
        False,
        message,
        "choose another objective: study losses compares them",
        False,
        measured,
    )


def negative_control(objective: Objective) -> bool:
    """Whether the form is that of a preset declared as a negative control; temperature, reduction
    and the size of a constant advantage do not change the form.
    """
    if objective.python is not None:
        return False
    if objective.advantage is not None:
        return True
    form = ("divergence", "support", "normalisation", "gradient", "advantage")
    declared = [
        Objective.model_validate(fields)
        for fields, source in PRESETS.values()
        if source.startswith("negative control")
    ]
    return any(
        all(getattr(objective, name) == getattr(control, name) for name in form)
        for control in declared
    )


def _shuffled(rows_NH: Tensor) -> Tensor:
    """Move every row to another position: half-way round."""
    return rows_NH.roll(max(1, len(rows_NH) // 2), dims=0)


def _relative(difference: Tensor, *references: Tensor) -> float:
    """Return ||difference|| / the largest ||reference||; 0 when both are zero."""
    scale = max(float(reference.norm()) for reference in references)
    return float(difference.norm()) / scale if scale > 0 else float(difference.norm())
