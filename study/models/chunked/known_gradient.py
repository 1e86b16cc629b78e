"""Attach a gradient that is known already to the losses of tokens.

Axes: N tokens, H hidden size, V rows of the head, K tokens of a support.

The gradient in the hidden states is known token by token, so any upstream gradient may come. A
head has one gradient for all tokens: it is known as sum_n w_n g_n for weights w given beforehand,
or (K-sparse) as the K entries of every token, which any upstream gradient may weigh.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from study.errors import StudyError

# An upstream gradient may differ from weights times one scalar by this share: float32 rounding.
SAME = 1e-4


class UnknownUpstream(StudyError):
    """A backward pass that weighs the tokens otherwise than was said with the losses."""


class HeadGradient(NamedTuple):
    """The gradient of sum_n weights_N loss_N in a head's parameters, one tensor per parameter."""

    weights_N: Tensor
    parameters: Sequence[nn.Parameter]
    gradients: Sequence[Tensor]


class Entries(NamedTuple):
    """The gradient in K logits of every token: entries_NK at ids_NK, and zero elsewhere.

    A token's gradient in row v of the head is its entry at v times its hidden state.
    """

    ids_NK: Tensor
    entries_NK: Tensor


def with_gradient(
    hidden_NH: Tensor, loss_N: Tensor, gradient_NH: Tensor, head: HeadGradient | None = None
) -> Tensor:
    """Return loss_N with the gradient gradient_NH in the hidden states, and that of the head.

    The backward pass raises `UnknownUpstream` where the head is trained and the upstream gradient
    is not its weights times one scalar.
    """
    if head is None:
        return _OfTokens.apply(hidden_NH, loss_N, gradient_NH)
    return _Weighted.apply(
        hidden_NH, loss_N, gradient_NH, head.weights_N, list(head.gradients), *head.parameters
    )


def with_entries(
    hidden_NH: Tensor, loss_N: Tensor, gradient_NH: Tensor, entries: Entries, head: nn.Linear
) -> Tensor:
    """Return loss_N with the gradient gradient_NH in the hidden states and K-sparse in the head."""
    return _Sparse.apply(hidden_NH, loss_N, gradient_NH, *entries, head.weight, head.bias)


class _OfTokens(torch.autograd.Function):
    """Row n of the hidden states moves the loss of token n alone."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,  # noqa: ARG004 - its gradient is needed
        loss_N: Tensor,
        gradient_NH: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(gradient_NH)
        return loss_N.clone()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Tensor
    ) -> tuple[Tensor, None, None]:
        (gradient_NH,) = ctx.saved_tensors
        return _scaled(gradient_NH, upstream[0]), None, None


class _Weighted(torch.autograd.Function):
    """As `_OfTokens`, with a head whose gradient is known for given weights of the tokens."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, loss_N: Tensor, gradient_NH: Tensor, weights_N: Tensor,
        gradients: list[Tensor], *parameters: Tensor,
    ) -> Tensor:  # fmt: skip
        del hidden_NH, parameters  # arguments, so that autograd asks for their gradients
        ctx.save_for_backward(gradient_NH, weights_N)
        ctx.gradients = gradients
        return loss_N.clone()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Tensor
    ) -> tuple[Tensor | None, ...]:
        gradient_NH, weights_N = ctx.saved_tensors
        scale = _one_scalar(upstream[0], weights_N)
        if ctx.gradients is None:
            raise UnknownUpstream(
                "the gradient of a trained head was used up by an earlier backward pass",
                hint="compute the losses again before a second backward pass",
            )
        # In place: a copy would be as large as the head.
        gradients = [gradient.mul_(scale.to(gradient.dtype)) for gradient in ctx.gradients]
        ctx.gradients = None
        return _scaled(gradient_NH, upstream[0]), None, None, None, None, *gradients


