"""Stages on tiny models: what is trained, over which denominator, from which random state, and what
is left behind.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.errors import PrerequisiteError, SpecError
from study.models import decode
from study.models.lab import build_model, build_tokenizer
from study.models.loading import load_model, load_tokenizer, save
from study.models.sampling import generate
from study.record.seeds import training_seed
from study.spec.recipe.model import (
    BpeTokenizer,
    GrpoModel,
    LabTokenizer,
    SftModel,
)
from study.spec.recipe.objective import PRESETS, Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.training import (
    GrpoTraining,
)
from study.train import distill as distill_module
from study.train import grpo as grpo_module
from study.train.rollouts import drawn_by
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


def test_teacher_equal_to_student_gives_zero_loss_and_zero_kl(
    lab_models: dict[str, Path], tmp_path: Path
) -> None:
    out = run(
        distilled(Objective(), steps=1),
        {"student": lab_models["student"], "teacher": lab_models["student"]},
        tmp_path / "d",
    )
    columns = history(out)
    assert columns["train/reverse_kl"][-1] == pytest.approx(0.0, abs=1e-6)
    assert columns["train/loss"][-1] == pytest.approx(0.0, abs=1e-6)
    assert columns["train/topk_overlap"][-1] == 1.0


@pytest.mark.parametrize("reduction", ["response_mean", "token_mean"])
def test_the_reduction_is_the_objectives_own_where_it_is_applied(
    reduction: str, lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spies on the denominator: TRL counts tokens (`num_items_in_batch`); Eq.

    1 divides by responses.
    """
    calls: dict[str, list[tuple[float, int, int]]] = {"response_mean": [], "token_mean": []}
    for name in calls:
        original = getattr(distill_module, name)

        def spy(
            values: Any, mask: Any, denominator: Any, name: str = name, original: Any = original
        ) -> Any:
            calls[name].append((float(denominator), int(mask.sum()), mask.shape[0]))
            return original(values, mask, denominator)

        monkeypatch.setattr(distill_module, name, spy)
    objective = Objective(reduction=reduction)  # type: ignore[arg-type]
    run(distilled(objective, steps=2), lab_models, tmp_path / "d")
    assert not calls["token_mean" if reduction == "response_mean" else "response_mean"]
    for denominator, tokens, responses in calls[reduction]:
        assert denominator == (responses if reduction == "response_mean" else tokens)
        assert tokens != responses


