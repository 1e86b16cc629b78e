"""Adapters in every stage that has them: bitwise resume, merged weights of the right rank, kept
steps and exports that load alone.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from study.models.loading import load_model, load_tokenizer
from study.record.checkpoints import Checkpoints
from study.runner.verbs.export import Source, export
from study.spec.recipe.training import Lora
from study.train import grpo as grpo_module
from study.train.build import build
from tests.support.resumed_stages import RECIPES, at, content, shaken
from tests.support.tiny_stages import OddTexts

LORA = Lora(rank=2, alpha=4.0)
KINDS = ["sft", "grpo", "distill"]
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture(autouse=True)
def half_of_the_texts_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never answers, and GRPO without a correct completion has no gradient."""
    monkeypatch.setattr(grpo_module, "open_grader", lambda version: OddTexts())


@pytest.fixture(scope="module")
def inputs(lab_models: dict[str, Path]) -> dict[str, Path]:
    return {**lab_models, "base": lab_models["student"]}


@pytest.fixture(scope="module")
def through(
    inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return the artifact of a stage that ran through and made no checkpoint, built once a kind."""
    root = tmp_path_factory.mktemp("through")

    def of(kind: str) -> Path:
        if not (root / kind).exists():
            run(recipe(kind), inputs, root / kind, Checkpoints(root / f"{kind}-c", every_s=1e9))
        return root / kind

    return of


def recipe(kind: str, **changes: Any) -> Any:
    made = RECIPES[kind]
    steps = 8 if kind == "sft" else 6
    return made.model_copy(
        update={
            "training": made.training.model_copy(update={"lora": LORA, "steps": steps, **changes})
        }
    )


def run(
    made: Any,
    inputs: dict[str, Path],
    out: Path,
    checkpoints: Checkpoints,
    report: Callable[..., None] = lambda *_: None,
) -> Path:
    out.mkdir()
    build(made, 0, inputs, out, report, checkpoints)
    return out


def change(before: Path, after: Path) -> dict[str, torch.Tensor]:
    old, new = (dict(load_model(folder).named_parameters()) for folder in (before, after))
    assert old.keys() == new.keys()
    return {
        name: (new[name] - old[name]).detach()
        for name in old
        if not torch.equal(old[name], new[name])
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_with_adapters_leaves_a_plain_model_and_resumes_to_the_same_bytes(
    kind: str, inputs: dict[str, Path], through: Callable[[str], Path], tmp_path: Path
) -> None:
    made, whole = recipe(kind), through(kind)
    assert not list(whole.rglob("adapter*"))
    changed = change(inputs["base"], whole)
    assert {name.split(".")[-2] for name in changed} == LINEAR
    assert all(
        torch.linalg.matrix_rank(delta, rtol=1e-3) <= LORA.rank for delta in changed.values()
    )
    first = Checkpoints(tmp_path / "c", every_s=1e9)
    with pytest.raises(SystemExit):
        run(made, inputs, tmp_path / "a", first, at(3, first.ask_to_stop))
    assert list((tmp_path / "c").glob("step-*/adapter_model.safetensors")), (
        "a checkpoint holds the adapters"
    )
    assert not [path for path in (tmp_path / "c").glob("step-*/*") if path.is_dir()], (
        "transformers reads a folder in their place"
    )
    shaken()
    assert content(
        run(made, inputs, tmp_path / "b", Checkpoints(tmp_path / "c", every_s=1e9))
    ) == content(whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kept_steps_are_plain_models_too_and_can_be_exported(
    kind: str, inputs: dict[str, Path], through: Callable[[str], Path], tmp_path: Path
) -> None:
    made, plain = recipe(kind), through(kind)
    out = run(made, inputs, tmp_path / "out", Checkpoints(tmp_path / "c", every_s=0, keep="all"))
    assert (out / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes(), (
        "keeping steps changes nothing"
    )
    steps = sorted((out / "steps").iterdir(), key=lambda path: int(path.name.removeprefix("step-")))
    assert len(steps) == made.training.steps - 1
    assert {path.name for path in steps[0].iterdir()} >= {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
    }
    assert not list(out.rglob("adapter*"))
    size = {name: float(delta.norm()) for name, delta in change(inputs["base"], steps[-1]).items()}
    assert {name.split(".")[-2] for name in size} == LINEAR
    for name, delta in change(steps[-1], out).items():  # one step before the end, and not the end
        assert 0 < float(delta.norm()) < 2 * max(size.values()), name
    manifest = {
        "recipe": json.loads(made.model_dump_json()),
        "seed": 0,
        "inputs": {},
        "steps": made.training.steps,
        "code": "c",
    }
    for step, folder in ((None, out), (1, steps[0])):
        target = tmp_path / f"export-{step}"
        export(Source("stage", folder, manifest, None, step), target)
        loaded = AutoModelForCausalLM.from_pretrained(target)
        ours = load_model(folder)
        words = torch.arange(12).view(2, 6)
        with torch.no_grad():
            assert torch.equal(loaded(words).logits, ours(words).logits)
        load_tokenizer(target)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_lie_on_bfloat16_weights_and_the_artifact_stays_bfloat16(
    kind: str, inputs: dict[str, Path], tmp_path: Path
) -> None:
    """How a model that would not fit is trained: frozen weights in two bytes, adapters in four."""
    made = recipe(kind, dtype="bfloat16", steps=2)
    out = run(made, inputs, tmp_path / "out", Checkpoints(tmp_path / "c", every_s=0, keep="all"))
    for folder in (out, out / "steps" / "step-1"):
        assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {
            torch.bfloat16
        }
