"""vLLM itself, a CPU build: prompt log-probabilities, a vLLM teacher for a distillation, `study
evaluate --backend vllm`, seeds.

Run in the second environment by `make vllm-test`. A start of vLLM takes half a minute on a quiet
machine, many times that on a busy one.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.cli.main import build_app
from study.evaluate import generations
from study.models.loading import load_model, load_tokenizer
from study.models.server.client import scores
from study.models.server.server import Server
from study.record.checkpoints import Checkpoints
from study.spec.machine.serving import TeacherServer
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.model import Architecture, DistilledModel, LocalModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.teacher import ServerScoring
from study.spec.recipe.training import Curve, DistillTraining, Optimisation, Sampling
from study.train import teachers
from study.train.build import build
from tests.support.random_models import random_models

EAGER = ["--enforce-eager"]  # a compiled graph would take minutes and be used once
SETTINGS = TeacherServer(options=EAGER, timeout_s=1800)
ARCHITECTURE = Architecture(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32,
    max_position_embeddings=128, initializer_range=0.1,
)  # fmt: skip
HERE = LocalModel(path="unused", digest="unused")


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("STUDY_TEACHER_SERVER", SETTINGS.model_dump_json())
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return random_models(tmp_path_factory.mktemp("models"), ARCHITECTURE, "student", "teacher")


@pytest.fixture(scope="module")
def server(folders: dict[str, Path], environment: None) -> Iterator[Server]:
    """One server for the tests that score: its start is what takes the time."""
    with teachers._serving(folders["teacher"], "float32") as started:
        yield started


@pytest.mark.parametrize("top_k", ["all", 20, 1])
def test_prompt_logprobs_are_transformers_log_softmax(
    top_k: Any, folders: dict[str, Path], server: Server
) -> None:
    model, vocabulary = (
        load_model(folders["teacher"]).eval(),
        len(load_tokenizer(folders["teacher"])),
    )
    drawn = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, vocabulary, (n,), generator=drawn).tolist() for n in (3, 17, 60, 9)]
    firsts = [1, 8, 30, 2]
    found = scores(server.url, rows, firsts, top_k, vocabulary)
    with torch.no_grad():
        wanted = [
            model(torch.tensor([row])).logits[0].log_softmax(-1)[first - 1 : -1]
            for row, first in zip(rows, firsts, strict=True)
        ]
    reference_NV = torch.cat(wanted)
    written_N = torch.tensor(
        [token for row, first in zip(rows, firsts, strict=True) for token in row[first:]]
    )
    assert (found.logprobs_NK - reference_NV.gather(-1, found.ids_NK)).abs().max() < 1e-5
    assert (
        found.written_N - reference_NV.gather(-1, written_N.unsqueeze(-1)).squeeze(-1)
    ).abs().max() < 1e-5
    largest_NK = reference_NV.topk(found.ids_NK.shape[-1]).values
    assert (found.logprobs_NK - largest_NK).abs().max() < 1e-5  # they are the likeliest ones


def trained(
    objective: Objective, scoring: Any, folders: dict[str, Path], out: Path
) -> dict[str, list[Any]]:
    training = DistillTraining(
        steps=2, prompts_per_step=4, optimisation=Optimisation(learning_rate=1e-3),
        sampling=Sampling(max_completion_length=10),
        curve=Curve(every=2, problems=2, k=1), scoring=scoring,
    )  # fmt: skip
    data = ArithmeticData(train_size=64, selection_size=8, held_out_size=8)
    recipe = DistilledModel(
        student=HERE, teacher=HERE, data=data, objective=objective, training=training
    )
    out.mkdir()
    build(
        recipe,
        0,
        folders,
        out,
        lambda *_: None,
        Checkpoints(out.with_name(out.name + "-checkpoints")),
    )
    return json.loads((out / "history.json").read_text())["columns"]


@pytest.fixture
def shared(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages use the server that runs already; tests/models/test_teacher_server.py has a stage that
    starts
    its own.
    """
    monkeypatch.setattr(teachers, "_serving", lambda *_: contextlib.nullcontext(server))


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    "objective", [Objective(), Objective(support="student_topk", k=5, gradient="stop_gradient")]
)
def test_a_teacher_that_returns_everything_trains_as_the_local_one(
    objective: Objective, folders: dict[str, Path], tmp_path: Path
) -> None:
    local = trained(objective, "local", folders, tmp_path / "local")
    remote = trained(objective, ServerScoring(top_k="all"), folders, tmp_path / "server")
    for name in (
        "train/loss",
        "train/grad_norm",
        "train/reverse_kl",
        "train/teacher_entropy",
        "train/topk_overlap",
    ):
        assert remote[name][-1] == pytest.approx(local[name][-1], rel=1e-4, abs=1e-6), name
    assert remote["train/teacher_coverage"][-1] == 1.0


