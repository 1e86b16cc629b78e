"""Numerics: how a batch is shared out changes neither loss nor gradient; bfloat16 weights are
scored in float32; same seed, same bytes.

Equivalence classes: the same rollouts of one optimiser step as one micro-batch, as several, in
groups of like length, recomputed, and on two processes (gloo).
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from study.errors import PrerequisiteError
from study.models.loading import load_model
from study.models.logprobs import token_losses
from study.objectives.divergences import logprobs
from study.objectives.reductions import constant, response_mean, token_mean
from study.spec.machine.profile import Profile
from study.spec.recipe.model import GrpoModel, PretrainedLab, SftModel
from study.spec.recipe.objective import PRESETS, Objective
from study.spec.recipe.training import GrpoTraining, Lora, SupervisedTraining
from study.train import grpo as grpo_module
from study.train.arguments import arguments
from study.train.length_groups import hidden_states
from tests.support.random_models import random_models
from tests.support.ranks_program import REDUCTIONS, ROWS, in_ranks, trained
from tests.support.tiny_stages import (
    ARCHITECTURE,
    CURVE,
    DATA,
    HERE,
    OPTIMISATION,
    SAMPLING,
    OddTexts,
    distilled,
    history,
    pretrained,
    run,
    weights,
)

TOLERANCE = 1e-6
K5 = Objective(support="student_topk", k=5, gradient="stop_gradient")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return random_models(tmp_path_factory.mktemp("models"), ARCHITECTURE, "student", "teacher")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No setting of another test, or of the machine, reaches a trainer."""
    for name in ("STUDY_MICRO_BATCH", "STUDY_RECOMPUTE", "WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@lru_cache
def _whole(folder: Path, reduction: str, work: Path) -> dict[str, torch.Tensor]:
    return trained(folder, reduction, work)


def _same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for name, value in expected.items() if name != "loss")
    assert largest > 1e-4, "a gradient of nothing would agree with anything"
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=0, atol=TOLERANCE), (
            name,
            float((found[name] - value).abs().max()),
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "setting", [{"STUDY_MICRO_BATCH": "2"}, {"STUDY_MICRO_BATCH": "1", "STUDY_RECOMPUTE": "1"}]
)
def test_micro_batches_change_neither_loss_nor_gradient(
    reduction: str,
    setting: dict[str, str],
    folders: dict[str, Path],
    tmp_path: Path,
    tmp_path_factory: Any,
    alone: pytest.MonkeyPatch,
) -> None:
    root = folders["student"].parent
    expected = _whole(root, reduction, root / f"whole-{reduction}")
    for name, value in setting.items():
        alone.setenv(name, value)
    _same(trained(root, reduction, tmp_path / "work"), expected)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("groups", "micro_batch"), [(2, ""), (4, ""), (2, "2")])
def test_groups_of_like_length_change_neither_loss_nor_gradient(
    reduction: str,
    groups: int,
    micro_batch: str,
    folders: dict[str, Path],
    tmp_path: Path,
    alone: pytest.MonkeyPatch,
) -> None:
    root = folders["student"].parent
    expected = _whole(root, reduction, root / f"whole-{reduction}")
    alone.setenv("STUDY_MICRO_BATCH", micro_batch)
    _same(trained(root, reduction, tmp_path / "work", groups), expected)


