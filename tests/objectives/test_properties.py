"""The property dictionary: every preset (and every missing-token policy) against its float64 twin
and against what it must satisfy.
"""

import math
from functools import partial
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from study.models.loss import bind
from study.objectives.divergences import UndefinedDivergence, logprobs
from study.objectives.reductions import constant, response_mean, token_mean
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective
from tests import reference

torch.set_num_threads(1)

# A floor and the temperature belong to no preset; beta 0.3 is a JSD that is not symmetric.
EXTRA: dict[str, dict] = {
    "floor": {"support": "student_topk", "missing": "floor"},
    "floor_tail_bucket": {
        "support": "student_topk",
        "missing": "floor",
        "normalisation": "tail_bucket",
    },
    "missing_intersection": {
        "support": "student_topk",
        "missing": "intersection",
        "normalisation": "renormalised",
    },
    "union_jsd": {"support": "union", "divergence": "jsd", "beta": 0.3},
    "union_tail_bucket": {
        "support": "union",
        "normalisation": "tail_bucket",
        "divergence": "forward_kl",
    },
    "intersection_tail_bucket_jsd": {
        "support": "intersection",
        "normalisation": "tail_bucket",
        "divergence": "jsd",
        "beta": 0.3,
    },
    "warm": {"temperature": 2.5},
    "warm_topk": {"support": "student_topk", "temperature": 0.7, "gradient": "stop_gradient"},
}
FORMS: dict[str, dict] = {name: fields for name, (fields, _) in PRESETS.items()} | EXTRA
A_DISTANCE = sorted(
    name
    for name, fields in FORMS.items()
    if fields.get("support", "full") == "full"
    or (fields.get("normalisation", "none") != "none" and fields.get("missing") != "student_value")
)


def make(name: str, k: int) -> Objective:
    """The form with k where it has one.

    Renormalised on one token is refused, so k is at least 2 there.
    """
    fields = dict(FORMS[name])
    if fields.get("support") in TOPK_SUPPORTS:
        fields["k"] = max(2, k) if fields.get("normalisation") == "renormalised" else k
    return Objective(**fields)


class Case(NamedTuple):
    k: int
    student_NV: Tensor
    teacher_NV: Tensor
    tokens_N: Tensor


