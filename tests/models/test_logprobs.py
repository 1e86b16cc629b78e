"""The chunked driver: the same values and gradients whatever the chunk, never a whole [N, V], heads
of different widths.
"""

import pytest
import torch
from torch import Tensor, nn

from study.errors import SpecError
from study.models import logprobs as driver
from study.models.logprobs import TokenLosses, token_losses
from study.objectives.divergences import logprobs
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective

torch.set_num_threads(1)
N, H, VOCABULARY = 23, 8, 40


class Sides:
    """Hidden states and heads of two models of different hidden sizes."""

    def __init__(self, student_width: int = VOCABULARY, teacher_width: int = VOCABULARY) -> None:
        generator = torch.Generator().manual_seed(0)
        self.student_hidden = torch.randn(
            N, H, generator=generator, dtype=torch.float64
        ).requires_grad_()
        self.teacher_hidden = torch.randn(
            N, H + 3, generator=generator, dtype=torch.float64
        ).requires_grad_()
        self.tokens = torch.randint(min(student_width, teacher_width), (N,), generator=generator)
        self.weights = torch.rand(N, dtype=torch.float64, generator=generator) + 0.5
        self.student_head = head(H, student_width, generator)
        self.teacher_head = head(H + 3, teacher_width, generator)

    def losses(self, objective: Objective, **options) -> TokenLosses:
        return token_losses(
            self.student_hidden,
            self.student_head,
            self.teacher_hidden,
            self.teacher_head,
            self.tokens,
            objective,
            **{"weights_N": self.weights} | options,
        )

    def gradients(self, loss_N: Tensor) -> tuple[Tensor, Tensor]:
        return torch.autograd.grad(
            3 * (self.weights * loss_N).sum(), (self.student_hidden, self.student_head.weight)
        )


def head(hidden: int, width: int, generator: torch.Generator) -> nn.Linear:
    linear = nn.Linear(hidden, width, bias=False, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(width, hidden, generator=generator, dtype=torch.float64))
    return linear


