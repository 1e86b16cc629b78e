"""The lm-eval path: same completions and same counts as a direct count, seeded, offline, fast."""

import copy
import random
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from study.data.problems import Problem
from study.errors import SpecError
from study.evaluate import light
from study.evaluate.engine_lm import Chat
from study.evaluate.harness import known_tasks, run_task
from study.evaluate.light import curve_point, prompt_ids, sample
from study.grading.base import Grade, Sample
from study.grading.boxed import Outcome
from study.grading.math1 import BoxedGrader
from study.models import decode
from study.models.lab import LAB_VOCABULARY, build_model, build_tokenizer
from study.spec.recipe.model import Architecture, LabTokenizer
from study.spec.recipe.training import Curve, GrpoTraining, Optimisation, Sampling
from study.train import grpo
from study.train.grpo import Correctness

SAMPLING = Sampling(max_completion_length=24)
TRAINING = GrpoTraining(
    steps=1, prompts_per_step=1, rollouts_per_prompt=2,
    optimisation=Optimisation(learning_rate=1e-3), sampling=SAMPLING,
    curve=Curve(every=1, problems=1, k=1),
)  # fmt: skip
SEED = 0  # of the head: one with which every outcome occurs
SHAPE = Architecture(
    hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16,
    max_position_embeddings=128,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(LabTokenizer())


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    """Random weights with the end token, the box and the digits made likely, so that every outcome
    occurs.
    """
    torch.set_num_threads(1)
    model = build_model(SHAPE, len(LAB_VOCABULARY), seed=0)
    likely = [LAB_VOCABULARY.index(word) for word in ("\\boxed{", "}", "<eos>", "0")]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model.lm_head = torch.nn.Linear(64, len(LAB_VOCABULARY), bias=True)
        model.lm_head.bias[:] = torch.tensor(
            [2.5 if i in likely else -3.0 for i in range(len(LAB_VOCABULARY))]
        )
    return model


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    draw = random.Random(0)
    return [
        Problem(
            id=f"p{i}", prompt=f"{draw.randrange(10)} + {draw.randrange(10)}", answer=str(i % 2)
        )
        for i in range(12)
    ]


def direct(model, tokenizer, problems, k: int, seed: int) -> list[list[Outcome]]:
    """The same evaluation as the training curve makes it: no lm-eval."""
    return [
        [graded.outcome for graded in row]
        for row in sample(model, tokenizer, problems, SAMPLING, k=k, seed=seed)
    ]


def test_same_generations_give_the_same_counts_as_a_direct_count(
    model, tokenizer, problems
) -> None:
    result = run_task("lab_math", problems, model, tokenizer, k=6, sampling=SAMPLING, seed=3)
    expected = direct(model, tokenizer, problems, k=6, seed=3)
    assert [list(row) for row in result.outcomes] == expected
    assert {outcome for row in expected for outcome in row} == set(Outcome) - {Outcome.timed_out}, (
        "the comparison should cover every outcome"
    )
    assert result.problem_ids == tuple(p.id for p in problems)
    assert result.counts(Outcome.correct) == [row.count(Outcome.correct) for row in expected]
    assert result.accuracy == pytest.approx(
        sum(result.counts(Outcome.correct)) / (6 * len(problems)), abs=1e-12
    )


def test_all_k_samples_are_kept_and_differ(model, tokenizer, problems) -> None:
    result = run_task("lab_math", problems, model, tokenizer, k=6, sampling=SAMPLING, seed=3)
    assert all(len(row) == 6 for row in result.completions)
    assert all(len(set(row)) > 1 for row in result.completions)
    assert 1 <= result.mean_tokens <= SAMPLING.max_completion_length


def global_states() -> tuple[object, ...]:
    return (
        torch.random.get_rng_state().numpy().tobytes(),
        random.getstate(),
        np.random.get_state()[1].tobytes(),
    )


def test_the_seed_alone_decides_the_completions(model, tokenizer, problems) -> None:
    first = run_task("lab_math", problems, model, tokenizer, k=2, sampling=SAMPLING, seed=3)
    for shake in (torch.manual_seed, random.seed, np.random.seed):
        shake(99)
    states = global_states()
    again = run_task("lab_math", problems, model, tokenizer, k=2, sampling=SAMPLING, seed=3)
    assert again == first
    assert global_states() == states, "the global random states are left alone"
    assert (
        run_task("lab_math", problems, model, tokenizer, k=2, sampling=SAMPLING, seed=4).completions
        != first.completions
    )


def test_arguments_of_the_chat_template_reach_curve_and_final_evaluation(
    model, tokenizer, problems
) -> None:
    spoken = copy.deepcopy(tokenizer)
    spoken.chat_template += (
        "{% if enable_thinking is defined and not enable_thinking %}<answer>{% endif %}"
    )
    off = {"enable_thinking": False}
    plain, quiet = (prompt_ids(spoken, problems, template) for template in (None, off))
    assert plain == prompt_ids(tokenizer, problems)
    assert quiet == [[*ids, *spoken.encode("<answer>", add_special_tokens=False)] for ids in plain]
    chats = (Chat(), Chat(arguments=off))
    ran = [
        run_task(
            "lab_math", problems, model, spoken, k=1, sampling=SAMPLING, seed=0, chat=chat
        ).prompts
        for chat in chats
    ]
    assert [text + "<answer>" for text in ran[0]] == list(ran[1])


@pytest.mark.slow
def test_the_curve_and_the_reward_can_be_judged_by_the_grader_of_the_evaluation(
    model, tokenizer, problems
) -> None:
    formulas = [replace(p, answer="x - x") for p in problems]
    by = {
        name: sample(model, tokenizer, formulas, SAMPLING, k=6, seed=3, grader=name)
        for name in ("boxed-1", "math-1")
    }
    flat = {name: [g for row in rows for g in row] for name, rows in by.items()}
    assert [g.text for g in flat["boxed-1"]] == [g.text for g in flat["math-1"]]
    right = {
        name: [float(g.outcome is Outcome.correct) for g in graded] for name, graded in flat.items()
    }
    assert sum(right["boxed-1"]) == 0 < sum(right["math-1"])
    ids, rows = (
        [list(g.completion.ids) for g in flat["math-1"]],
        [formulas.index(g.problem) for g in flat["math-1"]],
    )
    for name, expected in right.items():
        reward = Correctness(formulas, tokenizer, TRAINING.model_copy(update={"grader": name}))
        assert reward(ids, rows) == expected
        reward.grader.close()


def test_the_declared_sampler_reaches_the_final_evaluation_and_the_curve(
    tokenizer, problems, monkeypatch
) -> None:
    model, drawn = build_model(SHAPE, len(LAB_VOCABULARY), seed=0).eval(), []
    loop = decode.generate

    def counted(model, input_ids, **rest):
        drawn.append(len(input_ids))
        return loop(model, input_ids, **rest)

    monkeypatch.setattr(decode, "generate", counted)
    other = SAMPLING.model_copy(update={"sampler": "qwen3"})
    results = [
        run_task("lab_math", problems, model, tokenizer, k=2, sampling=sampling, seed=3)
        for sampling in (SAMPLING, other)
    ]
    assert results[0] == results[1]
    assert drawn == [2 * len(problems)]
    curve = Curve(every=1, problems=5, k=3)
    points = [curve_point(model, tokenizer, problems, curve, how, 0) for how in (SAMPLING, other)]
    assert points[0] == points[1]
    assert drawn[1:] == [5, 15]


def test_a_gold_that_was_a_float_reaches_the_curve_and_the_reward(
    model, tokenizer, problems, monkeypatch
) -> None:
    taken: list[Sample] = []

    class Noted(BoxedGrader):
        def grade_sample(self, sample: Sample) -> Grade:
            taken.append(sample)
            return super().grade_sample(sample)

    monkeypatch.setattr(light, "open_grader", lambda _: Noted())
    monkeypatch.setattr(grpo, "open_grader", lambda _: Noted())
    floats = [replace(p, gold_is_float=True) for p in problems[:2]]
    drawn = sample(model, tokenizer, floats, SAMPLING, k=1, seed=3, grader="math-1")
    assert [(each.answer, each.gold_is_float) for each in taken] == [
        (p.answer, True) for p in floats
    ]
    ids = [list(row[0].completion.ids) for row in drawn]
    Correctness(floats, tokenizer, TRAINING)(ids, [0, 1])
    assert taken[2:] == taken[:2]


def test_decoding_settings_reach_the_sampler(model, tokenizer, problems) -> None:
    sampling = Sampling(temperature=0.01, top_p=0.5, max_completion_length=5)
    result = run_task("boxed_math", problems, model, tokenizer, k=3, sampling=sampling, seed=0)
    assert result.mean_tokens <= 5
    assert all(len(set(row)) == 1 for row in result.completions), (
        "near-zero temperature leaves one completion"
    )


def test_no_network_is_touched(model, tokenizer, problems, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the evaluation opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    run_task("lab_math", problems[:2], model, tokenizer, k=1, sampling=SAMPLING, seed=0)


def test_unknown_task_names_the_known_ones(model, tokenizer, problems) -> None:
    with pytest.raises(
        SpecError, match=r"unknown evaluation task 'aime99'[\s\S]*boxed_math[\s\S]*lab_math"
    ):
        run_task("aime99", problems, model, tokenizer, k=1, sampling=SAMPLING, seed=0)
    assert {"boxed_math", "lab_math"} <= set(known_tasks())


def test_no_problems_is_an_error_and_not_a_zero(model, tokenizer) -> None:
    with pytest.raises(ValueError, match="needs problems"):
        run_task("lab_math", [], model, tokenizer, k=1, sampling=SAMPLING, seed=0)
