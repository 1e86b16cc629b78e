"""Compute the rows of `study losses`: every preset on given states, random ones or those of a
student's own rollouts (`study.models.pair_states`).

Axes: N states, V vocabulary. No training. Sampled-token presets appear twice where the vocabulary
is small enough to sum over all tokens: in expectation, and with the one token per state that
training would see.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from study.errors import SpecError
from study.models.loss import bind
from study.objectives.landscape import (
    Comparison,
    Loss,
    Shape,
    States,
    compare,
    descend,
    full_gradient,
    over_every_token,
    shape,
    value_and_gradient,
)
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective

EXPECTATION_VOCABULARY = 512  # up to here a sampled loss is summed over every token
# The largest N x V of a descent; more states are thinned, so that it ends in seconds.
DESCENT_NUMBERS = 2**12


@dataclass(frozen=True)
class Row:
    """One preset at one K.

    bias: norm of the part of the gradient that comes through log p_S inside the log-ratio (sum_S
    p_v grad log p_v = grad of the TopK mass), relative to the norm of the full gradient; zero for a
    faithful form, None where the form has no such term (forward KL, JSD). fixed_point: None where
    descent was not run (one drawn token has no fixed point).
    """

    preset: str
    k: int | None
    comparison: Comparison
    bias: float | None
    fixed_point: Shape | None


@dataclass(frozen=True)
class Report:
    """Rows, and what their fixed points are compared with: the student at the start and the
    teacher, on the same states, for each K.
    """

    rows: tuple[Row, ...]
    student: dict[int, Shape]
    teacher: dict[int, Shape]
    num_states: int
    vocabulary: int
    descent_states: int


def report(
    states: States, ks: Sequence[int], *, fixed_support: bool = False, steps: int = 200
) -> Report:
    """Compute every preset, TopK forms at each K. Raises SpecError for a K outside 1..V."""
    number, vocabulary = states.student_NV.shape
    for k in ks:
        if not 1 <= k <= vocabulary:
            raise SpecError(
                f"K = {k} is not between 1 and the vocabulary of {vocabulary} tokens",
                hint="study losses --k 5",
            )
    thinned = States(*(x[:: max(1, -(-number * vocabulary // DESCENT_NUMBERS))] for x in states))
    rows = [
        row
        for name in PRESETS
        for k in ks
        for row in _rows(name, k, states, thinned, fixed_support, steps, first=k == ks[0])
    ]
    return Report(
        tuple(rows),
        {k: shape(thinned.student_NV, thinned.teacher_NV, k) for k in ks},
        {
            k: shape(
                thinned.teacher_NV,
                thinned.teacher_NV,
                k,
                thinned.student_NV if fixed_support else None,
            )
            for k in ks
        },
        number,
        vocabulary,
        len(thinned.tokens_N),
    )


def _rows(
    name: str,
    k: int,
    states: States,
    thinned: States,
    fixed_support: bool,
    steps: int,
    *,
    first: bool,
) -> Iterator[Row]:
    fields, _ = PRESETS[name]
    truncated = fields.get("support") in TOPK_SUPPORTS
    if not truncated and not first:  # the same at every K
        return
    if fields.get("normalisation") == "renormalised" and k == 1:  # refused: identically zero
        return
    objective = Objective.model_validate(fields | ({"k": k} if truncated else {}))
    loss, full_NV = as_loss(objective), full_gradient(states)

    def fixed_point(loss: Loss) -> Shape:
        end_NV = descend(loss, thinned, steps=steps, fixed_support=fixed_support)
        return shape(end_NV, thinned.teacher_NV, k, thinned.student_NV if fixed_support else None)

    def row(label: str, loss: Loss, end: Callable[[Loss], Shape] | None) -> Row:
        bias = _bias(objective, loss, states, full_NV)
        return Row(
            label,
            k if truncated else None,
            compare(loss, states, full_NV),
            bias,
            end(loss) if end else None,
        )

    if objective.support != "sampled":
        yield row(name, loss, fixed_point)
        return
    if states.student_NV.shape[-1] <= EXPECTATION_VOCABULARY:
        yield row(f"{name} (expected)", over_every_token(loss), fixed_point)
    yield row(f"{name} (one draw)", loss, None)


def as_loss(objective: Objective) -> Loss:
    """Return the objective as the function that `study.objectives.landscape` works on."""
    token_loss = bind(objective)
    return lambda student, teacher, tokens, chooser: (
        token_loss(student, teacher, tokens, support_logits_NV=chooser).loss_N
    )


def _bias(objective: Objective, loss: Loss, states: States, full_NV: Tensor) -> float | None:
    """Return ||g - g with log p_S detached|| / ||g_full||.

    The plain sampled loss and the constant advantage have nothing but this term.
    """
    if objective.divergence != "reverse_kl":
        return None
    if objective.gradient != "through" and objective.advantage is None:
        return 0.0
    gradient_NV = value_and_gradient(loss, states)[1]
    if objective.support != "sampled":
        # Not validated: on a whole distribution the detached form is refused as an objective,
        # because this difference is zero.
        gradient_NV = (
            gradient_NV
            - value_and_gradient(
                as_loss(objective.model_copy(update={"gradient": "stop_gradient"})), states
            )[1]
        )
    return float(gradient_NV.norm() / full_NV.norm())