@st.composite
def cases(draw: st.DrawFn, *, ties: bool = True) -> Case:
    """Three positions, float64.

    With ties logits lie on a grid, so that equal ones at the border of a TopK are common.
    """
    vocabulary = draw(st.integers(3, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.5, 2.0, 6.0]))
    student, teacher = (
        scale * torch.randn(3, vocabulary, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    if ties and draw(st.booleans()):
        student, teacher = student.round(), teacher.round()
    return Case(
        draw(st.integers(1, vocabulary)),
        student,
        teacher,
        torch.randint(vocabulary, (3,), generator=generator),
    )


def loss_and_gradient(
    objective: Objective, student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = student_NV.clone().requires_grad_()
    loss_N = bind(objective)(leaf, teacher_NV, tokens_N).loss_N
    return loss_N.detach(), torch.autograd.grad(loss_N.sum(), leaf)[0]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b.to(a.dtype), rtol=tolerance, atol=tolerance)


def reference_values(objective: Objective, case: Case) -> Tensor:
    rows = zip(
        case.student_NV.tolist(), case.teacher_NV.tolist(), case.tokens_N.tolist(), strict=True
    )
    return torch.tensor(
        [reference.value(objective, s, t, y) for s, t, y in rows], dtype=torch.float64
    )


every_form = pytest.mark.parametrize("name", sorted(FORMS))
# a constant advantage has the same value whatever the teacher
every_form_of_two = pytest.mark.parametrize("name", sorted(set(FORMS) - {"constant_advantage"}))
few = settings(max_examples=25, deadline=None, derandomize=True)


@every_form
@few
@given(case=cases())
def test_value_and_gradient_are_those_of_the_definition(name: str, case: Case) -> None:
    objective = make(name, case.k)
    loss_N, gradient_NV = loss_and_gradient(objective, *case[1:])
    close(loss_N, reference_values(objective, case), 1e-9)
    rows = zip(
        case.student_NV.tolist(), case.teacher_NV.tolist(), case.tokens_N.tolist(), strict=True
    )
    expected = torch.tensor([reference.gradient(objective, s, t, y) for s, t, y in rows])
    torch.testing.assert_close(gradient_NV, expected.to(torch.float64), rtol=1e-4, atol=1e-6)


@every_form_of_two
def test_swapping_student_and_teacher_changes_the_value_and_fails_the_reference(name: str) -> None:
    FORMS_AT = FORMS[name] | (
        {"beta": 0.3} if name == "full_jsd" else {}
    )  # beta 0.5 is symmetric by definition
    objective = Objective(
        **FORMS_AT | ({"k": 3} if FORMS_AT.get("support") in TOPK_SUPPORTS else {})
    )
    generator = torch.Generator().manual_seed(3)
    student, teacher = (
        2 * torch.randn(8, 7, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    tokens = torch.randint(7, (8,), generator=generator)
    case = Case(3, student, teacher, tokens)
    close(bind(objective)(student, teacher, tokens).loss_N, reference_values(objective, case))
    with pytest.raises(AssertionError, match="not close"):
        close(
            bind(objective)(teacher, student, tokens).loss_N,
            reference_values(objective, case),
            1e-3,
        )


@every_form_of_two
@few
@given(case=cases())
def test_zero_at_equality_and_so_is_the_gradient_of_a_distance(name: str, case: Case) -> None:
    objective = make(name, case.k)
    loss_N, gradient_NV = loss_and_gradient(
        objective, case.student_NV, case.student_NV, case.tokens_N
    )
    if (
        objective.missing == "floor"
        and objective.k is not None
        and objective.k < case.student_NV.shape[-1]
    ):
        return  # an equal teacher that keeps its tail to itself is not equal to what it returned
    close(loss_N, torch.zeros(3))
    if name in A_DISTANCE:
        close(gradient_NV, torch.zeros_like(gradient_NV))


@pytest.mark.parametrize("name", A_DISTANCE)
@few
@given(case=cases())
def test_not_negative_where_both_sides_are_distributions(name: str, case: Case) -> None:
    assert bind(make(name, case.k))(*case[1:]).loss_N.min() >= -1e-12


def test_the_biased_form_is_negative_somewhere() -> None:
    """No distance: a student that has leaked mass out of its TopK pays less than nothing."""
    student, teacher = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[2.0, 0.0, 0.0]])
    assert bind(make("topk_biased", 1))(student, teacher, torch.tensor([0])).loss_N.item() < 0


@every_form
@few
@given(case=cases(ties=False), seed=st.integers(0, 1000))
def test_a_permutation_of_the_vocabulary_changes_nothing(name: str, case: Case, seed: int) -> None:
    objective = make(name, case.k)
    order = torch.randperm(case.student_NV.shape[-1], generator=torch.Generator().manual_seed(seed))
    loss_N, gradient_NV = loss_and_gradient(objective, *case[1:])
    permuted = loss_and_gradient(
        objective,
        case.student_NV[:, order],
        case.teacher_NV[:, order],
        order.argsort()[case.tokens_N],
    )
    close(permuted[0], loss_N)
    close(permuted[1], gradient_NV[:, order])


@every_form
@few
@given(case=cases(ties=False), ours=st.floats(-50, 50), theirs=st.floats(-50, 50))
def test_a_constant_added_to_the_logits_changes_nothing(
    name: str, case: Case, ours: float, theirs: float
) -> None:
    objective = make(name, case.k)
    loss_N, gradient_NV = loss_and_gradient(objective, *case[1:])
    shifted = loss_and_gradient(
        objective, case.student_NV + ours, case.teacher_NV + theirs, case.tokens_N
    )
    close(shifted[0], loss_N, 1e-8)
    close(shifted[1], gradient_NV, 1e-8)
    close(gradient_NV.sum(dim=-1), torch.zeros(3))


@pytest.mark.parametrize(
    "name", sorted(name for name in FORMS if FORMS[name].get("support") in TOPK_SUPPORTS)
)
@few
@given(case=cases())
def test_at_k_equal_to_the_vocabulary_every_truncated_form_is_the_full_one(
    name: str, case: Case
) -> None:
    objective = make(name, case.student_NV.shape[-1])
    full = Objective(
        divergence=objective.divergence, beta=objective.beta, temperature=objective.temperature
    )
    for ours, whole in zip(
        loss_and_gradient(objective, *case[1:]), loss_and_gradient(full, *case[1:]), strict=True
    ):
        close(ours, whole)


@every_form
@pytest.mark.parametrize(
    "reduction", [response_mean, token_mean, partial(constant, constant_tokens=3)]
)
def test_masked_positions_get_exactly_zero_gradient_and_the_teacher_none(
    name: str, reduction
) -> None:
    generator = torch.Generator().manual_seed(5)
    student = torch.randn(2, 4, 7, generator=generator).requires_grad_()
    teacher = torch.randn(2, 4, 7, generator=generator).requires_grad_()
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    loss_BT = bind(make(name, 3))(
        student, teacher, torch.randint(7, (2, 4), generator=generator)
    ).loss_N
    reduction(loss_BT, mask, 2).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert torch.equal(student.grad[mask == 0], torch.zeros(3, 7))
    assert (student.grad[mask == 1].abs().sum(dim=-1) > 0).any()


@every_form
@pytest.mark.parametrize("side", ["student", "teacher", "both"])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_minus_infinity_gives_a_finite_loss_and_gradient_or_the_declared_error(
    name: str, side: str, place: int
) -> None:
    """Logits fall from id 0 to id 6: the place is the favourite, the border and the tail of the
    student's and the teacher's TopK 3.
    """
    student, teacher = -torch.arange(7.0)[None], -1.3 * torch.arange(7.0)[None]
    for logits in [student] * (side != "teacher") + [teacher] * (side != "student"):
        logits[0, place] = -math.inf
    try:
        loss_N, gradient_NV = loss_and_gradient(make(name, 3), student, teacher, torch.tensor([1]))
    except UndefinedDivergence:
        return
    assert torch.isfinite(loss_N).all()
    assert torch.isfinite(gradient_NV).all()


def test_a_teacher_that_excludes_what_the_student_writes_is_the_declared_error() -> None:
    student, teacher = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -math.inf]])
    with pytest.raises(UndefinedDivergence, match="1 of 1 tokens"):
        bind(Objective())(student, teacher, torch.tensor([0]))


