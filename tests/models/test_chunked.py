"""Losses whose gradient is computed with them: equal to autograd on whole rows for every form, head
and weight.
"""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from study.models.chunked.known_gradient import UnknownUpstream
from study.models.logprobs import TokenLosses, token_losses
from study.objectives.divergences import UndefinedDivergence
from study.objectives.topk import by_keys, top_ids
from study.spec.recipe.objective import Objective

torch.set_num_threads(1)
N, H, VOCABULARY, K = 13, 6, 30, 4


def forms() -> list[Objective]:
    """Return every valid tuple, at the default reduction and temperature."""
    choices = product(
        ("reverse_kl", "forward_kl", "jsd"),
        ("full", "sampled", "student_topk", "teacher_topk", "intersection", "union"),
        ("none", "renormalised", "tail_bucket"),
        ("through", "stop_gradient", "score_function"),
        ("exact", "student_value", "floor", "intersection"),
    )
    found = []
    for divergence, support, normalisation, gradient, missing in choices:
        fields: dict[str, Any] = {"divergence": divergence, "support": support}
        fields |= {"normalisation": normalisation, "gradient": gradient, "missing": missing}
        fields |= {"beta": 0.3} if divergence == "jsd" else {}
        fields |= {} if support in ("full", "sampled") else {"k": K}
        try:
            found.append(Objective(**fields))
        except ValidationError:
            continue
    return [*found, Objective(support="sampled", gradient="score_function", advantage=0.7)]


def said(objective: Objective) -> str:
    return "-".join(
        (objective.divergence, objective.support, objective.normalisation, objective.gradient,
         objective.missing)
    )  # fmt: skip