@pytest.mark.parametrize(("declared", "used"), [(None, 10), (7, 7)])
def test_the_constant_divisor_is_declared_or_the_limit_of_a_completion(
    declared: int | None, used: int, lab_models: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """C does not depend on what was drawn: the loss is the sum over tokens / (responses * C)."""
    calls: list[tuple[float, int]] = []
    original = distill_module.constant

    def spy(values: Any, mask: Any, num_responses: Any, constant_tokens: int) -> Any:
        found = original(values, mask, num_responses, constant_tokens)
        # every token has the value -A = -1
        expected = -int(mask.sum()) / (4 * used)
        assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
        calls.append((float(num_responses), constant_tokens))
        return found

    monkeypatch.setattr(distill_module, "constant", spy)
    objective = Objective(
        **PRESETS["constant_advantage"][0], reduction="constant", constant_tokens=declared
    )
    run(distilled(objective, steps=2), lab_models, tmp_path / "d")
    assert calls == [(4, used)] * 2
    assert SAMPLING.max_completion_length == 10


def test_the_trainers_loss_is_equation_1(
    lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value that TRL logs after all its own scaling equals the mean of response means computed
    here.
    """
    seen: list[float] = []
    original = distill_module.response_mean

    def spy(values_BT: Any, mask_BT: Any, denominator: Any) -> Any:
        rows = [v[m].double().mean() for v, m in zip(values_BT.detach(), mask_BT, strict=True)]
        seen.append(float(sum(rows) / len(rows)))
        return original(values_BT, mask_BT, denominator)

    monkeypatch.setattr(distill_module, "response_mean", spy)
    out = run(distilled(Objective(), steps=2), lab_models, tmp_path / "d")
    assert history(out)["train/loss"][-1] == pytest.approx(sum(seen) / 2, rel=1e-4)


@pytest.mark.slow
def test_a_run_is_a_function_of_its_seed_alone(lab_models: dict[str, Path], tmp_path: Path) -> None:
    recipe = distilled(Objective(), steps=3)
    first = weights(run(recipe, lab_models, tmp_path / "a"))
    torch.manual_seed(987)
    torch.rand(5)
    assert torch.equal(first, weights(run(recipe, lab_models, tmp_path / "b")))
    assert not torch.equal(first, weights(run(recipe, lab_models, tmp_path / "c", seed=1)))


@pytest.mark.slow
def test_a_repeat_is_another_training_seed_and_the_first_is_none(
    lab_models: dict[str, Path], tmp_path: Path
) -> None:
    recipe = distilled(Objective(), steps=3)
    again = recipe.model_copy(update={"repeat": 1})
    first = weights(run(recipe, lab_models, tmp_path / "a"))
    second = weights(run(again, lab_models, tmp_path / "b"))
    same_seed = weights(run(recipe, lab_models, tmp_path / "c", seed=training_seed(0, 1)))
    assert not torch.equal(first, second)
    assert torch.equal(second, same_seed)
    prompts = [
        [
            c["prompt"]
            for c in json.loads((tmp_path / name / "evidence.json").read_text())["completions"]
        ]
        for name in ("a", "b")
    ]
    assert prompts[0] != prompts[1]


@pytest.mark.slow
def test_cells_of_one_seed_see_the_same_prompts(
    lab_models: dict[str, Path], tmp_path: Path
) -> None:
    prompts = []
    for name in ("full_reverse_kl", "sampled_plain_loss"):
        out = run(distilled(Objective(**PRESETS[name][0])), lab_models, tmp_path / name)
        prompts.append(
            [
                (c["step"], c["prompt"])
                for c in json.loads((out / "evidence.json").read_text())["completions"]
            ]
        )
    assert prompts[0] == prompts[1]
    assert len({step for step, _ in prompts[0]}) == 3


def test_pi_reaches_the_teacher_and_not_the_student(
    lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views: dict[str, list[str]] = {"student": [], "teacher": []}
    tokenizer = load_tokenizer(lab_models["student"])
    original = distill_module.OnPolicyDistillation._hidden

    def spy(self: Any, model: Any, prompt: str, inputs: Any) -> Any:
        role = "teacher" if model is self.teacher_model else "student"
        prompts = zip(inputs[f"{prompt}_ids"], inputs[f"{prompt}_mask"], strict=True)
        views[role] += [tokenizer.decode(ids[mask.bool()]) for ids, mask in prompts]
        return original(self, model, prompt, inputs)

    monkeypatch.setattr(distill_module.OnPolicyDistillation, "_hidden", spy)
    pi = PrivilegedInformation(template="<answer> {answer}")
    run(distilled(Objective(), steps=1, privileged=pi), lab_models, tmp_path / "d")
    assert len(views["teacher"]) == len(views["student"]) == 4
    assert all("<answer>" in view for view in views["teacher"])
    assert not any("<answer>" in view for view in views["student"])


def test_what_a_distillation_leaves_behind(lab_models: dict[str, Path], tmp_path: Path) -> None:
    out = run(
        distilled(Objective(support="student_topk", k=5), steps=3), lab_models, tmp_path / "d"
    )
    columns = history(out)
    assert columns["step"] == [0, 2, 3]
    assert (
        columns["train/reverse_kl"][0] is None
    )  # nothing was trained before step 0: missing, not zero
    for name in (
        "eval/avg@2",
        "eval/greedy",
        "train/student_topk_mass",
        "train/grad_norm",
        "rollout/repetition_3gram",
    ):
        assert all(value is not None for value in columns[name][1:]), name
    evidence = json.loads((out / "evidence.json").read_text())
    points = evidence["log_ratio"]["points"]
    assert [p["steps"] for p in points] == [[0, 0], [1, 1], [2, 2]]
    cost = json.loads((out / "cost.json").read_text())
    assert (
        sum(sum(p["wrong_tokens"]) + sum(p["correct_tokens"]) for p in points)
        == cost["tokens_sampled"]
        == cost["tokens_scored"]
    )
    assert min(cost[f"{part}_s"] for part in ("generation", "teacher", "student")) > 0


def test_padded_widths_may_differ_and_token_maps_may_not(
    lab_models: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = build_tokenizer(LabTokenizer())
    save(build_model(ARCHITECTURE, len(tokenizer) + 8, 1), tokenizer, tmp_path / "wide")
    out = run(
        distilled(Objective(), steps=1),
        {"student": lab_models["student"], "teacher": tmp_path / "wide"},
        tmp_path / "d",
    )
    assert history(out)["train/teacher_cut_mass"][-1] > 0
    other = build_tokenizer(BpeTokenizer(vocab_size=300), ["1 + 1 = 2"] * 3)
    save(build_model(ARCHITECTURE, len(other), 1), other, tmp_path / "other")
    with pytest.raises(SpecError, match="disagree on"):
        run(
            distilled(Objective(), steps=1),
            {"student": lab_models["student"], "teacher": tmp_path / "other"},
            tmp_path / "e",
        )


def test_sampling_depends_on_its_seed_and_leaves_the_global_state_alone(
    lab_models: dict[str, Path],
) -> None:
    model, tokenizer = load_model(lab_models["student"]), load_tokenizer(lab_models["student"])
    prompts = [[3, 5, 15, 6, 4], [3, 5, 4]]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = generate(model, tokenizer, prompts, SAMPLING, k=3, seed=7)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert generate(model, tokenizer, prompts, SAMPLING, k=3, seed=7) == first
    assert generate(model, tokenizer, prompts, SAMPLING, k=3, seed=8) != first
    assert all(
        c.truncated == (len(c.ids) == 10 and c.ids[-1] != tokenizer.eos_token_id)
        for row in first
        for c in row
    )


# Golden trajectories: numerics that change without a bump of the stage's revision
# (study/spec/identity.py) fail here.
GOLDEN = {
    "pretrain": [4.239469, 4.276713, 4.012113, 3.878328],
    "sft": [4.333712, 4.327013, 4.117978, 3.865546],
    "grpo": [1.049074, 8.75],
    "distill": [0.1457829, 0.1413590],
}


def test_golden_pretrain(tmp_path: Path) -> None:
    losses = history(run(pretrained(), {}, tmp_path / "p"))["train/loss"]
    assert losses == pytest.approx(GOLDEN["pretrain"], rel=1e-3)


def test_golden_sft(lab_models: dict[str, Path], tmp_path: Path) -> None:
    recipe = SftModel(
        base=HERE, data=DATA, corpus=pretrained().corpus, training=pretrained().training
    )
    losses = history(run(recipe, {"base": lab_models["student"]}, tmp_path / "s"))["train/loss"]
    assert losses == pytest.approx(GOLDEN["sft"], rel=1e-3)


def test_golden_grpo(
    lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model never answers, and without a correct completion there is no signal: reward an
    # arbitrary half of the texts.
    monkeypatch.setattr(grpo_module, "open_grader", lambda version: OddTexts())
    training = GrpoTraining(
        steps=2,
        prompts_per_step=2,
        rollouts_per_prompt=4,
        optimisation=OPTIMISATION,
        sampling=SAMPLING,
        curve=CURVE,
    )
    out = run(
        GrpoModel(base=HERE, data=DATA, training=training),
        {"base": lab_models["student"]},
        tmp_path / "g",
    )
    columns = history(out)
    assert [columns["train/grad_norm"][-1], columns["eval/mean_tokens"][-1]] == pytest.approx(
        GOLDEN["grpo"], rel=1e-3
    )
    assert columns["train/grad_norm"][-1] > 0


def test_golden_distill(lab_models: dict[str, Path], tmp_path: Path) -> None:
    out = run(
        distilled(Objective(support="student_topk", k=5, gradient="stop_gradient"), steps=3),
        lab_models,
        tmp_path / "d",
    )
    assert history(out)["train/reverse_kl"][1:] == pytest.approx(GOLDEN["distill"], rel=1e-3)


def completions_drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """Return a list to which every call of the decode loop adds its sequences."""
    drawn: list[list[list[int]]] = []
    loop = decode.generate

    def watched(model: Any, **given: Any) -> torch.Tensor:
        drawn.append(loop(model, **given).tolist())
        return torch.tensor(drawn[-1])

    monkeypatch.setattr(decode, "generate", watched)
    return drawn


def with_sampler(recipe: Any, sampler: str) -> Any:
    sampling = SAMPLING.model_copy(update={"sampler": sampler})
    training = recipe.training.model_copy(update={"sampling": sampling})
    return recipe.model_copy(update={"training": training})


def test_a_distillation_is_the_same_with_either_sampler(
    lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = completions_drawn(monkeypatch)
    recipe = distilled(Objective(support="student_topk", k=5), steps=3)
    theirs = run(with_sampler(recipe, "transformers"), lab_models, tmp_path / "transformers")
    assert drawn == []
    ours = run(with_sampler(recipe, "qwen3"), lab_models, tmp_path / "qwen3")
    # points 0, 2 and 3 of the curve, greedy and sampled, and a rollout at each step
    assert [len(rows) for rows in drawn] == [4, 8, 4, 4, 4, 8, 4, 4, 8]
    written = [json.loads((made / "evidence.json").read_text()) for made in (ours, theirs)]
    assert written[0]["completions"] == written[1]["completions"]
    expected, found = history(theirs), history(ours)
    assert expected.keys() == found.keys()
    for name, column in expected.items():
        for mine, value in zip(found[name], column, strict=True):
            assert mine == (value if value is None else pytest.approx(value, rel=1e-4)), name
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-4, atol=1e-6)


def test_reinforcement_learning_is_the_same_with_either_sampler(
    lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo_module, "open_grader", lambda version: OddTexts())
    drawn = completions_drawn(monkeypatch)
    training = GrpoTraining(
        steps=2, prompts_per_step=2, rollouts_per_prompt=4, optimisation=OPTIMISATION,
        sampling=SAMPLING, curve=CURVE,
    )  # fmt: skip
    recipe = GrpoModel(base=HERE, data=DATA, training=training)
    made = [
        run(with_sampler(recipe, name), {"base": lab_models["student"]}, tmp_path / name)
        for name in ("transformers", "qwen3")
    ]
    assert [len(rows) for rows in drawn] == [4, 8, 8, 8, 4, 8]
    torch.testing.assert_close(weights(made[1]), weights(made[0]), rtol=1e-4, atol=1e-6)


def test_rollouts_of_vllm_are_not_those_of_a_declared_loop() -> None:
    trainer = SimpleNamespace(use_vllm=True)
    with drawn_by(trainer, "transformers"):
        pass
    with pytest.raises(PrerequisiteError, match="sampler: qwen3"), drawn_by(trainer, "qwen3"):
        pass
