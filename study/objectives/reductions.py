"""Reduce per-token losses to a scalar, in one place.

Axes: B responses, T completion tokens. Denominators are global counts given by the caller (the
whole optimiser step, over all micro-batches and devices), so that the sum over micro-batches is the
reduction of the step whatever its split.
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


def _masked(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Set values to zero outside the mask. `where`, not a product: 0 * inf is nan, and a padded
    position may hold anything.
    """
    return values_BT.where(mask_BT.bool(), 0.0)