class Sides:
    """Two models: hidden states of different sizes, heads with a bias, weights of the tokens."""

    def __init__(
        self, dtype: torch.dtype = torch.float64, seed: int = 0, bias: bool = True
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.student_hidden = draw(N, H).requires_grad_()
        self.teacher_hidden = draw(N, H + 2)
        self.student_head = nn.Linear(H, VOCABULARY, bias=bias, dtype=dtype)
        self.teacher_head = nn.Linear(H + 2, VOCABULARY, bias=bias, dtype=dtype)
        for head in (self.student_head, self.teacher_head):
            for parameter in head.parameters():
                parameter.data = draw(*parameter.shape)
        self.tokens = torch.randint(VOCABULARY, (N,), generator=generator)
        self.weights = torch.rand(N, generator=generator, dtype=torch.float64).to(dtype)

    def losses(self, objective: Objective, **options: Any) -> TokenLosses:
        options = {"weights_N": self.weights} | options
        return token_losses(
            self.student_hidden, self.student_head, self.teacher_hidden, self.teacher_head,
            self.tokens, objective, **options,
        )  # fmt: skip

    def gradients(self, loss_N: Tensor) -> tuple[Tensor, ...]:
        wanted = (self.student_hidden, *self.student_head.parameters())
        return torch.autograd.grad((self.weights * loss_N).sum() / 7, wanted)


@pytest.mark.parametrize("temperature", [1.0, 1.7])
@pytest.mark.parametrize("objective", forms(), ids=said)
def test_every_form_has_the_values_and_gradients_of_whole_rows(
    objective: Objective, temperature: float
) -> None:
    sides, objective = Sides(), objective.model_copy(update={"temperature": temperature})
    whole, chunked = sides.losses(objective), sides.losses(objective, chunk_tokens=5)
    torch.testing.assert_close(chunked.loss_N, whole.loss_N)
    assert torch.equal(chunked.diagnostics["support_size"], whole.diagnostics["support_size"])
    for ours, expected in zip(
        sides.gradients(chunked.loss_N), sides.gradients(whole.loss_N), strict=True
    ):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("k", [2, 29, VOCABULARY])
@pytest.mark.parametrize("support", ["student_topk", "teacher_topk", "intersection", "union"])
@pytest.mark.parametrize("normalisation", ["none", "renormalised", "tail_bucket"])
def test_any_k_up_to_the_whole_vocabulary(normalisation: Any, support: Any, k: int) -> None:
    """At K = V nothing is outside the support, and a tail bucket is empty."""
    sides, objective = Sides(), Objective(support=support, k=k, normalisation=normalisation)
    whole, chunked = sides.losses(objective), sides.losses(objective, chunk_tokens=4)
    torch.testing.assert_close(chunked.loss_N, whole.loss_N)
    for ours, expected in zip(
        sides.gradients(chunked.loss_N), sides.gradients(whole.loss_N), strict=True
    ):
        torch.testing.assert_close(ours, expected)


@given(
    seed=st.integers(0, 2**16), scale=st.sampled_from([0.1, 1.0, 30.0]),
    objective=st.sampled_from(forms()), chunk=st.integers(1, N - 1),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_float32_gradients_are_near_float64_however_peaked_the_logits(
    seed: int, scale: float, objective: Objective, chunk: int
) -> None:
    exact, narrow = Sides(seed=seed), Sides(torch.float32, seed=seed)
    for sides in (exact, narrow):
        for head in (sides.student_head, sides.teacher_head):
            head.weight.data *= scale
    for tensor, other in zip(
        (exact.student_hidden, exact.teacher_hidden, *exact.student_head.parameters(),
         *exact.teacher_head.parameters()),
        (narrow.student_hidden, narrow.teacher_hidden, *narrow.student_head.parameters(),
         *narrow.teacher_head.parameters()),
        strict=True,
    ):  # fmt: skip
        tensor.data.copy_(other.data)  # the same numbers; float64 holds float32
    exact.weights = narrow.weights.double()
    losses_N = exact.losses(objective).loss_N
    largest_loss = float(losses_N.detach().abs().max())
    wanted = exact.gradients(losses_N)
    usual = narrow.gradients(narrow.losses(objective).loss_N)
    found = narrow.gradients(narrow.losses(objective, chunk_tokens=chunk).loss_N)
    for ours, autograd, expected in zip(found, usual, wanted, strict=True):
        largest = float(expected.abs().max())
        usual_error = float((autograd.double() - expected).abs().max())
        allowed = 1e-5 * largest + 4 * usual_error
        if scale > 1:
            # Logits of hundreds are rounded to 1e-5 before any gradient is computed; that moves
            # probabilities as much, and each is multiplied by a log-ratio as large as the loss.
            logits_NV = exact.student_head(exact.student_hidden).detach()
            rows_VH = exact.student_head.weight.detach()
            rounding = 2**-23 * float(logits_NV.abs().max() * rows_VH.abs().max())
            allowed += rounding * (1.0 + largest_loss)
        assert float((ours.double() - expected).abs().max()) <= allowed


def test_a_tail_too_small_for_float32_has_a_finite_loss() -> None:
    sides = Sides(torch.float32)
    for head in (sides.student_head, sides.teacher_head):
        head.bias.data[:K] += 200.0
    objective = Objective(support="student_topk", k=K, normalisation="tail_bucket")
    loss_N = sides.losses(objective, chunk_tokens=5).loss_N
    assert bool(loss_N.isfinite().all())
    torch.testing.assert_close(loss_N, sides.losses(objective).loss_N, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", forms()[:3], ids=said)
def test_an_upstream_gradient_that_was_not_said_is_refused(objective: Objective) -> None:
    sides = Sides()
    with pytest.raises(UnknownUpstream, match="weights_N"):
        sides.losses(objective, chunk_tokens=5).loss_N.square().sum().backward()
    with pytest.raises(UnknownUpstream):
        (sides.losses(objective, chunk_tokens=5).loss_N * torch.nan).sum().backward()
    # without weights all tokens count alike, as in a mean
    sides.losses(objective, chunk_tokens=5, weights_N=None).loss_N.mean().backward()
    ours = sides.student_head.weight.grad
    sides.student_head.zero_grad()
    sides.losses(objective).loss_N.mean().backward()
    torch.testing.assert_close(ours, sides.student_head.weight.grad)


def test_a_sparse_form_takes_any_upstream_gradient() -> None:
    sides = Sides()
    objective = Objective(support="student_topk", k=K, normalisation="renormalised")
    wanted = (sides.student_hidden, *sides.student_head.parameters())
    chunked = torch.autograd.grad(
        sides.losses(objective, chunk_tokens=5).loss_N.square().sum(), wanted
    )
    whole = torch.autograd.grad(sides.losses(objective).loss_N.square().sum(), wanted)
    for ours, expected in zip(chunked, whole, strict=True):
        torch.testing.assert_close(ours, expected)


def test_tokens_of_weight_zero_and_tiny_weights() -> None:
    sides, objective = Sides(torch.float32), Objective()
    sides.weights[::2] = 0.0
    sides.weights *= 1e-7
    chunked = sides.gradients(sides.losses(objective, chunk_tokens=5).loss_N)
    for ours, expected in zip(
        chunked, sides.gradients(sides.losses(objective).loss_N), strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-12)


class Capped(nn.Linear):
    """A head that is more than a product; its backward pass needs its own output."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that Linear gives it
        return 5 * torch.tanh(super().forward(input) / 5)


@pytest.mark.parametrize("objective", [Objective(), forms()[-1],
    Objective(support="student_topk", k=K, normalisation="renormalised")], ids=said)  # fmt: skip
def test_a_head_that_is_more_than_a_product(objective: Objective) -> None:
    sides = Sides()
    capped = Capped(H, VOCABULARY, dtype=torch.float64)
    capped.load_state_dict(sides.student_head.state_dict())
    sides.student_head = capped
    whole, chunked = sides.losses(objective), sides.losses(objective, chunk_tokens=5)
    torch.testing.assert_close(chunked.loss_N, whole.loss_N)
    for ours, expected in zip(
        sides.gradients(chunked.loss_N), sides.gradients(whole.loss_N), strict=True
    ):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("objective", [Objective(),
    Objective(support="student_topk", k=K, normalisation="renormalised")], ids=said)  # fmt: skip
def test_a_head_tied_to_the_embedding_adds_both_gradients(objective: Objective) -> None:
    sides = Sides(bias=False)
    embedding = nn.Embedding(VOCABULARY, H, dtype=torch.float64)
    embedding.weight = sides.student_head.weight
    found = []
    for chunk_tokens in (None, 5):
        embedding.zero_grad()
        sides.student_hidden = embedding(sides.tokens)
        losses = sides.losses(objective, chunk_tokens=chunk_tokens)
        (sides.weights * losses.loss_N).sum().backward()
        found.append(embedding.weight.grad)
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("objective", forms(), ids=said)
def test_measured_tokens_are_rows_of_the_whole_measurement(objective: Objective) -> None:
    sides, at = Sides(), [0, 3, 4, 11]
    everything = sides.losses(objective)
    for chunk_tokens in (None, 2):
        some = sides.losses(objective, chunk_tokens=chunk_tokens, measured_at=at)
        torch.testing.assert_close(some.loss_N, everything.loss_N)
        assert some.diagnostics.keys() == everything.diagnostics.keys()
        for name, values in everything.diagnostics.items():
            torch.testing.assert_close(some.diagnostics[name], values[at])


@pytest.mark.parametrize("chunk_tokens", [None, 4])
@pytest.mark.parametrize("objective", [Objective(),
    Objective(support="student_topk", k=K, normalisation="renormalised")], ids=said)  # fmt: skip
def test_no_measured_token_gives_every_name_and_no_value(
    objective: Objective, chunk_tokens: int | None
) -> None:
    sides = Sides()
    losses = sides.losses(objective, chunk_tokens=chunk_tokens, measured_at=[])
    assert losses.diagnostics.keys() == sides.losses(objective).diagnostics.keys()
    assert {values.numel() for values in losses.diagnostics.values()} == {0}


@pytest.mark.parametrize("objective", forms(), ids=said)
def test_bfloat16_heads_keep_float32_losses_and_bfloat16_gradients(objective: Objective) -> None:
    sides = Sides(torch.bfloat16)
    chunked = sides.losses(objective, chunk_tokens=5)
    assert chunked.loss_N.dtype == torch.float32
    found = sides.gradients(chunked.loss_N)
    assert {gradient.dtype for gradient in found} == {torch.bfloat16}
    for ours, expected in zip(found, sides.gradients(sides.losses(objective).loss_N), strict=True):
        error = float(
            (ours.double() - expected.double()).norm() / (expected.double().norm() + 1e-3)
        )
        assert error < 0.05


@pytest.mark.parametrize("objective", [Objective(),
    Objective(support="student_topk", k=K, normalisation="renormalised")], ids=said)  # fmt: skip
def test_under_autocast_weights_keep_float32_gradients(objective: Objective) -> None:
    sides = Sides(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = sides.losses(objective, chunk_tokens=5)
    found = sides.gradients(losses.loss_N)
    assert {gradient.dtype for gradient in found} == {torch.float32}
    for ours, expected in zip(found, sides.gradients(sides.losses(objective).loss_N), strict=True):
        assert float((ours - expected).norm() / expected.norm()) < 0.05


def test_a_teacher_equal_to_its_student_has_no_loss_under_bfloat16() -> None:
    sides = Sides(torch.bfloat16)
    objective = Objective(support="student_topk", k=K, normalisation="renormalised")
    losses = token_losses(
        sides.student_hidden, sides.student_head, sides.student_hidden.detach(),
        sides.student_head, sides.tokens, objective, chunk_tokens=5,
    )  # fmt: skip
    assert not losses.loss_N.any()


@pytest.mark.parametrize(
    "objective",
    # an intersection of ids that nan chose may be empty: its loss is 0, chunked or not
    [form for form in forms() if "intersection" not in (form.support, form.missing)],
    ids=said,
)
def test_logits_that_are_not_finite_are_an_error(objective: Objective) -> None:
    sides = Sides()
    sides.student_hidden.data[3] = torch.nan
    with pytest.raises(UndefinedDivergence, match="infinite or undefined at"):
        sides.losses(objective, chunk_tokens=5, diagnostics_k=None)


@given(seed=st.integers(0, 2**16), k=st.integers(1, 19), half=st.booleans())
@settings(max_examples=80, deadline=None)
def test_keys_choose_the_ids_of_top_ids_with_all_their_ties(seed: int, k: int, half: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_NV = torch.randint(-3, 4, (7, 20), generator=generator) / 2 * torch.tensor(-1.0)
    logits_NV[0, ::3] = -0.0
    logits_NV[1, ::3] = -torch.inf
    logits_NV[2] = torch.randn(20, generator=generator)
    logits_NV = logits_NV.to(torch.bfloat16) if half else logits_NV
    ours, expected = by_keys(logits_NV, k), top_ids(logits_NV, k)
    assert torch.equal(ours.sort(dim=-1).values, expected.sort(dim=-1).values)