@pytest.mark.usefixtures("shared")
def test_a_small_top_k_covers_less(folders: dict[str, Path], tmp_path: Path) -> None:
    objective = Objective(support="student_topk", k=5, missing="student_value")
    columns = trained(objective, ServerScoring(top_k=8), folders, tmp_path / "d")
    assert 0 < columns["train/teacher_coverage"][-1] < 1
    assert 0 < columns["train/teacher_coverage_mass"][-1] < 1
    assert "train/reverse_kl" not in columns


@pytest.fixture(scope="module")
def one_engine(environment: None) -> Iterator[None]:
    """The first engine that is made serves every later call: its start takes the time, and seeds
    come with each request.
    """
    import vllm

    made: list[Any] = []
    original = vllm.LLM

    def engine(**settings: Any) -> Any:
        if not made:
            made.append(original(**settings))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm, "LLM", engine)
        yield
    made.clear()


def evaluated(folder: Path, out: Path, seed: int) -> list[Any]:
    """Completions of `study evaluate`, as stored."""
    typed = [
        "evaluate",
        str(folder),
        "--tasks",
        "lab_math",
        "--k",
        "4",
        "--limit",
        "4",
        "--max-completion-length",
        "12",
    ]
    build_app()(
        [*typed, "--backend", "vllm", "--seed", str(seed), "-o", str(out)], standalone_mode=False
    )
    path = out / "lab_math" / generations.NAME
    return [problem.completions for problem in generations.read(path).problems]


@pytest.mark.usefixtures("one_engine")
def test_study_evaluate_draws_by_its_seed(folders: dict[str, Path], tmp_path: Path) -> None:
    first = evaluated(folders["student"], tmp_path / "a", 0)
    assert first == evaluated(folders["student"], tmp_path / "b", 0)
    assert first != evaluated(folders["student"], tmp_path / "c", 1)
    assert all(
        len(set(completions)) > 1 for completions in first
    )  # the samples of one problem differ
    evaluation = json.loads((tmp_path / "a" / "lab_math" / "evaluation.json").read_text())
    assert "vllm" in json.dumps(evaluation)


@pytest.mark.usefixtures("one_engine")
def test_the_seeds_of_rollouts_reach_a_real_engine(folders: dict[str, Path]) -> None:
    """What `study.train.rollouts` wraps: vLLM's own `LLM.generate`.

    TRL's weight transfer is no part of it.
    """
    import vllm

    from study.train.rollouts import seeded

    engine = vllm.LLM(model=str(folders["student"]), enforce_eager=True, seed=0, dtype="float32")

    def drawn(run_seed: int, step: int) -> list[Any]:
        generation = SimpleNamespace(mode="colocate", tensor_parallel_size=1, llm=engine)
        trainer = SimpleNamespace(
            use_vllm=True,
            vllm_generation=generation,
            state=SimpleNamespace(global_step=step),
            accelerator=SimpleNamespace(process_index=0),
        )
        with seeded(trainer, run_seed):
            own = vllm.SamplingParams(temperature=1.0, max_tokens=12)
            found = engine.generate(
                [{"prompt_token_ids": [3, 5, 6]}] * 4, sampling_params=own, use_tqdm=False
            )
        return [tuple(answer.outputs[0].token_ids) for answer in found]

    first = drawn(0, 0)
    assert first == drawn(0, 0)
    assert first != drawn(1, 0)
    assert first != drawn(0, 1)
    assert len(set(first)) > 1  # copies of one prompt are not copies of one draw
