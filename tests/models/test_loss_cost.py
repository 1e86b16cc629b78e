"""What losses cost: products, counted for each form; the table of `study losses --cost`."""

import pytest
import torch
from typer.testing import CliRunner

from study.cli.main import build_app
from study.models.chunked.cost import Inputs, Sizes, cost_rows, measure, products_needed
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective
from tests.models.test_logprobs import VOCABULARY, Products

SIZES = Sizes(tokens=5, hidden=4, vocabulary=VOCABULARY, k=3)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_loss_takes_the_products_that_it_needs(
    name: str, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.models.logprobs.WIDE", VOCABULARY - 1)
    fields, _ = PRESETS[name]
    k = {"k": SIZES.k} if fields.get("support") in TOPK_SUPPORTS else {}
    inputs, objective = Inputs(SIZES), Objective.model_validate(fields | k)
    inputs.student_head.weight.requires_grad_(trained)
    with Products() as taken:
        inputs.loss(objective)
    assert taken.count == products_needed(objective, trained=trained)
    assert (inputs.student_head.weight.grad is not None) == trained


def test_every_preset_is_measured_with_both_heads() -> None:
    rows = list(cost_rows(Inputs(SIZES)))
    assert [(row.trained, row.preset) for row in rows] == [
        (trained, name) for trained in (False, True) for name in PRESETS
    ]
    assert all(row.taken > 0 for row in rows)


def test_memory_is_the_peak_of_the_call() -> None:
    torch.ones(1)
    found = measure(lambda: torch.ones(2**24).sum(), torch.device("cpu"))
    if found.extra_bytes is None:
        pytest.skip("this system does not tell the peak of a process")
    assert 0.8 * 2**26 < found.extra_bytes < 1.5 * 2**26


def test_the_table_of_the_command() -> None:
    small = ["--tokens", "3", "--hidden", "4", "--vocabulary", "50", "--k", "5"]
    result = CliRunner().invoke(build_app(), ["losses", "--cost", *small])
    assert result.exit_code == 0, result.output
    assert "N = 3 tokens, H = 4, V = 50, K = 5" in result.output
    for name in PRESETS:
        assert result.output.count(f"{name} ") >= 2


def test_a_k_larger_than_the_vocabulary_is_refused() -> None:
    result = CliRunner().invoke(build_app(), ["losses", "--cost", "--vocabulary", "5", "--k", "6"])
    assert result.exit_code != 0
    assert "K = 6 is larger than the vocabulary of 5 tokens" in str(result.output) + str(
        result.exception
    )
