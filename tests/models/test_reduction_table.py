"""The second table of `study losses`: enumerated on a tree, estimated on written completions."""

import math

import pytest
import torch

from study.models.reduction_table import BATCHES, SAMPLED, BiasRow, pair_rows, tree_rows
from study.objectives.expectation import END, Tree, random_tree
from study.objectives.landscape import States

torch.set_num_threads(1)


def by_key(rows: list[BiasRow]) -> dict[tuple[str, str], BiasRow]:
    return {(row.preset, row.reduction): row for row in rows}


def test_on_a_tree_only_constant_is_unbiased_and_token_mean_nears_it() -> None:
    rows = by_key(tree_rows(seed=0))
    assert len(rows) == len(SAMPLED) * (2 + len(BATCHES))
    for preset in SAMPLED:
        assert rows[preset, "constant"].bias == pytest.approx(0.0, abs=1e-12)
        assert rows[preset, "constant"].end == pytest.approx(0.0, abs=1e-12)
        sizes = [rows[preset, f"token_mean, B = {size}"].bias or 0.0 for size in BATCHES]
        assert sizes[0] == pytest.approx(rows[preset, "response_mean"].bias)
        assert sizes[0] > 5 * sizes[1] > 25 * sizes[2] > 0
        assert rows[preset, "response_mean"].standard_error is None
    assert rows["sampled_plain_loss", "response_mean"].end > 0  # ending becomes rarer
    assert rows["constant_advantage", "response_mean"].end < 0
    assert rows["sampled_plain_loss", "response_mean"].cosine is None


def written(tree: Tree, number: int, seed: int) -> list[States]:
    """Completions drawn from the tree's student, each with its logits."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[tuple[int, ...], int] = {}
    for states, tokens, length in zip(
        tree.states_RT.tolist(), tree.tokens_RT.tolist(), tree.mask_RT.sum(-1).tolist(), strict=True
    ):
        rows |= {tuple(tokens[:place]): states[place] for place in range(length)}
    found: list[States] = []
    for _ in range(number):
        written: list[int] = []
        while tuple(written) in rows:
            state = rows[tuple(written)]
            p = tree.student_SV[state].softmax(-1)
            written.append(int(torch.multinomial(p, 1, generator=generator)))
        places = [rows[tuple(written[:place])] for place in range(len(written))]
        found.append(
            States(tree.student_SV[places], tree.teacher_SV[places], torch.tensor(written))
        )
    return found


def test_on_completions_the_estimate_is_the_enumerated_value_within_its_error() -> None:
    tree = random_tree(5, 5, seed=0)
    exact = by_key(tree_rows(seed=0))
    estimated = by_key(pair_rows(written(tree, 600, seed=1), [END], limit=5))
    assert ("sampled_plain_loss", "token_mean, B = 1") not in estimated
    for key, row in estimated.items():
        assert row.standard_error is not None
        assert row.standard_error > 0
        distance = abs(row.end - exact[key].end) / row.standard_error
        assert distance < 4, (key, row, exact[key])
        assert row.full_end == pytest.approx(exact[key].full_end, abs=0.02)
    plain = estimated["sampled_plain_loss", "response_mean"]
    assert plain.end > 3 * (plain.standard_error or math.inf)
