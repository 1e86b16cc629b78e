"""Hold a server teacher's scores: its K likeliest tokens at every position and the written token,
nothing else.

Axes: N positions, K returned tokens, V the ids that student and teacher share, R the rows of the
teacher's head. A row is completed to a distribution over V before a loss sees it: the rest of the
probability is spread evenly over the tokens that were not returned. The objective's missing-token
policy (`study/models/loss.py`) decides which of them a loss may use. Where K = R the server
returned everything and the row is exact.

Probabilities come as rounded logarithms, so a rest below 1e-8 cannot be known; 1e-8 is assumed.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from study.objectives import topk

# probability below which the float32 logarithms of the returned tokens have no digits left
_REST = 1e-8


class Returned(NamedTuple):
    """Scores of a server. ids_NK: the likeliest first. logprobs_NK: their log-probabilities at
    temperature 1.

    written_N: that of the written token.

    rows: how many tokens the teacher has.
    """

    ids_NK: Tensor
    logprobs_NK: Tensor
    written_N: Tensor
    rows: int

    @property
    def whole(self) -> bool:
        return self.ids_NK.shape[-1] == self.rows

    def split_at(self, size: int) -> list["Returned"]:
        parts = zip(
            self.ids_NK.split(size),
            self.logprobs_NK.split(size),
            self.written_N.split(size),
            strict=True,
        )
        return [
            Returned(ids_NK, logprobs_NK, written_N, self.rows)
            for ids_NK, logprobs_NK, written_N in parts
        ]


def with_written(returned: Returned, tokens_N: Tensor) -> Returned:
    """Add the written token to the returned tokens.

    Where it is among the K already, an id outside the vocabulary fills the column.
    """
    again_N = topk.contains(returned.ids_NK, tokens_N.unsqueeze(-1)).squeeze(-1)
    ids_N = tokens_N.masked_fill(again_N, returned.rows)
    values_N = returned.written_N.masked_fill(again_N, -math.inf)
    ids_NK = torch.cat([returned.ids_NK, ids_N.unsqueeze(-1)], dim=-1)
    return Returned(
        ids_NK,
        torch.cat([returned.logprobs_NK, values_N.unsqueeze(-1)], dim=-1),
        returned.written_N,
        returned.rows,
    )


def completed(returned: Returned, shared: int) -> Tensor:
    """Return log-probabilities over the `shared` ids, [N, V]: returned values unchanged, an even
    share of the rest for every other token.
    """
    inside_NK = returned.ids_NK < shared
    values_NK = returned.logprobs_NK.masked_fill(~inside_NK, -math.inf)
    others_N1 = shared - inside_NK.sum(dim=-1, keepdim=True)
    rest_N1 = 1.0 - returned.logprobs_NK.double().exp().sum(dim=-1, keepdim=True)
    floor_N1 = (rest_N1.clamp(min=_REST).log() - others_N1.clamp(min=1).log()).float()
    # An even share of the true rest is never above the smallest returned token; the assumed one
    # could be.
    smallest_N1 = returned.logprobs_NK.masked_fill(~inside_NK, math.inf).amin(dim=-1, keepdim=True)
    floor_N1 = torch.minimum(floor_N1, smallest_N1).where(rest_N1 < _REST, floor_N1)
    # One more column takes what is outside the shared ids.
    row_NV = floor_N1.expand(-1, shared + 1).contiguous()
    return row_NV.scatter_(-1, returned.ids_NK.clamp(max=shared), values_NK)[:, :shared]


def cut_mass(returned: Returned, shared: int) -> Tensor:
    """Return the probability of returned tokens that the student does not have; of all such tokens
    where the server returned everything.
    """
    return returned.logprobs_NK.masked_fill(returned.ids_NK < shared, -math.inf).exp().sum(dim=-1)


def coverage(
    returned: Returned, student_ids_NK: Tensor, student_logprobs_NV: Tensor
) -> dict[str, Tensor]:
    """Return the share of the student's K likeliest tokens that the server returned, and the
    student's probability on those.
    """
    found_NK = topk.contains(returned.ids_NK, student_ids_NK)
    mass_NK = student_logprobs_NV.gather(-1, student_ids_NK).exp()
    return {
        "teacher_coverage": found_NK.float().mean(dim=-1),
        "teacher_coverage_mass": mass_NK.where(found_NK, 0.0).sum(dim=-1),
    }