def make(name: str) -> Objective:
    fields, _ = PRESETS[name]
    return Objective(**fields, **({"k": 4} if fields.get("support") in TOPK_SUPPORTS else {}))


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("chunk_tokens", [1, 5, 22])
def test_the_chunk_changes_neither_value_nor_gradient_nor_diagnostics(
    name: str, chunk_tokens: int
) -> None:
    sides = Sides()
    whole, chunked = sides.losses(make(name)), sides.losses(make(name), chunk_tokens=chunk_tokens)
    torch.testing.assert_close(chunked.loss_N, whole.loss_N)
    assert chunked.diagnostics.keys() == whole.diagnostics.keys()
    for key, values in whole.diagnostics.items():
        torch.testing.assert_close(chunked.diagnostics[key], values)
    for ours, expected in zip(
        sides.gradients(chunked.loss_N), sides.gradients(whole.loss_N), strict=True
    ):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_frozen_head_changes_no_gradient_and_needs_few_products(name: str) -> None:
    """Any upstream gradient may come: a token's own gradient is known."""
    sides, objective = Sides(), make(name)
    sides.student_head.requires_grad_(False)
    expected = square_gradient(sides, sides.losses(objective).loss_N)
    with Products() as taken:
        losses = sides.losses(objective, chunk_tokens=5, diagnostics_k=None)
        ours = square_gradient(sides, losses.loss_N)
    torch.testing.assert_close(ours, expected)
    assert taken.count == products(objective) * -(-N // 5)


class Products(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts matrix products with a factor or a result that is as wide as the vocabulary."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            shapes = [x.shape for x in (*args, result) if isinstance(x, Tensor)]
            self.count += any(VOCABULARY in shape for shape in shapes)
        return result


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_trained_head_is_one_product_more_and_none_for_a_sparse_form(name: str) -> None:
    sides, objective = Sides(), make(name)
    with Products() as taken:
        sides.gradients(sides.losses(objective, chunk_tokens=5, diagnostics_k=None).loss_N)
    more = objective.normalisation != "renormalised"
    assert taken.count == (products(objective) + more) * -(-N // 5)


def square_gradient(sides: Sides, loss_N: Tensor) -> Tensor:
    return torch.autograd.grad(loss_N.square().sum(), sides.student_hidden)[0]


def products(objective: Objective) -> int:
    """Products of [N, H] with [H, V] that a form needs with a frozen head."""
    if objective.normalisation == "renormalised":
        return 2 if objective.support in ("intersection", "union") else 1
    return 2 if objective.advantage is not None else 3


def test_without_gradients_a_chunk_is_only_computed() -> None:
    sides = Sides()
    sides.student_head.requires_grad_(False)
    with torch.no_grad():
        losses = sides.losses(make("topk_biased"), chunk_tokens=5)
    assert not losses.loss_N.requires_grad


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "full_reverse_kl",
        "topk_stop_gradient",
        "topk_tail_bucket",
        "sampled_policy_gradient",
        "topk_renormalised",
        "intersection_renormalised",
    ],
)
def test_no_tensor_of_all_tokens_and_the_vocabulary_is_ever_made_or_kept(
    name: str, frozen: bool
) -> None:
    """Spies on the heads' outputs, on every tensor that autograd keeps, and on every allocation of
    the forward and backward pass.
    """
    sides, chunk, rows, kept = Sides(), 5, [], []
    sides.student_head.requires_grad_(not frozen)
    wanted = [sides.student_hidden] if frozen else [sides.student_hidden, sides.student_head.weight]
    for module in (sides.student_head, sides.teacher_head):
        module.register_forward_hook(lambda _module, _inputs, logits: rows.append(logits.shape[0]))
    largest = LargestResult()
    with (
        largest,
        torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
        ),
    ):
        losses = sides.losses(make(name), chunk_tokens=chunk)
        stored = max(kept)
        torch.autograd.grad((sides.weights * losses.loss_N).sum(), wanted)
    assert max(rows) == chunk
    assert stored <= max(
        VOCABULARY * (H + 3), N * (H + 3)
    )  # weights and hidden states; no logits wait for the backward pass
    assert largest.elements <= max(
        2 * chunk * VOCABULARY, VOCABULARY * (H + 3), 4 * N * H
    )  # 2: a few kernels work on both halves of a pair; 4: K rows of the head for each token
    assert largest.elements < N * VOCABULARY


