"""Choose the tokens whose whole rows of logits the diagnostics of a distillation read.

Axes: B responses, T completion tokens.

A systematic sample: of every n tokens of a response one, from a first position that a stream of the
run draws for that response. Every token is chosen with probability 1 / n, so a mean over the chosen
tokens estimates the mean over all. The choice depends on the run's seed and the response alone, not
on micro-batches or the number of processes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from study.record.seeds import stream


def measured_mask(mask_BT: Tensor, responses: Sequence[int], every: int, seed: int) -> Tensor:
    """Return which of the valid tokens are measured, [B, T].

    responses: a number for each response that no other of the run has.
    """
    columns_T = torch.arange(mask_BT.shape[1])
    first = [stream(seed, "measured", int(response)) % every for response in responses]
    chosen_BT = columns_T % every == torch.tensor(first, dtype=torch.int64).unsqueeze(-1)
    return chosen_BT.to(mask_BT.device) & mask_BT.bool()
