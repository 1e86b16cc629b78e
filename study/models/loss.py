"""Turn a declared objective into a function: `bind(spec)` is the one exhaustive match between
`study.spec.recipe.objective` and `study.objectives`.

Axes: N tokens, V vocabulary (shared by both sides), K tokens of a support.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, assert_never

from torch import Tensor

from study.models.user_loss import bind_user
from study.objectives import divergences, sampled, topk
from study.spec.recipe.objective import Objective

# (student_NK, teacher_NK, live_NK) -> value_N
Divergence = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class TokenValues(NamedTuple):
    """loss_N in nats, with the gradient of the objective; support_size_N: how many tokens the sum
    ran over (0 = an empty intersection).
    """

    loss_N: Tensor
    support_size_N: Tensor


class TokenLoss(Protocol):
    def __call__(
        self, student_logits_NV: Tensor, teacher_logits_NV: Tensor, tokens_N: Tensor, *,
        support_logits_NV: Tensor | None = None, returned_ids_NK: Tensor | None = None,
    ) -> TokenValues:  # fmt: skip
        """Return per-token values.

        `support_logits_NV` chooses the student's TopK (default: the student's logits themselves).

        returned_ids_NK: the tokens that a teacher behind a server really returned; None: the k
        likeliest tokens of a complete teacher count as returned, and the policy for missing tokens
        is applied to the rest. Raises `UndefinedDivergence` when a value is not finite and
        `SpecError` when k is larger than the vocabulary.
        """
        ...


def bind(objective: Objective) -> TokenLoss:
    """Return the per-token loss of an objective, over logits at temperature 1 (it applies the
    objective's own temperature).
    """
    divergence = divergence_of(objective)
    own = bind_user(objective) if objective.python is not None else None

    def token_loss(
        student_logits_NV: Tensor, teacher_logits_NV: Tensor, tokens_N: Tensor, *,
        support_logits_NV: Tensor | None = None, returned_ids_NK: Tensor | None = None,
    ) -> TokenValues:  # fmt: skip
        chooser_NV = student_logits_NV if support_logits_NV is None else support_logits_NV
        student_NV = divergences.at_least_float32(student_logits_NV)
        teacher_NV = divergences.at_least_float32(teacher_logits_NV.detach())
        if objective.temperature != 1.0:
            student_NV, teacher_NV = (
                student_NV / objective.temperature,
                teacher_NV / objective.temperature,
            )
        if own is not None:
            return TokenValues(*_finite(own(student_NV, teacher_NV, tokens_N, chooser_NV)))
        match objective.support:
            case "full":
                loss_N = divergence(
                    divergences.logprobs(student_NV), divergences.logprobs(teacher_NV), None
                )
                size_N = tokens_N.new_full(tokens_N.shape, student_NV.shape[-1])
            case "sampled":
                loss_N, size_N = (
                    _sampled(objective, student_NV, teacher_NV, tokens_N),
                    tokens_N.new_ones(tokens_N.shape),
                )
            case "student_topk" | "teacher_topk" | "intersection" | "union":
                loss_N, size_N = _truncated(
                    objective, divergence, student_NV, teacher_NV, chooser_NV, returned_ids_NK
                )
            case _:
                assert_never(objective.support)
        return TokenValues(*_finite((loss_N, size_N)))

    return token_loss


def _finite(values: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return divergences.require_finite(values[0]), values[1]


def divergence_of(objective: Objective) -> Divergence:
    """Return the divergence as a function of (student, teacher, live) on any outcomes."""
    match objective.divergence:
        case "reverse_kl":
            stop = objective.gradient == "stop_gradient"
            return lambda student, teacher, live: divergences.reverse_kl(
                student, teacher, live_NV=live, stop_gradient=stop
            )
        case "forward_kl":
            return lambda student, teacher, live: divergences.forward_kl(
                student, teacher, live_NV=live
            )
        case "jsd":
            assert objective.beta is not None, "refused by study.spec.recipe.objective"
            beta = objective.beta
            return lambda student, teacher, live: divergences.jsd(
                student, teacher, beta, live_NV=live
            )
        case _:
            assert_never(objective.divergence)


def _sampled(
    objective: Objective, student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor
) -> Tensor:
    student_N, teacher_N = (
        sampled.token_logprobs(student_NV, tokens_N),
        sampled.token_logprobs(teacher_NV, tokens_N),
    )
    return sampled_loss(objective, student_N, teacher_N)


def sampled_loss(objective: Objective, student_N: Tensor, teacher_N: Tensor) -> Tensor:
    """Return the sampled form's loss from both sides' log-probabilities of the written token."""
    if objective.advantage is not None:
        return sampled.constant_advantage(student_N, objective.advantage)
    match objective.gradient:
        case "score_function":
            return sampled.score_function(student_N, teacher_N)
        case "through":
            return sampled.plain(student_N, teacher_N)
        case "stop_gradient":
            raise AssertionError("refused by study.spec.recipe.objective")
        case _:
            assert_never(objective.gradient)


def _truncated(
    objective: Objective,
    divergence: Divergence,
    student_NV: Tensor,
    teacher_NV: Tensor,
    chooser_NV: Tensor,
    returned_ids_NK: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Apply support, normalisation and divergence to both sides: (loss_N, support_size_N)."""
    support, teacher_ids_NK = choose_support(objective, chooser_NV, teacher_NV, returned_ids_NK)
    # A server's scores are complete before this call.
    if objective.missing == "floor" and returned_ids_NK is None:
        teacher_NV = topk.floored(teacher_NV, teacher_ids_NK)
    student_NK, teacher_NK = (
        topk.on_support(student_NV, support),
        topk.on_support(teacher_NV, support),
    )
    if objective.missing == "student_value":
        teacher_NK = teacher_NK.where(
            topk.contains(teacher_ids_NK, support.ids_NK), student_NK.detach()
        )
    live_NK = support.live_NK
    match objective.normalisation:
        case "none":
            pass
        case "renormalised":
            student_NK, teacher_NK = (
                topk.renormalised(student_NK, live_NK),
                topk.renormalised(teacher_NK, live_NK),
            )
        case "tail_bucket":
            student_NK, live_NK = topk.with_tail_bucket(student_NK, student_NV, support)
            teacher_NK, _ = topk.with_tail_bucket(teacher_NK, teacher_NV, support)
        case _:
            assert_never(objective.normalisation)
    return divergence(student_NK, teacher_NK, live_NK), support.size_N


def choose_support(
    objective: Objective,
    chooser_NV: Tensor | None,
    teacher_NV: Tensor | None,
    returned_ids_NK: Tensor | None,
) -> tuple[topk.Support, Tensor]:
    """Return (support, the ids that a teacher returned, or that a server with the teacher's TopK
    alone would return).

    Those ids are not computed when nothing needs them: the student's TopK with an exact teacher is
    the common case. `rows_for_support` says which side's logits a TopK support needs; the other may
    be None.
    """
    assert objective.k is not None, "refused by study.spec.recipe.objective"
    needed = rows_for_support(objective)
    student_ids_NK = teacher_ids_NK = None
    if needed.teacher:
        assert teacher_NV is not None
        teacher_ids_NK = topk.top_ids(teacher_NV, objective.k)
    if needed.student:
        assert chooser_NV is not None
        student_ids_NK = topk.top_ids(chooser_NV, objective.k)
    if teacher_ids_NK is None:
        assert student_ids_NK is not None
        return topk.whole(student_ids_NK), student_ids_NK
    known_ids_NK = teacher_ids_NK if returned_ids_NK is None else returned_ids_NK
    if student_ids_NK is None:
        return topk.whole(teacher_ids_NK), known_ids_NK
    if objective.support == "union":
        return topk.union(student_ids_NK, teacher_ids_NK), known_ids_NK
    if objective.support == "intersection":
        return topk.intersection(student_ids_NK, teacher_ids_NK), known_ids_NK
    if objective.missing == "intersection":
        return topk.intersection(student_ids_NK, known_ids_NK), known_ids_NK
    return topk.whole(student_ids_NK), known_ids_NK


class Rows(NamedTuple):
    """Whether whole rows of logits are needed of each side."""

    student: bool
    teacher: bool


def rows_for_support(objective: Objective) -> Rows:
    """Return which side's whole rows choose a TopK support and its missing tokens."""
    return Rows(
        student=objective.support != "teacher_topk",
        teacher=objective.support != "student_topk" or objective.missing != "exact",
    )
