"""The pilot of the reductions: which arms it has, and what a mismatched end token is."""

from pathlib import Path

import pytest
import torch

from benchmarks import reduction_pilot
from study.models.lab import END, SYSTEM
from study.models.loading import load_model, load_tokenizer
from tests.support.random_models import random_models
from tests.train.test_training import ARCHITECTURE


def test_the_pilot_crosses_teacher_loss_and_reduction_and_has_a_placebo() -> None:
    arms = reduction_pilot.arms()
    assert len(arms) == 2 * 2 * 3 + 2
    assert len({(key[0], objective) for key, objective in arms.items()}) == len(arms)
    assert {key[0] for key, objective in arms.items() if objective.advantage} == {"no teacher"}
    constant = {
        objective.constant_tokens
        for objective in arms.values()
        if objective.reduction == "constant"
    }
    assert constant == {reduction_pilot.DIVISOR}


def test_a_mismatched_teacher_ends_with_another_token_and_is_otherwise_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = random_models(tmp_path / "models", ARCHITECTURE, reduction_pilot.TEACHER)
    original_folder = folder[reduction_pilot.TEACHER]
    monkeypatch.setattr(reduction_pilot, "SHIPPED", original_folder.parent)
    changed_folder = reduction_pilot.exchanged(tmp_path / "out")
    original, changed = load_model(original_folder), load_model(changed_folder)
    tokenizer = load_tokenizer(changed_folder)
    rows = tokenizer.convert_tokens_to_ids([END, SYSTEM])
    ids = torch.tensor([[5, 9, 7, 12]])
    with torch.no_grad():
        before, after = original(input_ids=ids).logits, changed(input_ids=ids).logits
    torch.testing.assert_close(after[..., rows], before[..., rows[::-1]])
    others = [token for token in range(before.shape[-1]) if token not in rows]
    torch.testing.assert_close(after[..., others], before[..., others])
    assert (before[..., rows[0]] - before[..., rows[1]]).abs().max() > 1e-3
