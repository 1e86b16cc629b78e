"""Diagnostics on a sample of the tokens: which ones, and what a run that declares it records."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from study.spec.identity import canonical
from study.train.guard.callback import Scored, token_table
from study.train.measured import measured_mask
from tests.train.test_guard_callback import distilled, run

SAMPLED = (
    "train/reverse_kl", "train/student_entropy", "train/teacher_entropy",
    "train/student_topk_mass", "train/teacher_topk_mass", "train/topk_overlap",
)  # fmt: skip


def test_one_of_every_n_tokens_of_a_response_whatever_the_micro_batch() -> None:
    lengths = [20, 7, 3, 12]
    mask_BT = torch.arange(20) < torch.tensor(lengths).unsqueeze(-1)
    whole_BT = measured_mask(mask_BT, [5, 6, 7, 8], 4, seed=1)
    assert not (whole_BT & ~mask_BT).any()
    for row, length in zip(whole_BT, lengths, strict=True):
        places = row.nonzero().squeeze(-1).tolist()
        assert places == list(range(places[0], length, 4)) if places else length < 4
    parts = [measured_mask(mask_BT[i : i + 2, :12], [5 + i, 6 + i], 4, seed=1) for i in (0, 2)]
    assert torch.equal(torch.cat(parts), whole_BT[:, :12])
    assert torch.equal(measured_mask(mask_BT, [5, 6, 7, 8], 1, seed=1), mask_BT)


def test_every_token_is_chosen_equally_often() -> None:
    mask_BT = torch.ones(4000, 9, dtype=torch.bool)
    share_T = measured_mask(mask_BT, range(4000), 3, seed=0).double().mean(dim=0)
    assert float((share_T - 1 / 3).abs().max()) < 0.03  # four standard errors


def test_the_table_of_repeated_tokens_reads_the_measured_ones_alone() -> None:
    class Tokenizer:
        def decode(self, ids: list[int]) -> str:
            return str(ids[0])

    ids_BT = torch.tensor([[1, 2, 3, 1, 2, 3, 1, 2]])
    mask_BT = torch.ones(1, 8, dtype=torch.bool)
    measured_BT = torch.tensor([[True, False, False, False, False, True, False, True]])
    values_M = torch.tensor([-1.0, -2.0, -4.0])
    scored = Scored(ids_BT, mask_BT, values_M, torch.zeros(3), measured_BT)
    tokenizer: Any = Tokenizer()
    found = {row["token"]: row for row in token_table([scored], tokenizer)}
    assert {token: row["count"] for token, row in found.items()} == {"3": 1, "2": 1}
    assert found["3"]["student_logprob"] == -2.0
    assert found["2"]["student_logprob"] == -4.0


@pytest.fixture(scope="module")
def histories(
    lab_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, dict[str, Any]]:
    """The same run with every token measured and with one of 4."""
    found = {}
    for every in (1, 4):
        recipe = distilled()
        training = recipe.training.model_copy(update={"measure_every": every})
        out = tmp_path_factory.mktemp("measured") / str(every)
        run(recipe.model_copy(update={"training": training}), lab_models, out)
        found[every] = {
            name: json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("history", "guard", "evidence")
        }
    return found


def test_the_weights_do_not_depend_on_what_is_measured(
    histories: dict[int, dict[str, Any]],
) -> None:
    every, some = (histories[n]["history"]["columns"] for n in (1, 4))
    assert every.keys() == some.keys()
    for name in every.keys() - set(SAMPLED) - {"train/teacher_cut_mass"}:
        assert some[name] == every[name], name


def test_sampled_diagnostics_are_near_the_exact_ones_and_reach_the_guard(
    histories: dict[int, dict[str, Any]],
) -> None:
    every, some = (histories[n]["guard"]["trace"] for n in (1, 4))
    for name in SAMPLED:
        assert None not in some[name]
        assert some[name] != every[name]
        assert some[name] == pytest.approx(every[name], rel=0.5, abs=0.15)  # nine tokens
    for name in ("train/token_loss", "train/informative_tokens", "train/grad_norm"):
        assert some[name] == every[name]


def test_log_ratios_are_those_of_the_measured_tokens(histories: dict[int, dict[str, Any]]) -> None:
    counts = {
        every: sum(
            sum(point["correct_tokens"]) + sum(point["wrong_tokens"])
            for point in found["evidence"]["log_ratio"]["points"]
        )
        for every, found in histories.items()
    }
    assert 0.15 < counts[4] / counts[1] < 0.35


def test_measuring_every_token_is_no_part_of_an_identity() -> None:
    recipe = distilled()
    assert "measure_every" not in canonical(recipe)
    training = recipe.training.model_copy(update={"measure_every": 2})
    assert "measure_every" in canonical(recipe.model_copy(update={"training": training}))