class _Sparse(torch.autograd.Function):
    """As `_OfTokens`, with a head of which every token moves K rows."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, loss_N: Tensor, gradient_NH: Tensor, ids_NK: Tensor,
        entries_NK: Tensor, weight_VH: Tensor, bias_V: Tensor | None,
    ) -> Tensor:  # fmt: skip
        # The head's own rows are not needed again: gradient_NH holds what they give.
        ctx.save_for_backward(hidden_NH, gradient_NH, ids_NK, entries_NK)
        ctx.weight_options = {
            "size": weight_VH.shape, "dtype": weight_VH.dtype, "device": weight_VH.device,
        }  # fmt: skip
        ctx.bias_dtype = None if bias_V is None else bias_V.dtype
        return loss_N.clone()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Tensor
    ) -> tuple[Tensor | None, ...]:
        hidden_NH, gradient_NH, ids_NK, entries_NK = ctx.saved_tensors
        weighted_NK = entries_NK * upstream[0].unsqueeze(-1)
        weight_VH = bias_V = None
        if ctx.needs_input_grad[5]:
            weight_VH = torch.zeros(**ctx.weight_options)
            _add_rows(weight_VH, ids_NK, weighted_NK, hidden_NH)
        if ctx.needs_input_grad[6]:
            options = ctx.weight_options
            bias_V = torch.zeros(options["size"][0], dtype=ctx.bias_dtype, device=options["device"])
            bias_V.index_add_(0, ids_NK.flatten(), weighted_NK.flatten().to(bias_V.dtype))
        return _scaled(gradient_NH, upstream[0]), None, None, None, None, weight_VH, bias_V


# Numbers of one [tokens, K, H] block of rows: 2**19 float32 are 2 MB, so blocks stay in the cache.
BLOCK = 2**19


def tokens_per_block(num_ids: int, hidden: int) -> int:
    """Return for how many tokens at once K rows of a head are gathered."""
    return max(1, BLOCK // (num_ids * hidden))


def _add_rows(weight_VH: Tensor, ids_NK: Tensor, values_NK: Tensor, hidden_NH: Tensor) -> None:
    """Add values_nk hidden_n to row ids_nk. (On CUDA `index_add_` adds in any order, unless
    `torch.use_deterministic_algorithms` is on.)
    """
    size = tokens_per_block(ids_NK.shape[-1], hidden_NH.shape[-1])
    parts = zip(ids_NK.split(size), values_NK.split(size), hidden_NH.split(size), strict=True)
    for ids_BK, values_BK, hidden_BH in parts:
        rows_BKH = values_BK.unsqueeze(-1) * hidden_BH.unsqueeze(-2).to(values_BK.dtype)
        weight_VH.index_add_(0, ids_BK.flatten(), rows_BKH.flatten(0, 1).to(weight_VH.dtype))


def _scaled(gradient_NH: Tensor, upstream_N: Tensor) -> Tensor:
    return (upstream_N.unsqueeze(-1) * gradient_NH).to(gradient_NH.dtype)


def _one_scalar(upstream_N: Tensor, weights_N: Tensor) -> Tensor:
    """Return c with upstream_N = c weights_N. Raises `UnknownUpstream` where there is none."""
    weights_N = weights_N.to(upstream_N.dtype)
    # Divided by the largest, so that weights of 1e-6 per token keep their digits when squared.
    largest = weights_N.abs().amax().clamp(min=torch.finfo(weights_N.dtype).tiny)
    direction_N = weights_N / largest
    squared = direction_N.square().sum().clamp(min=torch.finfo(weights_N.dtype).tiny)
    along = (upstream_N * direction_N).sum() / squared
    left = (upstream_N - along * direction_N).abs().amax()
    # The one wait for the device of a backward pass; `~(<=)` also finds values that are not finite.
    if bool(~(left <= SAME * upstream_N.abs().amax())):
        raise UnknownUpstream(
            "the backward pass weighs the tokens otherwise than `weights_N` of token_losses said:"
            " a trained head's gradient was computed with those weights",
            hint="pass weights_N = the derivative of the reduced loss in every token's loss",
        )
    return along / largest