class LargestResult(torch.utils._python_dispatch.TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("name", ["topk_biased", "topk_renormalised", "full_jsd"])
def test_the_logits_of_a_trained_head_are_computed_once(name: str) -> None:
    sides, calls = Sides(), []
    sides.student_head.register_forward_hook(
        lambda _module, _inputs, logits: calls.append(logits.shape[0])
    )
    sides.gradients(sides.losses(make(name)).loss_N)
    assert calls == [N]
    calls.clear()
    sides.gradients(sides.losses(make(name), chunk_tokens=12).loss_N)
    assert calls == [12, 11]


def test_the_default_chunk_bounds_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    sides, rows = Sides(), []
    sides.student_head.register_forward_hook(
        lambda _module, _inputs, logits: rows.append(logits.shape[0])
    )
    monkeypatch.setattr(driver, "CHUNK_LOGITS", 7 * VOCABULARY + 1)
    sides.losses(make("full_reverse_kl"))
    assert rows == [7, 7, 7, 2]


def test_the_teacher_gets_no_gradient_and_diagnostics_carry_none() -> None:
    sides = Sides()
    losses = sides.losses(make("full_reverse_kl"), chunk_tokens=9, weights_N=None)
    losses.loss_N.sum().backward()
    assert sides.teacher_hidden.grad is None
    assert sides.teacher_head.weight.grad is None
    assert not any(values.requires_grad for values in losses.diagnostics.values())


@pytest.mark.parametrize(
    ("student_width", "teacher_width"), [(VOCABULARY, VOCABULARY + 9), (VOCABULARY + 9, VOCABULARY)]
)
@pytest.mark.parametrize(
    "name",
    [
        "full_reverse_kl",
        "topk_biased",
        "topk_tail_bucket",
        "sampled_policy_gradient",
        "topk_renormalised",
        "teacher_topk_renormalised",
    ],
)
def test_a_wider_head_is_cut_to_the_shared_ids_and_its_lost_mass_is_recorded(
    name: str, student_width: int, teacher_width: int
) -> None:
    sides = Sides(student_width, teacher_width)
    losses = sides.losses(make(name), chunk_tokens=6, weights_N=None)
    cut = Sides(student_width, teacher_width)
    for module in (cut.student_head, cut.teacher_head):
        module.weight.data = module.weight.data[:VOCABULARY]
    torch.testing.assert_close(losses.loss_N, cut.losses(make(name)).loss_N)
    (padding,) = torch.autograd.grad(losses.loss_N.sum(), sides.student_head.weight)
    assert not padding[VOCABULARY:].any()
    teacher_logits = sides.teacher_head(sides.teacher_hidden)
    lost = teacher_logits.softmax(-1)[:, VOCABULARY:].sum(-1)
    torch.testing.assert_close(losses.diagnostics["teacher_cut_mass"], lost)


def test_diagnostics_from_the_definition() -> None:
    sides = Sides()
    measured = sides.losses(make("full_forward_kl"), diagnostics_k=6).diagnostics
    p, q = (
        sides.student_head(sides.student_hidden).softmax(-1),
        sides.teacher_head(sides.teacher_hidden).softmax(-1),
    )
    ours, theirs = p.topk(6).indices, q.topk(6).indices
    written = sides.tokens[:, None]
    expected = {
        "reverse_kl": (p * (p / q).log()).sum(-1),
        "student_entropy": -(p * p.log()).sum(-1),
        "teacher_entropy": -(q * q.log()).sum(-1),
        "student_topk_mass": p.gather(1, ours).sum(-1),
        "teacher_topk_mass": q.gather(1, ours).sum(-1),
        "topk_overlap": torch.tensor(
            [len(set(a) & set(b)) / 6 for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
        ),
        "log_ratio": (q.gather(1, written) / p.gather(1, written)).log()[:, 0],
        "student_logprob": p.gather(1, written).log()[:, 0],
        "teacher_cut_mass": torch.zeros(N),
        "support_size": torch.full((N,), VOCABULARY),
    }
    assert measured.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(
            measured[name].double(),
            values.double().detach(),
            msg=lambda text, n=name: f"{n}: {text}",
        )


def test_the_objectives_temperature_divides_both_sides_and_not_the_diagnostics() -> None:
    sides = Sides()
    losses = sides.losses(Objective(temperature=2.0))
    p, q = (
        logprobs(logits / 2)
        for logits in (
            sides.student_head(sides.student_hidden),
            sides.teacher_head(sides.teacher_hidden),
        )
    )
    torch.testing.assert_close(losses.loss_N, (p.exp() * (p - q)).sum(-1))
    torch.testing.assert_close(
        losses.diagnostics["reverse_kl"], sides.losses(Objective()).loss_N.detach()
    )


def test_no_diagnostics_when_none_are_asked_for_and_no_tokens_is_no_error() -> None:
    sides = Sides()
    assert sides.losses(Objective(), diagnostics_k=None).diagnostics == {}
    nothing = token_losses(
        sides.student_hidden[:0],
        sides.student_head,
        sides.teacher_hidden[:0],
        sides.teacher_head,
        sides.tokens[:0],
        make("topk_biased"),
    )
    assert nothing.loss_N.shape == (0,)


def test_bfloat16_weights_give_float32_losses() -> None:
    sides = Sides()
    half = [module.bfloat16() for module in (sides.student_head, sides.teacher_head)]
    losses = token_losses(
        sides.student_hidden.bfloat16(),
        half[0],
        sides.teacher_hidden.bfloat16(),
        half[1],
        sides.tokens,
        make("topk_stop_gradient"),
    )
    assert losses.loss_N.dtype == torch.float32
    assert all(
        values.dtype in (torch.float32, torch.int64) for values in losses.diagnostics.values()
    )


def test_k_of_the_diagnostics_larger_than_the_vocabulary_is_a_users_error() -> None:
    with pytest.raises(SpecError, match="larger than the vocabulary"):
        Sides().losses(Objective(), diagnostics_k=VOCABULARY + 1)
