"""Every identity of the sampled losses with its reduction, on trees of completions that are small
enough to enumerate, in float64.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from study.models.loss import bind
from study.models.loss_table import as_loss
from study.objectives.divergences import logprobs, reverse_kl
from study.objectives.expectation import (
    END,
    Tree,
    bias,
    constant_weight,
    expected_gradient,
    probabilities,
    random_tree,
    response_weight,
    token_weight,
    tree_weights,
)
from study.objectives.reductions import constant, response_mean, token_mean
from study.spec.recipe.objective import PRESETS, Objective
from tests import reference

torch.set_num_threads(1)

VOCABULARY, LIMIT, C = 3, 3, 5
SCORE = Objective(support="sampled", gradient="score_function")
PLAIN = Objective(support="sampled")
ADVANTAGE = Objective(support="sampled", gradient="score_function", advantage=2.5)
SAMPLED = {"score_function": SCORE, "plain": PLAIN, "constant_advantage": ADVANTAGE}


@pytest.fixture(scope="module")
def tree() -> Tree:
    return random_tree(VOCABULARY, LIMIT, seed=0)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def gradient(objective: Objective, tree: Tree, weight) -> Tensor:
    return expected_gradient(as_loss(objective), tree, weight)


def prefixes(tree: Tree) -> dict[tuple[int, ...], int]:
    """Prefix -> its row of the logits."""
    rows = zip(
        tree.states_RT.tolist(), tree.tokens_RT.tolist(), tree.mask_RT.sum(-1).tolist(), strict=True
    )
    return {
        tuple(written[:place]): states[place]
        for states, written, length in rows
        for place in range(length)
    }


def test_a_tree_holds_every_completion_once(tree: Tree) -> None:
    assert probabilities(tree).sum().item() == pytest.approx(1.0, abs=1e-14)
    student = {prefix: tree.student_SV[row].tolist() for prefix, row in prefixes(tree).items()}
    assert len(student) == len(tree.student_SV) == 1 + 2 + 4
    slow = dict(reference.completions(student, LIMIT))
    written = [
        tuple(row[:length])
        for row, length in zip(tree.tokens_RT.tolist(), tree.mask_RT.sum(-1).tolist(), strict=True)
    ]
    assert sorted(written) == sorted(slow)
    fast = dict(zip(written, probabilities(tree).tolist(), strict=True))
    assert fast == pytest.approx(slow, abs=1e-14)
    assert all(END not in path[:-1] for path in written)


@pytest.mark.parametrize("form", [*SAMPLED, "full"])
@pytest.mark.parametrize(
    ("reduction", "number"),
    [
        ("response_mean", 1),
        ("response_mean", 2),
        ("token_mean", 1),
        ("token_mean", 2),
        ("constant", 1),
        ("constant", 2),
    ],
)
def test_the_expected_gradient_is_the_mean_over_every_batch(
    form: str, reduction: str, number: int, tree: Tree
) -> None:
    """Against plain Python: every batch of one or two completions, weights from the definitions,
    gradients by differences.
    """
    objective = (SAMPLED | {"full": Objective()})[form].model_copy(update={"reduction": reduction})
    sides = [
        {prefix: side[row].tolist() for prefix, row in prefixes(tree).items()}
        for side in (tree.student_SV, tree.teacher_SV)
    ]
    slow = reference.expected_gradient(objective, sides[0], sides[1], LIMIT, number, C)
    expected_SV = torch.zeros_like(tree.student_SV)
    for prefix, row in prefixes(tree).items():
        expected_SV[row] = torch.tensor(slow[prefix], dtype=torch.float64)
    name = f"token_mean, B = {number}" if reduction == "token_mean" else reduction
    found_SV = gradient(objective, tree, tree_weights(tree, (number,), C)[name])
    torch.testing.assert_close(found_SV, expected_SV, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("number", [1, 2, 8])
def test_the_weight_of_token_mean_is_the_mean_over_the_other_lengths(number: int) -> None:
    """B = 8: 3^7 batches of other lengths, one at a time."""
    lengths, probability = torch.tensor([1, 2, 5]), torch.tensor([0.5, 0.3, 0.2])
    chances = dict(zip(lengths.tolist(), probability.double().tolist(), strict=True))
    found = token_weight(lengths, probability, number)(torch.tensor([1, 4]))
    for length, weight in zip((1, 4), found.tolist(), strict=True):
        slow = math.fsum(
            math.prod(chances[other] for other in others) * number / (length + sum(others))
            for others in itertools.product(chances, repeat=number - 1)
        )
        assert weight == pytest.approx(slow, abs=1e-14)


@pytest.mark.parametrize("reduction", ["response_mean", "token_mean", "constant"])
def test_the_reductions_of_training_give_the_same_mean(reduction: str, tree: Tree) -> None:
    """`study.objectives.reductions` itself on each of the batches of two, weighed by its
    probability.
    """
    probability_R = probabilities(tree)
    leaf_SV = tree.student_SV.clone().requires_grad_()
    values_RT = bind(SCORE)(
        leaf_SV[tree.states_RT].flatten(0, 1),
        tree.teacher_SV[tree.states_RT].flatten(0, 1),
        tree.tokens_RT.flatten(),
    ).loss_N.view_as(tree.tokens_RT)
    total = torch.zeros((), dtype=torch.float64)
    for a, b in itertools.product(range(len(probability_R)), repeat=2):
        values_BT, mask_BT = values_RT[[a, b]], tree.mask_RT[[a, b]]
        if reduction == "constant":
            loss = constant(values_BT, mask_BT, 2, C)
        elif reduction == "token_mean":
            loss = token_mean(values_BT, mask_BT, int(mask_BT.sum()))
        else:
            loss = response_mean(values_BT, mask_BT, 2)
        total = total + probability_R[a] * probability_R[b] * loss
    name = "token_mean, B = 2" if reduction == "token_mean" else reduction
    weight = tree_weights(tree, (2,), C)[name]
    close(gradient(SCORE, tree, weight), torch.autograd.grad(total, leaf_SV)[0])


def visits(tree: Tree, weight) -> tuple[Tensor, Tensor]:
    """d(s) W(s, y), [S, V], and d(s) W(s), [S], one completion at a time."""
    logprobs_SV = logprobs(tree.student_SV)
    drawn_SV = torch.zeros_like(tree.student_SV)
    for row, probability in enumerate(probabilities(tree).tolist()):
        length = int(tree.mask_RT[row].sum())
        for state, token in zip(
            tree.states_RT[row, :length].tolist(),
            tree.tokens_RT[row, :length].tolist(),
            strict=True,
        ):
            drawn_SV[state, token] += probability * float(weight(torch.tensor([length])))
    return drawn_SV / logprobs_SV.exp(), drawn_SV.sum(dim=-1)


@pytest.mark.parametrize(
    "name", ["full_reverse_kl", "full_forward_kl", "topk_biased", "topk_renormalised"]
)
def test_a_loss_of_the_state_has_the_gradient_of_its_definition_under_every_reduction(
    name: str, tree: Tree
) -> None:
    """sum_s d(s) W(s) grad loss_s: the reduction decides what a state weighs, and biases
    nothing.
    """
    truncated = {"k": 2} if name.startswith("topk") else {}
    objective = Objective.model_validate(PRESETS[name][0] | truncated)
    leaf_SV = tree.student_SV.clone().requires_grad_()
    loss_S = bind(objective)(
        leaf_SV, tree.teacher_SV, torch.zeros(len(leaf_SV), dtype=torch.long)
    ).loss_N
    for weight in tree_weights(tree, (1, 2, 8), C).values():
        _, weight_S = visits(tree, weight)
        (own_SV,) = torch.autograd.grad((weight_S * loss_S).sum(), leaf_SV, retain_graph=True)
        close(gradient(objective, tree, weight), own_SV)


def test_constant_is_unbiased_for_the_reverse_kl_at_the_visited_states(tree: Tree) -> None:
    weight = constant_weight(C)
    full_SV = gradient(Objective(), tree, weight)
    close(gradient(SCORE, tree, weight), full_SV)
    # and the definition itself: (1 / C) sum_s d(s) grad KL_s
    visited_S = visits(tree, lambda lengths: torch.ones(lengths.shape))[1]
    leaf_SV = tree.student_SV.clone().requires_grad_()
    kl_S = reverse_kl(logprobs(leaf_SV), logprobs(tree.teacher_SV))
    close(full_SV, torch.autograd.grad((visited_S * kl_S).sum() / C, leaf_SV)[0])


@pytest.mark.parametrize("name", ["response_mean", "token_mean, B = 1", "token_mean, B = 8"])
def test_the_bias_of_the_score_function_is_a_covariance(name: str, tree: Tree) -> None:
    """In logits: p_j [W_j r_j - W KL'] with every term a mean over y, minus W times the full
    gradient.
    """
    weight = tree_weights(tree, (1, 8), C)[name]
    drawn_SV, weight_S = visits(tree, weight)
    p_SV = logprobs(tree.student_SV).exp()
    r_SV = logprobs(tree.student_SV) - logprobs(tree.teacher_SV)
    excess_SV = (drawn_SV - weight_S.unsqueeze(-1)) * r_SV
    covariance_SV = p_SV * (excess_SV - (p_SV * excess_SV).sum(dim=-1, keepdim=True))
    found_SV = gradient(SCORE, tree, weight) - gradient(Objective(), tree, weight)
    close(found_SV, covariance_SV)
    assert found_SV.norm() > 1e-3 * gradient(Objective(), tree, weight).norm()


def test_the_bias_of_token_mean_falls_as_one_over_the_batch(tree: Tree) -> None:
    sizes = (1, 2, 8, 16, 32, 64)
    full = Objective()
    errors = {
        name: bias(gradient(SCORE, tree, weight), gradient(full, tree, weight)).error
        for name, weight in tree_weights(tree, sizes, C).items()
    }
    assert errors["token_mean, B = 1"] == pytest.approx(errors["response_mean"], rel=1e-12)
    series = [errors[f"token_mean, B = {size}"] for size in sizes]
    assert all(a > b for a, b in itertools.pairwise(series))
    for smaller, larger in itertools.pairwise(series[2:]):
        assert smaller / larger == pytest.approx(2.0, abs=0.1)
    assert errors["constant"] < 1e-14


def mean_of(tree: Tree, value, number: int = 1) -> Tensor:
    """grad E[value(lengths of a batch)] through the probabilities of the completions, [S, V]."""
    leaf_SV = tree.student_SV.clone().requires_grad_()
    probability_R = probabilities(tree._replace(student_SV=leaf_SV))
    lengths = tree.mask_RT.sum(dim=-1).tolist()
    expectation = sum(
        product([probability_R[row] for row in rows]) * value([lengths[row] for row in rows])
        for rows in itertools.product(range(len(lengths)), repeat=number)
    )
    return torch.autograd.grad(expectation, leaf_SV)[0]  # type: ignore[arg-type]


def product(factors: list[Tensor]) -> Tensor:
    return torch.stack(factors).prod()


def test_losses_without_a_teacher_have_the_gradient_of_the_mean_weight(tree: Tree) -> None:
    """plain: constant 0, response_mean grad E[1/T], token_mean grad E[1/sum T]; a constant
    advantage: -A times that.
    """
    weights = tree_weights(tree, (2,), C)
    expected = {
        "response_mean": mean_of(tree, lambda lengths: 1 / lengths[0]),
        "token_mean, B = 2": mean_of(tree, lambda lengths: 1 / sum(lengths), number=2),
        "constant": torch.zeros_like(tree.student_SV),
    }
    for name, expected_SV in expected.items():
        close(gradient(PLAIN, tree, weights[name]), expected_SV)
        close(gradient(ADVANTAGE, tree, weights[name]), -2.5 * expected_SV)
    assert expected["response_mean"].norm() > 0.01
    # descent on plain makes ending rarer, a positive advantage makes it likelier
    assert gradient(PLAIN, tree, weights["response_mean"])[:, END].sum() > 0
    assert gradient(ADVANTAGE, tree, weights["response_mean"])[:, END].sum() < 0


def test_a_teacher_equal_to_the_student_shows_none_of_it(tree: Tree) -> None:
    """r = 0 at every token: the constant advantage is the placebo instead."""
    same = tree._replace(teacher_SV=tree.student_SV)
    zero_SV = torch.zeros_like(tree.student_SV)
    close(gradient(SCORE, same, response_weight()), zero_SV)
    assert gradient(ADVANTAGE, same, response_weight()).norm() > 0.01


def test_a_baseline_is_no_repair() -> None:
    """Unbiased where the score function is; elsewhere a bias remains, and on some trees the
    direction is worse.
    """

    def baseline(student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor, _: Tensor) -> Tensor:
        log_p, log_q = logprobs(student_NV), logprobs(teacher_NV)
        r_N = (log_p - log_q).gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1)
        advantage_N = (r_N - reverse_kl(log_p, log_q)).detach()
        return advantage_N * log_p.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1)

    worse = 0
    for seed in range(20):
        random = random_tree(4, 4, seed)
        for weight in (response_weight(), constant_weight(C)):
            full_SV = gradient(Objective(), random, weight)
            without = bias(gradient(SCORE, random, weight), full_SV)
            repaired = bias(expected_gradient(baseline, random, weight), full_SV)
            assert without.cosine is not None
            assert repaired.cosine is not None
            if float(weight(torch.tensor([1]))) == float(weight(torch.tensor([2]))):
                assert repaired.error < 1e-12
            else:
                assert repaired.error > 0.01
                worse += repaired.cosine < without.cosine
    assert worse >= 5


def stopping_state(reduce) -> float:
    """The expected gradient in the logit of END at one state, where p is .5 on ending after 22
    tokens and .5 on going on to 96, and q is 1e-6 on both.
    """
    student = torch.tensor([0.0, 0.0, -200.0], dtype=torch.float64).requires_grad_()
    teacher = torch.tensor([1e-6, 1e-6, 1 - 2e-6], dtype=torch.float64).log()
    values_N = bind(SCORE)(student.expand(2, 3), teacher.expand(2, 3), torch.tensor([0, 1])).loss_N
    # elsewhere teacher and student agree: those tokens have no loss, and count in the lengths
    values_BT = torch.zeros(2, 96, dtype=torch.float64)
    values_BT = values_BT.index_put((torch.tensor([0, 1]), torch.tensor([21, 21])), values_N)
    mask_BT = torch.arange(96) < torch.tensor([[22], [96]])
    return float(torch.autograd.grad(reduce(values_BT, mask_BT), student)[0][END])


def test_stopping_is_unlearned_although_the_full_divergence_does_not_ask_for_it() -> None:
    """p (1 - p) R (1/n - 1/m) with n 22, m 96 and R = log(.5 / 1e-6) = 13.1: .1149."""
    ratio = math.log(0.5 / 1e-6)
    predicted = 0.25 * ratio * (1 / 22 - 1 / 96)
    assert predicted == pytest.approx(0.114945, abs=1e-6)
    # both completions have probability 1/2, so the mean over two responses is the expectation
    found = stopping_state(lambda values, mask: response_mean(values, mask, 2))
    assert found == pytest.approx(predicted, rel=1e-9)
    fixed = stopping_state(lambda values, mask: constant(values, mask, 2, 96))
    assert fixed == pytest.approx(0.0, abs=1e-12)
    weight = token_weight(torch.tensor([22, 96]), torch.tensor([0.5, 0.5]), 64)

    def in_a_batch(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
        weights_B = 0.5 * weight(mask_BT.sum(dim=-1))
        return (weights_B * values_BT.sum(dim=-1)).sum()

    # 64 responses: exactly, by the number of the other 63 that end; and to leading order in 1/64
    exact = math.fsum(
        math.comb(63, ends)
        / 2**63
        * 64
        * (1 / (22 + 22 * ends + 96 * (63 - ends)) - 1 / (96 + 22 * ends + 96 * (63 - ends)))
        for ends in range(64)
    )
    assert stopping_state(in_a_batch) == pytest.approx(0.25 * ratio * exact, rel=1e-9)
    assert stopping_state(in_a_batch) == pytest.approx(0.001110, abs=1e-6)
    leading = 0.25 * ratio * (96 - 22) / (64 * 59**2)
    assert leading == pytest.approx(0.001090, abs=1e-6)
    full = torch.zeros(3, dtype=torch.float64)
    full[2] = -200.0
    full.requires_grad_()
    teacher = torch.tensor([1e-6, 1e-6, 1 - 2e-6], dtype=torch.float64).log()
    loss = bind(Objective())(full[None], teacher[None], torch.tensor([0])).loss_N.sum()
    assert float(torch.autograd.grad(loss, full)[0][END]) == pytest.approx(0.0, abs=1e-12)
