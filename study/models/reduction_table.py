"""Compute the bias of each reduction for the sampled
losses: rows of the second table of `study losses`.

On a random tree of completions everything is enumerated. On a student's own completions it is
estimated, with a standard error over completions, in one direction: a bias on the logit of the end
token that all states share. Axes: T tokens of a completion, V vocabulary, R completions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from study.models.loss_table import as_loss
from study.objectives.expectation import (
    Weight,
    bias,
    constant_weight,
    expected_gradient,
    random_tree,
    response_weight,
    token_weight,
    tree_weights,
)
from study.objectives.landscape import States, value_and_gradient
from study.spec.recipe.objective import PRESETS, Objective

SAMPLED = ("sampled_policy_gradient", "sampled_plain_loss", "constant_advantage")
BATCHES = (1, 8, 64)  # responses of a batch, for token_mean
TREE_VOCABULARY, TREE_DEPTH = 5, 5  # 1,365 completions


@dataclass(frozen=True)
class BiasRow:
    """One sampled preset under one reduction.

    The target of a preset is the gradient of the full reverse KL under the same reduction, or zero
    for a form without a teacher. bias: norm of (expected gradient - target) over that of the full
    gradient; None where it is not enumerated. cosine: of the expected gradient to the full one;
    None without a target. end: expected gradient - target in the logit of the end token, summed
    over the states of a completion; positive = descent makes ending rarer. full_end: the full
    gradient there. standard_error: of end; None where it is enumerated.
    """

    preset: str
    reduction: str
    bias: float | None
    cosine: float | None
    end: float
    full_end: float
    standard_error: float | None


class Ends(NamedTuple):
    """Gradients in the logit of the end token, summed over the states of each completion, [R]: of
    each sampled preset and of the full reverse KL; and the completions' lengths in tokens.
    """

    by_preset: dict[str, Tensor]
    full_R: Tensor
    lengths_R: Tensor


def objective_of(preset: str) -> Objective:
    return Objective.model_validate(PRESETS[preset][0])


def has_target(preset: str) -> bool:
    """Whether the preset estimates the reverse KL: the other two are controls, expected at zero."""
    objective = objective_of(preset)
    return objective.gradient == "score_function" and objective.advantage is None


def tree_rows(seed: int) -> list[BiasRow]:
    """Enumerate a random tree: TREE_VOCABULARY tokens, at most TREE_DEPTH of them; C of `constant`
    is that limit.
    """
    tree, rows = random_tree(TREE_VOCABULARY, TREE_DEPTH, seed), []
    weights = tree_weights(tree, BATCHES, TREE_DEPTH)
    for preset in SAMPLED:
        for reduction, weight in weights.items():
            full_SV = expected_gradient(as_loss(Objective()), tree, weight)
            found_SV = expected_gradient(as_loss(objective_of(preset)), tree, weight)
            found = bias(found_SV, full_SV)
            size, end = float(found_SV.norm() / full_SV.norm()), found.end
            if has_target(preset):
                size, end = found.error, found.end - found.full_end
            cosine = found.cosine if has_target(preset) else None
            rows.append(BiasRow(preset, reduction, size, cosine, end, found.full_end, None))
    return rows


def pair_rows(sides: Iterable[States], ends: Sequence[int], limit: int) -> list[BiasRow]:
    """Estimate the bias on completions that a student wrote, one `States` per completion (its
    positions, its tokens).

    ends: the ids that end a completion of the student. limit: of a completion, C of `constant`. The
    lengths of the other responses of a batch are those of the same completions.
    """
    found = _ends(sides, ends)
    number = len(found.lengths_R)
    probability_R = torch.full((number,), 1 / number, dtype=torch.float64)
    weights: dict[str, Weight] = {"response_mean": response_weight()}
    for size in BATCHES[1:]:
        weights[f"token_mean, B = {size}"] = token_weight(found.lengths_R, probability_R, size)
    weights["constant"] = constant_weight(limit)
    return list(_estimates(found, weights))


def _ends(sides: Iterable[States], ends: Sequence[int]) -> Ends:
    by_preset: dict[str, list[float]] = {preset: [] for preset in SAMPLED}
    full: list[float] = []
    lengths: list[int] = []
    for states in sides:
        gradients = {
            preset: value_and_gradient(as_loss(objective_of(preset)), states)[1]
            for preset in SAMPLED
        }
        for preset, gradient_TV in gradients.items():
            by_preset[preset].append(float(gradient_TV[:, list(ends)].sum()))
        full_TV = value_and_gradient(as_loss(Objective()), states)[1]
        full.append(float(full_TV[:, list(ends)].sum()))
        lengths.append(len(states.tokens_N))
    return Ends(
        {preset: torch.tensor(values).double() for preset, values in by_preset.items()},
        torch.tensor(full).double(),
        torch.tensor(lengths),
    )


def _estimates(found: Ends, weights: dict[str, Weight]) -> Iterator[BiasRow]:
    for preset, gradient_R in found.by_preset.items():
        for reduction, weight in weights.items():
            weight_R = weight(found.lengths_R)
            target_R = found.full_R if has_target(preset) else torch.zeros_like(found.full_R)
            excess_R = weight_R * (gradient_R - target_R)
            error = float(excess_R.std() / len(excess_R) ** 0.5)
            full = float((weight_R * found.full_R).mean())
            yield BiasRow(preset, reduction, None, None, float(excess_R.mean()), full, error)
