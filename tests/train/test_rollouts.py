"""Rollouts from vLLM through TRL: what the profile sets, and seeds that reach the sampler - with
TRL's own code and a stand-in for vLLM.
"""

import copy
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trl.generation.vllm_generation as trl_vllm
from trl import DistillationConfig, GRPOConfig
from trl.generation.vllm_client import VLLMClient
from trl.trainer import distillation_trainer, grpo_trainer

from study.errors import PrerequisiteError
from study.spec.machine.profile import Profile
from study.spec.machine.serving import Rollouts
from study.spec.recipe.model import GrpoModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import GrpoTraining
from study.train import rollouts
from study.train.arguments import rollout_settings
from tests.support.tiny_stages import CURVE, DATA, HERE, OPTIMISATION, SAMPLING, distilled, run

Call = list[tuple[tuple[int, ...], int]]  # (prompt, seed) of each prompt of one call


class Settings(SimpleNamespace):
    """vLLM's SamplingParams, as far as they are used."""

    seed: int | None = None

    def clone(self) -> "Settings":
        return copy.deepcopy(self)


class Engine:
    """vLLM's LLM: writes down what it is asked, and completes every prompt by its seed alone."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls

    def generate(
        self, prompts: list[dict[str, list[int]]], *, sampling_params: Any, use_tqdm: bool
    ) -> list[Any]:
        assert [own.max_tokens for own in sampling_params] == [
            SAMPLING.max_completion_length
        ] * len(prompts)
        self.calls.append(
            [
                (tuple(p["prompt_token_ids"]), own.seed)
                for p, own in zip(prompts, sampling_params, strict=True)
            ]
        )
        return [
            self.answer(p["prompt_token_ids"], own)
            for p, own in zip(prompts, sampling_params, strict=True)
        ]

    def answer(self, prompt: list[int], own: Settings) -> SimpleNamespace:
        ids = [5 + (own.seed or 0) % 50, 5 + (own.seed or 0) // 50 % 50, 6]
        places = [{token: SimpleNamespace(logprob=-1.0, rank=1)} for token in ids]
        output = SimpleNamespace(token_ids=ids, logprobs=None if own.logprobs is None else places)
        return SimpleNamespace(prompt_token_ids=prompt, outputs=[output])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What the engine was asked, call by call."""
    seen: list[Call] = []

    class Generation(trl_vllm.VLLMGeneration):
        def _init_vllm(self) -> None:
            self.llm, self._llm_weights_sleeping = Engine(seen), False

        def sync_weights(self) -> None:
            """Weights go to an engine on a GPU alone."""

    for module in (distillation_trainer, grpo_trainer):
        monkeypatch.setattr(module, "is_vllm_available", lambda *_: True, raising=False)
        monkeypatch.setattr(module, "VLLMGeneration", Generation)
    monkeypatch.setattr(trl_vllm, "SamplingParams", Settings, raising=False)
    profile = Profile(rollouts={"distill": Rollouts(), "grpo": Rollouts()})
    for name, value in profile.environment("distill").items():
        monkeypatch.setenv(name, value)
    return seen


def seeds(calls: list[Call]) -> list[list[int]]:
    return [[seed for _, seed in call] for call in calls]


@pytest.mark.slow
def test_two_run_seeds_differ_and_one_repeats_in_what_the_sampler_is_handed(
    lab_models: dict[str, Path],
    tmp_path: Path,
    calls: list[Call],
) -> None:
    handed = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(distilled(Objective(), steps=2), lab_models, tmp_path / name, seed=seed)
        handed.append(seeds(calls))
        calls.clear()
    assert handed[0] == handed[1] != handed[2]
    assert [len(call) for call in handed[0]] == [4, 4]  # two steps of four prompts
    assert (
        len({seed for each in handed for call in each for seed in call}) == 16
    )  # by prompt, step and run
    assert all(0 <= seed < 2**31 for each in handed for call in each for seed in call)


def test_what_was_sampled_is_what_is_trained_on(
    lab_models: dict[str, Path],
    tmp_path: Path,
    calls: list[Call],
) -> None:
    out = run(distilled(Objective(), steps=1), lab_models, tmp_path / "d")
    cost = json.loads((out / "cost.json").read_text())
    assert cost["tokens_sampled"] == cost["tokens_scored"] == 12


