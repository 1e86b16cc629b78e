"""Reduce per-token losses to a scalar, in one place.

Axes: B responses, T completion tokens. Denominators are global counts given by the caller (the
whole optimiser step, over all micro-batches and devices), so that the sum over micro-batches is the
reduction of the step whatever its split.

Every reduction is sum_bt w_b values_bt; they differ in the weight w_b, with T_b the length of
response b, B the number of responses and C a number fixed before any token is drawn:

    response_mean    w_b = 1 / (B T_b)
    token_mean       w_b = 1 / sum_b' T_b'
    constant         w_b = 1 / (B C)

A loss that is a function of the state (every form but the sampled one) has, under each of them, the
gradient of its own definition at the visited states: the weight multiplies both. A sampled token's
loss does not: it is an estimate over the token y, and in the first two the weight depends on y. A
token that ends the response makes T_b small. With W(s, y) the expected weight given state s and
token y, and g(y) the token's gradient, the expected gradient at s is off by Cov_y(W(s, y), g(y)):

    response_mean    biased, at any number of responses
    token_mean       biased, falling as 1 / B (equal to response_mean at B = 1)
    constant         unbiased: W does not depend on y

`study.objectives.expectation` computes these by enumeration; tests/objectives/test_expectation.py
checks it against sums over all batches.

Scale: at equal lengths T the three gradients are in the ratio 1 : 1 : T / C. With C the completion
limit, constant has a smaller gradient than the others, by the mean length over C. Adam's step does
not depend on a constant factor; `max_grad_norm` (clipping) and weight decay do.
"""

from torch import Tensor


def response_mean(values_BT: Tensor, mask_BT: Tensor, num_responses: int | Tensor) -> Tensor:
    """Return (1 / num_responses) sum_b (1 / T_b) sum_t values_bt: mean over a response, then over
    responses (paper Eq. 1).

    Every response weighs the same, a token of a long one less. A response without tokens adds
    nothing but counts in num_responses.
    """
    lengths_B = mask_BT.sum(dim=-1).clamp(min=1)
    return (_masked(values_BT, mask_BT).sum(dim=-1) / lengths_B).sum() / num_responses


def token_mean(values_BT: Tensor, mask_BT: Tensor, num_tokens: int | Tensor) -> Tensor:
    """Return (1 / num_tokens) sum_bt values_bt: every token weighs the same, a long response more
    (as in TRL).
    """
    return _masked(values_BT, mask_BT).sum() / num_tokens


def constant(
    values_BT: Tensor, mask_BT: Tensor, num_responses: int | Tensor, constant_tokens: int
) -> Tensor:
    """Return (1 / (num_responses * C)) sum_bt values_bt with C = constant_tokens: a sum over a
    response's tokens with one weight for all, whatever was drawn.

    As in Dr. GRPO (2503.20783), where C is the limit of a completion.
    """
    return _masked(values_BT, mask_BT).sum() / (num_responses * constant_tokens)


def _masked(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Set values to zero outside the mask. `where`, not a product: 0 * inf is nan, and a padded
    position may hold anything.
    """
    return values_BT.where(mask_BT.bool(), 0.0)