def test_minus_infinity_outside_the_support_is_no_error() -> None:
    student, teacher = (
        torch.tensor([[3.0, 2.0, 1.0, -math.inf]]),
        torch.tensor([[3.0, 1.0, 2.0, -math.inf]]),
    )
    for name in (
        "topk_biased",
        "topk_stop_gradient",
        "topk_renormalised",
        "topk_tail_bucket",
        "sampled_policy_gradient",
    ):
        loss_N, gradient_NV = loss_and_gradient(make(name, 2), student, teacher, torch.tensor([0]))
        assert torch.isfinite(loss_N).all(), name
        assert torch.isfinite(gradient_NV).all(), name


@every_form
def test_bfloat16_logits_are_scored_in_float32(name: str) -> None:
    generator = torch.Generator().manual_seed(9)
    student, teacher = (torch.randn(5, 30, generator=generator).bfloat16() for _ in range(2))
    tokens = torch.randint(30, (5,), generator=generator)
    loss_N = bind(make(name, 4))(student, teacher, tokens).loss_N
    assert loss_N.dtype == torch.float32
    close(
        loss_N, bind(make(name, 4))(student.double(), teacher.double(), tokens).loss_N.float(), 1e-5
    )


def test_log_probabilities_over_a_wide_vocabulary_keep_their_digits() -> None:
    logits_NV = 3.0 * torch.randn(4, 151_936, generator=torch.Generator().manual_seed(0))
    exact_NV = logits_NV.double().log_softmax(dim=-1)
    assert float((logprobs(logits_NV).double() - exact_NV).abs().max()) < 3e-6
    assert (
        float((logits_NV.log_softmax(dim=-1).double() - exact_NV).abs().max()) < 1e-4
    )  # whichever the build, it is the same function
