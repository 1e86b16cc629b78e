"""What the paper's second mechanism rests on: where the gradient of a truncated reverse KL comes
from, term by term.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from study.models.loss import bind
from study.objectives.divergences import logprobs
from study.objectives.topk import top_ids
from study.spec.recipe.objective import Objective

VOCABULARY = 12
few = settings(max_examples=30, deadline=None, derandomize=True)


def states(seed: int, tokens: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        2 * torch.randn(tokens, VOCABULARY, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    return student.requires_grad_(), teacher


def gradient(student: Tensor, teacher: Tensor, tokens: Tensor | None = None, **fields) -> Tensor:
    tokens = torch.zeros(len(student), dtype=torch.long) if tokens is None else tokens
    loss_N = bind(Objective(**fields))(student, teacher, tokens).loss_N
    return torch.autograd.grad(loss_N.sum(), student)[0]


def topk_mass_gradient(student: Tensor, k: int) -> Tensor:
    mass_N = logprobs(student).gather(-1, top_ids(student, k)).exp().sum(dim=-1)
    return torch.autograd.grad(mass_N.sum(), student)[0]


@few
@given(seed=st.integers(0, 2**31), k=st.integers(1, VOCABULARY))
def test_flagship_plain_minus_stop_gradient_is_the_gradient_of_the_topk_mass(
    seed: int, k: int
) -> None:
    student, teacher = states(seed)
    plain = gradient(student, teacher, support="student_topk", k=k)
    stopped = Objective.model_validate({"support": "student_topk", "k": k}).model_copy(
        update={"gradient": "stop_gradient"}
    )
    (sg,) = torch.autograd.grad(
        bind(stopped)(student, teacher, torch.zeros(4, dtype=torch.long)).loss_N.sum(), student
    )
    bias = topk_mass_gradient(student, k)
    torch.testing.assert_close(plain - sg, bias, rtol=1e-9, atol=1e-12)
    if k < VOCABULARY:
        assert (bias.norm(dim=-1) > 1e-6).all()
    else:
        assert bias.norm() < 1e-12


@few
@given(seed=st.integers(0, 2**31), k=st.integers(2, VOCABULARY - 1))
def test_logit_gradients_in_closed_form(seed: int, k: int) -> None:
    """docs: full p_j [r_j - KL]; plain p_j [1_S (r_j + 1) - sum_S p (r + 1)]; stop-gradient p_j
    [1_S r_j - sum_S p r];
    renormalised p~_j [r~_j - KL~] on S and 0 off it; tail bucket p_j [rho_j - sum p rho] with rho =
    log tail ratio off S.
    """
    student, teacher = states(seed)
    p, q = student.detach().softmax(-1), teacher.softmax(-1)
    r = (p / q).log()
    inside = torch.zeros_like(p).scatter(-1, top_ids(student, k), 1.0)
    p_s, q_s = ((x * inside).sum(-1, keepdim=True) for x in (p, q))
    total = lambda x: x.sum(-1, keepdim=True)  # noqa: E731
    renormalised_ratio = r - (p_s / q_s).log()
    rho = torch.where(inside.bool(), r, ((1 - p_s) / (1 - q_s)).log())
    expected = {
        (): p * (r - total(p * r)),
        (("support", "student_topk"),): p * (inside * (r + 1) - total(inside * p * (r + 1))),
        (("support", "student_topk"), ("gradient", "stop_gradient")): (
            p * (inside * r - total(inside * p * r))
        ),
        (("support", "student_topk"), ("normalisation", "renormalised")): (
            inside
            * (p / p_s)
            * (renormalised_ratio - total(inside * (p / p_s) * renormalised_ratio))
        ),
        (("support", "student_topk"), ("normalisation", "tail_bucket")): p * (rho - total(p * rho)),
    }
    for fields, formula in expected.items():
        ours = gradient(student, teacher, **dict(fields), **({"k": k} if fields else {}))
        torch.testing.assert_close(
            ours, formula, rtol=1e-8, atol=1e-10, msg=lambda text, f=fields: f"{f}: {text}"
        )


@few
@given(
    seed=st.integers(0, 2**31),
    k=st.integers(2, VOCABULARY),
    support=st.sampled_from(["student_topk", "intersection", "union"]),
)
def test_stop_gradient_changes_nothing_once_renormalised(seed: int, k: int, support: str) -> None:
    student, teacher = states(seed)
    fields = {"support": support, "k": k, "normalisation": "renormalised"}
    both = gradient(student, teacher, gradient="stop_gradient", **fields)
    torch.testing.assert_close(both, gradient(student, teacher, **fields), rtol=1e-9, atol=1e-12)


def test_the_plain_sampled_loss_does_not_see_the_teacher() -> None:
    student, teacher = states(1)
    other = states(2)[1]
    tokens = torch.tensor([0, 5, 3, 11])
    plain = {"support": "sampled", "gradient": "through"}
    assert torch.equal(
        gradient(student, teacher, tokens, **plain), gradient(student, other, tokens, **plain)
    )
    score = {"support": "sampled", "gradient": "score_function"}
    assert not torch.allclose(
        gradient(student, teacher, tokens, **score), gradient(student, other, tokens, **score)
    )


@pytest.mark.parametrize("form", ["score_function", "through"])
def test_expected_sampled_gradient_over_every_token(form: str) -> None:
    """E_{y~p} of the score function is the full gradient; of the plain loss it is zero; E of both
    values is the reverse KL.
    """
    student, teacher = states(7, tokens=1)
    leaf = student.detach().expand(VOCABULARY, -1).clone().requires_grad_()
    tokens, weights = torch.arange(VOCABULARY), student.detach().softmax(-1)[0]
    loss_N = bind(Objective(support="sampled", gradient=form))(
        leaf, teacher.expand(VOCABULARY, -1), tokens
    ).loss_N
    (expected,) = torch.autograd.grad((weights * loss_N).sum(), leaf)
    full = (
        gradient(student, teacher)
        if form == "score_function"
        else torch.zeros(1, VOCABULARY, dtype=torch.float64)
    )
    torch.testing.assert_close(expected.sum(0, keepdim=True), full, rtol=1e-9, atol=1e-12)
    reverse_kl = bind(Objective())(student, teacher, tokens[:1]).loss_N
    torch.testing.assert_close((weights * loss_N.detach()).sum(), reverse_kl.detach()[0])


def test_a_token_the_teacher_did_not_return_in_the_four_policies() -> None:
    """Student favours ids 0 and 1; a teacher that returns two tokens returns 0 and 2.

    What happens to id 1 is the policy.
    """
    student = torch.tensor([[2.0, 1.5, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[2.0, -2.0, 1.0, -3.0]], dtype=torch.float64)
    p, q = student.detach().softmax(-1)[0], teacher.softmax(-1)[0]
    kept = (q[1] + q[3]) / 2
    shared = p[0] * (p[0] / q[0]).log()
    expected = {
        "exact": shared + p[1] * (p[1] / q[1]).log(),
        "student_value": shared,
        "floor": shared + p[1] * (p[1] / kept).log(),
        "intersection": shared,
    }
    gradients = {}
    for missing, value in expected.items():
        fields = {"support": "student_topk", "k": 2, "missing": missing}
        loss = bind(Objective(**fields))(student, teacher, torch.tensor([0]))
        torch.testing.assert_close(loss.loss_N.detach()[0], value)
        assert loss.support_size_N.item() == (1 if missing == "intersection" else 2)
        gradients[missing] = gradient(student, teacher, **fields)
        gradients[missing, "sg"] = gradient(student, teacher, gradient="stop_gradient", **fields)
    # The fill has no signal of its own under a stop-gradient; with the plain gradient it still
    # pushes the token down.
    torch.testing.assert_close(gradients["student_value", "sg"], gradients["intersection", "sg"])
    push = p[1] * (torch.eye(4)[1] - p)
    torch.testing.assert_close(
        gradients["student_value"] - gradients["intersection"], push[None], rtol=1e-9, atol=1e-12
    )


def test_an_empty_intersection_is_a_zero_loss_that_is_counted() -> None:
    student = torch.tensor([[5.0, 0.0, 0.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 5.0, 1.0, 0.0]])
    values = bind(Objective(support="intersection", k=2, normalisation="renormalised"))(
        student, teacher, torch.tensor([0])
    )
    values.loss_N.sum().backward()
    assert values.support_size_N.item() == 0
    assert values.loss_N.item() == 0.0
    assert student.grad is not None
    assert torch.equal(student.grad, torch.zeros(1, 4))
