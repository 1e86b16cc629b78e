"""Compute the expected gradient of a loss with its reduction, by enumerating every completion.

A loss is compared at one state elsewhere (`study.objectives.landscape`); here the weight that a
reduction gives to a token depends on the whole completion, so whole completions are needed. They
form a tree: a state is a prefix, the logits of each state are free parameters, token `END` ends a
completion and so does the limit of `depth` tokens.

Axes: S states, V vocabulary, R completions, T tokens of a completion, B responses of a batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from study.objectives.diagnostics import cosine
from study.objectives.landscape import Loss

END = 0  # the token that ends a completion
# Spread of the random tree's logits, and the teacher's distance from the student.
SPREAD, TEACHER_SHIFT = 1.0, 1.0
# length of a completion -> weight of each of its tokens, times the number of responses
Weight = Callable[[Tensor], Tensor]


class Tree(NamedTuple):
    """Every completion of one prompt: the states that it visits, the tokens that it writes there,
    and which places are tokens. Logits are float64.
    """

    student_SV: Tensor
    teacher_SV: Tensor
    states_RT: Tensor
    tokens_RT: Tensor
    mask_RT: Tensor


class Bias(NamedTuple):
    """The expected gradient g of a loss compared with that of the full reverse KL, g_full, under
    the same reduction and at the same states.

    cosine: None where g vanishes. error: ||g - g_full|| / ||g_full||. end, full_end: the sum over
    states of the gradient in the logit of END, of g and of g_full; positive = descent makes ending
    rarer.
    """

    cosine: float | None
    error: float
    end: float
    full_end: float


def random_tree(vocabulary: int, depth: int, seed: int) -> Tree:
    """Draw logits of all states: student standard normal times SPREAD, teacher = student + normal
    noise with standard deviation TEACHER_SHIFT.
    """
    paths = _paths(vocabulary, depth)
    prefixes = {path[:place] for path in paths for place in range(len(path))}
    index = {prefix: number for number, prefix in enumerate(sorted(prefixes))}
    generator = torch.Generator().manual_seed(seed)
    shape = (len(index), vocabulary)
    student_SV = SPREAD * torch.randn(shape, generator=generator, dtype=torch.float64)
    noise_SV = TEACHER_SHIFT * torch.randn(shape, generator=generator, dtype=torch.float64)
    states_RT = torch.zeros(len(paths), depth, dtype=torch.long)
    tokens_RT, mask_RT = states_RT.clone(), states_RT.bool()
    for row, path in enumerate(paths):
        states_RT[row, : len(path)] = torch.tensor([index[path[:t]] for t in range(len(path))])
        tokens_RT[row, : len(path)] = torch.tensor(path)
        mask_RT[row, : len(path)] = True
    return Tree(student_SV, student_SV + noise_SV, states_RT, tokens_RT, mask_RT)


def _paths(vocabulary: int, depth: int) -> list[tuple[int, ...]]:
    """Return every completion as its tokens: ended, or of `depth` tokens."""
    open_paths: list[tuple[int, ...]] = [()]
    ended: list[tuple[int, ...]] = []
    for _ in range(depth):
        longer = [(*path, token) for path in open_paths for token in range(vocabulary)]
        ended += [path for path in longer if path[-1] == END]
        open_paths = [path for path in longer if path[-1] != END]
    return ended + open_paths


def probabilities(tree: Tree) -> Tensor:
    """Return the probability of every completion under the student, [R]; they add up to one."""
    logprobs_SV = tree.student_SV.log_softmax(dim=-1)
    written_RT = logprobs_SV[tree.states_RT, tree.tokens_RT]
    return written_RT.where(tree.mask_RT, 0.0).sum(dim=-1).exp()


def response_weight() -> Weight:
    """Return the weight of `response_mean`, 1 / T, at any number of responses."""
    return lambda lengths: 1.0 / lengths.double()


def constant_weight(constant_tokens: int) -> Weight:
    """Return the weight of `constant`, 1 / C."""
    return lambda lengths: torch.full(lengths.shape, 1.0 / constant_tokens, dtype=torch.float64)


def token_weight(lengths: Tensor, probability: Tensor, num_responses: int) -> Weight:
    """Return the expected weight of `token_mean`, E[B / (T + the other B - 1 lengths)], exact for
    independent responses whose lengths have these probabilities.

    The distribution of the sum of the others is a convolution: no batch is enumerated.
    """
    one = torch.zeros(int(lengths.max()) + 1, dtype=torch.float64)
    one.index_add_(0, lengths, probability.double())
    others = torch.ones(1, dtype=torch.float64)  # the sum of no lengths is 0
    for _ in range(num_responses - 1):
        padded = torch.nn.functional.pad(others, (len(one) - 1, len(one) - 1))
        others = (padded.unfold(0, len(one), 1) * one.flip(0)).sum(dim=-1)
    sums = torch.arange(len(others), dtype=torch.float64)

    def weight(lengths: Tensor) -> Tensor:
        per_sum = num_responses / (lengths.double().unsqueeze(-1) + sums)
        return (per_sum * others).sum(dim=-1)

    return weight


def tree_weights(tree: Tree, batches: Sequence[int], constant_tokens: int) -> dict[str, Weight]:
    """Return reduction -> weight: `token_mean` once for each number of responses."""
    lengths_R, probability_R = tree.mask_RT.sum(dim=-1), probabilities(tree)
    by_batch = {
        f"token_mean, B = {number}": token_weight(lengths_R, probability_R, number)
        for number in batches
    }
    return (
        {"response_mean": response_weight()}
        | by_batch
        | {"constant": constant_weight(constant_tokens)}
    )


def expected_gradient(loss: Loss, tree: Tree, weight: Weight) -> Tensor:
    """Return the expected gradient of a batch in the logits of every state, [S, V]: the sum over
    completions of probability * weight * gradient of the tokens' losses. Probabilities and weights
    are held fixed, as in training.
    """
    leaf_SV = tree.student_SV.detach().clone().requires_grad_()
    states_N, tokens_N = tree.states_RT[tree.mask_RT], tree.tokens_RT[tree.mask_RT]
    factor_R = probabilities(tree) * weight(tree.mask_RT.sum(dim=-1))
    factor_N = factor_R.unsqueeze(-1).expand_as(tree.mask_RT)[tree.mask_RT]
    loss_N = loss(leaf_SV[states_N], tree.teacher_SV[states_N], tokens_N, tree.student_SV[states_N])
    return torch.autograd.grad((factor_N * loss_N).sum(), leaf_SV)[0]


def bias(gradient_SV: Tensor, full_SV: Tensor) -> Bias:
    """Compare an expected gradient with that of the full reverse KL."""
    error = float((gradient_SV - full_SV).norm() / full_SV.norm())
    ends = (float(side_SV[:, END].sum()) for side_SV in (gradient_SV, full_SV))
    return Bias(cosine(gradient_SV, full_SV), error, *ends)
