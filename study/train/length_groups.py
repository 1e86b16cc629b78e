"""Compute the hidden states of a micro-batch in groups of rows of like length.

Rows of one rectangle are as wide as the longest: in the lab a third of the positions are padding.
Sorted by length and taken in groups, each as wide as its own longest row, the same rows need fewer
positions. Values and gradients stay the same to rounding: a row's hidden states do not depend on
the rows next to it, and padding is masked.

Axes: B rows of the micro-batch, T completion tokens, H hidden size.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

# (token ids, mask, width of the completions) -> hidden states [rows, width, H]
Forward = Callable[[Tensor, Tensor, int], Tensor]


def hidden_states(
    groups: int, inputs: Mapping[str, Tensor], prompt: str, forward: Forward
) -> Tensor:
    """Return what `forward` gives for prompt and completion together, [B, T, H]; zeros where a
    completion has ended and its group is narrower than T.

    inputs: completion_ids, completion_mask, <prompt>_ids padded on the left, <prompt>_mask. With
    one group the rectangle is taken as it is.
    """
    names = (f"{prompt}_ids", f"{prompt}_mask", "completion_ids", "completion_mask")
    prompt_ids, prompt_mask, completion_ids, completion_mask = (inputs[name] for name in names)
    T = completion_ids.shape[1]
    if groups == 1:
        ids = torch.cat([prompt_ids, completion_ids], dim=1)
        return forward(ids, torch.cat([prompt_mask, completion_mask], dim=1), T)
    lengths = prompt_mask.sum(dim=1) + completion_mask.sum(dim=1)
    order = lengths.argsort(stable=True)
    parts: list[Tensor] = []
    for rows in order.chunk(groups):
        before = int(prompt_mask[rows].sum(dim=1).max())
        after = int(completion_mask[rows].sum(dim=1).max())
        begin = prompt_ids.shape[1] - before
        ids = torch.cat([prompt_ids[rows, begin:], completion_ids[rows, :after]], dim=1)
        mask = torch.cat([prompt_mask[rows, begin:], completion_mask[rows, :after]], dim=1)
        parts.append(functional.pad(forward(ids, mask, after), (0, 0, 0, T - after)))
    return torch.cat(parts)[order.argsort()]