def test_a_group_is_as_wide_as_its_longest_row_and_rows_keep_their_places() -> None:
    """The stand-in for a model returns the token before each place, as a hidden state does."""
    prompts, completions = [[7], [5, 6, 7], [9, 8], [4, 4]], [[1, 2, 3, 4], [5], [6, 7], [8]]
    inputs = {
        "teacher_prompt_ids": torch.tensor([[0] * (3 - len(row)) + row for row in prompts]),
        "teacher_prompt_mask": torch.tensor([[0] * (3 - len(r)) + [1] * len(r) for r in prompts]),
        "completion_ids": torch.tensor([row + [0] * (4 - len(row)) for row in completions]),
        "completion_mask": torch.tensor([[1] * len(r) + [0] * (4 - len(r)) for r in completions]),
    }
    shapes: list[tuple[int, int]] = []

    def forward(ids: torch.Tensor, mask: torch.Tensor, width: int) -> torch.Tensor:
        shapes.append((len(ids), ids.shape[1]))
        assert torch.equal(mask == 0, ids == 0)
        return ids[:, -width - 1 : -1, None].float()

    whole = hidden_states(1, inputs, "teacher_prompt", forward)
    grouped = hidden_states(2, inputs, "teacher_prompt", forward)
    mask = inputs["completion_mask"].bool()
    assert torch.equal(grouped[mask], whole[mask])
    assert grouped[mask].flatten().tolist() == [7, 1, 2, 3, 7, 8, 6, 4]
    # 3 + 1 and 2 + 1 tokens together, 2 + 2 and 1 + 4 tokens together
    assert shapes == [(4, 7), (2, 4), (2, 6)]
    assert grouped.shape == whole.shape
    assert hidden_states(9, inputs, "teacher_prompt", forward).shape == whole.shape


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(
    folders: dict[str, Path], tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    """Two rows each, one at a time: torch.distributed's gloo, as a launcher starts them."""
    root = folders["student"].parent
    assert in_ranks(2, root, tmp_path) == [0, 0]
    for reduction in REDUCTIONS:
        _same(
            load_file(tmp_path / f"{reduction}.safetensors"),
            _whole(root, reduction, root / f"whole-{reduction}"),
        )


@pytest.mark.parametrize(
    "reduce", [response_mean, token_mean, partial(constant, constant_tokens=5)]
)
def test_parts_of_a_batch_add_up_to_the_whole(reduce: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    values_BT = torch.randn(6, 9, generator=generator)
    mask_BT = torch.rand(6, 9, generator=generator) < 0.6
    number = int(mask_BT.sum()) if reduce is token_mean else 6
    whole = reduce(values_BT, mask_BT, number)
    for size in (1, 2, 3):
        parts = [
            reduce(v, m, number)
            for v, m in zip(values_BT.split(size), mask_BT.split(size), strict=True)
        ]
        assert float(torch.stack(parts).sum()) == pytest.approx(float(whole), abs=TOLERANCE)
    local = [
        reduce(v, m, int(m.sum()) if reduce is token_mean else len(v))
        for v, m in zip(values_BT.split(2), mask_BT.split(2), strict=True)
    ]
    if reduce is token_mean:  # what a mean of local means would give instead
        assert float(torch.stack(local).mean()) != pytest.approx(float(whole), abs=1e-4)


@pytest.mark.slow
def test_supervised_and_reinforced_stages_do_not_see_micro_batches(
    folders: dict[str, Path], tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    alone.setattr(grpo_module, "open_grader", lambda version: OddTexts())
    supervised = SftModel(
        base=HERE, data=DATA, corpus=pretrained().corpus, training=pretrained(2).training
    )
    training = GrpoTraining(
        steps=1,
        prompts_per_step=2,
        rollouts_per_prompt=4,
        optimisation=OPTIMISATION,
        sampling=SAMPLING,
        curve=CURVE,
    )
    reinforced = GrpoModel(base=HERE, data=DATA, training=training)
    found: dict[str, list[Any]] = {"sft": [], "grpo": []}
    for size in ("", "2"):
        alone.setenv("STUDY_MICRO_BATCH", size)
        for recipe in (supervised, reinforced):
            out = run(recipe, {"base": folders["student"]}, tmp_path / f"{recipe.kind}{size}")
            found[recipe.kind].append(history(out)["train/grad_norm"][-1])
    for whole, parts in found.values():
        assert whole > 1e-3
        assert parts == pytest.approx(whole, rel=1e-4)


def test_the_profile_reaches_the_trainer_and_a_size_that_does_not_divide_is_refused(
    tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    profile = Profile(micro_batch={"distill": 3}, recompute=["distill"])
    assert set(profile.environment("sft").values()) == {""}
    for name, value in profile.environment("distill").items():
        alone.setenv(name, value)

    def made(**settings: Any) -> Any:
        from types import SimpleNamespace

        return SimpleNamespace(n_gpu=0, **settings)

    got = arguments(made, tmp_path, OPTIMISATION, steps=1, batch=12, seed=0)
    assert (
        got.per_device_train_batch_size,
        got.gradient_accumulation_steps,
        got.gradient_checkpointing,
    ) == (3, 4, True)
    alone.setenv("WORLD_SIZE", "2")
    assert (
        arguments(
            made, tmp_path, OPTIMISATION, steps=1, batch=12, seed=0
        ).gradient_accumulation_steps
        == 2
    )
    with pytest.raises(
        PrerequisiteError, match="4 rows of a step cannot be split into micro-batches of 3"
    ):
        arguments(made, tmp_path, OPTIMISATION, steps=1, batch=8, seed=0)
    alone.setenv("STUDY_MICRO_BATCH", "100")
    assert (
        arguments(
            made, tmp_path, OPTIMISATION, steps=1, batch=8, seed=0
        ).per_device_train_batch_size
        == 4
    )


@pytest.mark.parametrize(
    "name", ["full_reverse_kl", "topk_stop_gradient", "topk_tail_bucket", "sampled_policy_gradient"]
)
def test_bfloat16_weights_are_scored_and_reduced_in_float32(name: str) -> None:
    """Against float64 on the logits that bfloat16 heads make: only the rounding of those logits may
    be lost.
    """
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator).to(torch.bfloat16)  # noqa: E731
    student_NH, teacher_NH = draw(24, 16).requires_grad_(), draw(24, 16)
    heads = [torch.nn.Linear(16, 300, bias=False, dtype=torch.bfloat16) for _ in range(2)]
    for head in heads:
        head.weight.data = draw(300, 16)
    tokens_N = torch.randint(300, (24,), generator=generator)
    fields, _ = PRESETS[name]
    objective = Objective(**fields, **({"k": 5} if name.startswith("topk") else {}))
    found = token_losses(
        student_NH, heads[0], teacher_NH, heads[1], tokens_N, objective, chunk_tokens=7
    )
    assert found.loss_N.dtype == torch.float32
    assert {value.dtype for key, value in found.diagnostics.items() if key != "support_size"} == {
        torch.float32
    }
    mask_BT = torch.ones(4, 6, dtype=torch.bool)
    loss = response_mean(found.loss_N.view(4, 6), mask_BT, 4)
    assert loss.dtype == token_mean(found.loss_N.view(4, 6), mask_BT, 24).dtype == torch.float32
    loss.backward()
    assert student_NH.grad is not None
    assert student_NH.grad.dtype == torch.bfloat16
    exact = token_losses(
        student_NH.detach(), _Widened(heads[0]), teacher_NH, _Widened(heads[1]), tokens_N,
        objective, chunk_tokens=24
    ).loss_N  # fmt: skip
    assert exact.dtype == torch.float64
    scale = float(exact.detach().abs().max())
    assert float((found.loss_N.detach() - exact).abs().max()) < 1e-5 * max(1.0, scale)


class _Widened(torch.nn.Module):
    """A bfloat16 head whose logits are handed on in float64."""

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self.head = head
        self.weight = head.weight

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.head(hidden).double()


def test_float32_log_softmax_is_a_hundred_times_nearer_than_bfloat16s() -> None:
    """At the paper's vocabulary; the test that would fail if a cast were forgotten."""
    logits_NV = (3 * torch.randn(2, 151_936, generator=torch.Generator().manual_seed(0))).to(
        torch.bfloat16
    )
    exact_NV = logits_NV.double().log_softmax(-1)
    ours = (logprobs(logits_NV) - exact_NV).abs().max()
    narrow = (logits_NV.log_softmax(-1) - exact_NV).abs().max()
    assert logprobs(logits_NV).dtype == torch.float32
    assert float(ours) < 1e-5
    assert float(narrow) > 100 * float(ours)


def test_the_same_seed_leaves_the_same_bytes(
    folders: dict[str, Path], tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    """Weights, curves, evidence and the guard's trace: every file but the seconds in cost.json.

    With torch's deterministic algorithms
    asked for, which raise where an operation has none."""
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (
            run(distilled(K5, steps=2), folders, tmp_path / name) for name in ("a", "b")
        )
    finally:
        torch.use_deterministic_algorithms(False)
    files = sorted(
        path.name for path in first.iterdir() if path.is_file() and path.name != "cost.json"
    )
    assert "model.safetensors" in files
    assert [(first / name).read_bytes() for name in files] == [
        (second / name).read_bytes() for name in files
    ]


@pytest.mark.slow
def test_adapters_train_little_start_at_the_model_and_leave_a_plain_folder(
    folders: dict[str, Path], tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    recipe = distilled(K5, steps=2)
    small = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"lora": Lora(rank=2, alpha=4.0)})}
    )
    out, again = (run(small, folders, tmp_path / name) for name in ("a", "b"))
    assert (out / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert not list(out.glob("adapter*"))
    before, after = (
        dict(load_model(folder).named_parameters()) for folder in (folders["student"], out)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in changed} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    }
    assert before.keys() == after.keys()
    for name in changed:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2
    whole = history(run(distilled(K5, steps=1), folders, tmp_path / "whole"))
    assert (
        history(out)["eval/mean_tokens"][0] == whole["eval/mean_tokens"][0]
    )  # step 0 is the model itself


def test_bfloat16_weights_are_an_option_and_random_ones_are_no_place_for_it(
    folders: dict[str, Path], tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    recipe = distilled(K5, steps=1)
    narrow = recipe.model_copy(
        update={
            "training": recipe.training.model_copy(
                update={"dtype": "bfloat16", "teacher_dtype": "bfloat16"}
            )
        }
    )
    out = run(narrow, folders, tmp_path / "d")
    assert load_model(out, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {
        torch.bfloat16
    }
    assert weights(out).numel() == weights(folders["student"]).numel()
    fields = pretrained().model_dump()
    fields["training"] |= {"dtype": "bfloat16"}
    with pytest.raises(ValueError, match="trained whole and in float32"):
        PretrainedLab.model_validate(fields)
    assert isinstance(pretrained().training, SupervisedTraining)
    assert ROWS == 4