@pytest.mark.slow
def test_the_copies_of_a_prompt_have_seeds_of_their_own_in_grpo(
    lab_models: dict[str, Path],
    tmp_path: Path,
    calls: list[Call],
) -> None:
    training = GrpoTraining(
        steps=1,
        prompts_per_step=2,
        rollouts_per_prompt=4,
        optimisation=OPTIMISATION,
        sampling=SAMPLING,
        curve=CURVE,
    )
    recipe = GrpoModel(base=HERE, data=DATA, training=training)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(recipe, {"base": lab_models["student"]}, tmp_path / name, seed=seed)
    assert calls[0] == calls[1]
    assert seeds(calls[:1]) != seeds(calls[2:])
    assert len({prompt for prompt, _ in calls[0]}) == 2
    assert len({seed for _, seed in calls[0]}) == 8


def test_processes_that_share_an_engine_draw_the_same_and_others_do_not() -> None:
    def drawn(process: int, together: int) -> list[list[int]]:
        seen: list[Call] = []
        generation = SimpleNamespace(
            mode="colocate", tensor_parallel_size=together, llm=Engine(seen)
        )
        trainer = SimpleNamespace(
            use_vllm=True,
            vllm_generation=generation,
            state=SimpleNamespace(global_step=3),
            accelerator=SimpleNamespace(process_index=process),
        )
        with rollouts.seeded(trainer, 7):
            own = Settings(max_tokens=SAMPLING.max_completion_length, logprobs=None)
            generation.llm.generate(
                [{"prompt_token_ids": [1]}], sampling_params=own, use_tqdm=False
            )
        assert own.seed is None
        assert generation.llm.generate.__func__ is Engine.generate  # as it was
        return seeds(seen)

    assert drawn(0, 2) == drawn(1, 2) != drawn(2, 2)
    assert drawn(0, 1) != drawn(1, 1)


def test_a_server_is_asked_prompt_by_prompt() -> None:
    """TRL's own client, up to the request that it would send."""
    sent, lock = [], threading.Lock()

    class Client(VLLMClient):
        def __init__(self) -> None:
            self.base_url, self.model = "http://none", "m"

        def _post(self, url: str, **request: Any) -> dict[str, Any]:
            asked = request["json"]
            with lock:
                sent.append(asked)
            one = {"prompt_token_ids": asked["prompt"][0], "logprobs": None}
            return {
                "choices": [
                    one | {"token_ids": [*asked["prompt"][0], i]} for i in range(asked["n"])
                ]
            }

    client = Client()
    trainer = SimpleNamespace(
        use_vllm=True, vllm_generation=SimpleNamespace(mode="server", vllm_client=client),
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(process_index=0),
    )  # fmt: skip
    with rollouts.seeded(trainer, 7):
        found = client.generate(
            prompts=[[1, 2], [3]], features=None, n=2, generation_kwargs={"min_p": 0.1}
        )
    assert found["completion_ids"] == [[1, 2, 0], [1, 2, 1], [3, 0], [3, 1]]
    assert found["prompt_ids"] == [[1, 2], [3]]
    assert found["logprobs"] is None
    by_prompt = {tuple(asked["prompt"][0]): asked for asked in sent}
    assert by_prompt.keys() == {(1, 2), (3,)}
    assert by_prompt[1, 2]["seed"] != by_prompt[(3,)]["seed"]
    assert all(asked["min_p"] == 0.1 and asked["n"] == 2 for asked in sent)


@pytest.mark.parametrize("kind", [DistillationConfig, GRPOConfig])
def test_the_profile_reaches_trls_arguments(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rollout_settings() == {}
    colocated = Rollouts(
        sleep=True, gpu_memory_utilization=0.45, tensor_parallel_size=2, max_model_length=4096
    )
    for chosen in (colocated, Rollouts(mode="server", url="http://127.0.0.1:8000")):
        for name, value in Profile(rollouts={"grpo": chosen}).environment("grpo").items():
            monkeypatch.setenv(name, value)
        made = kind(output_dir=str(tmp_path), use_cpu=True, bf16=False, **rollout_settings())
        assert (made.use_vllm, made.vllm_mode) == (True, chosen.mode)
    assert made.vllm_server_base_url == "http://127.0.0.1:8000"
    assert set(Profile(rollouts={"grpo": colocated}).environment("distill").values()) == {""}
    monkeypatch.setenv("STUDY_ROLLOUTS", Rollouts(mode="server").model_dump_json())
    with pytest.raises(PrerequisiteError, match="need the address"):
        rollout_settings()
