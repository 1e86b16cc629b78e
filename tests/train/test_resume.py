"""A stage that is killed and continued leaves the bytes of one that ran through: every file but the
seconds in cost.json.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.models.loading import load_model, load_tokenizer
from study.record.checkpoints import Checkpoints
from study.train import build as stages_module
from study.train import grpo as grpo_module
from study.train.checkpoint import between_generations
from study.train.guard import trace as guard_module
from tests.support.resumed_stages import RECIPES, STEPS, at, attempt, content, shaken
from tests.support.tiny_stages import OddTexts


@pytest.fixture(scope="module", autouse=True)
def reward_for_odd_texts() -> Any:
    """A random model never answers, and GRPO without a correct completion has no gradient: an
    arbitrary half of the texts is right.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo_module, "open_grader", lambda version: OddTexts())
        yield


@pytest.fixture(scope="module")
def undisturbed(
    lab_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, bytes]]:
    """The artifact of a stage that ran through and never made a checkpoint, built once for each
    kind.
    """
    made: dict[str, dict[str, bytes]] = {}

    def of(kind: str) -> dict[str, bytes]:
        if kind not in made:
            root = tmp_path_factory.mktemp(kind)
            made[kind] = content(
                attempt(
                    kind, lab_models, root / "out", Checkpoints(root / "checkpoints", every_s=1e9)
                )
            )
        return made[kind]

    return of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("pretrain", 20),
        ("sft", 30),
        ("grpo", 3),
        ("distill", 1),
        ("distill", 4),
        ("distill", STEPS),
    ],
)
def test_a_stage_told_to_stop_continues_to_the_same_bytes(
    kind: str,
    step: int,
    lab_models: dict[str, Path],
    undisturbed: Callable[[str], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    first = Checkpoints(tmp_path / "c", every_s=1e9)
    with pytest.raises(SystemExit) as left:
        attempt(kind, lab_models, tmp_path / "a", first, at(step, first.ask_to_stop))
    assert left.value.code == 143
    assert [p.name for p in (tmp_path / "c").iterdir()] == [
        f"step-{step + (kind in ('pretrain', 'sft'))}"
    ]
    shaken()
    steps_seen: list[int] = []
    out = attempt(
        kind,
        lab_models,
        tmp_path / "b",
        Checkpoints(tmp_path / "c", every_s=1e9),
        lambda phase, done, *_: steps_seen.append(done),
    )
    assert min(steps_seen) >= step > 0, "trained from the beginning"
    assert content(out) == undisturbed(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["distill", "grpo"])
def test_killed_again_and_again_a_stage_ends_with_the_same_bytes(
    kind: str,
    lab_models: dict[str, Path],
    undisturbed: Callable[[str], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    """Each process is killed by SIGKILL two steps after it began, one of them between the hashes of
    a checkpoint and its name.
    """
    expected, outs, codes = undisturbed(kind), [], []
    while 0 not in codes and len(codes) < STEPS:
        outs.append(tmp_path / str(len(codes)))
        arguments = (kind, lab_models, outs[-1], tmp_path / "c", len(codes) == 1)
        process = multiprocessing.get_context("fork").Process(target=one_life, args=arguments)
        process.start()
        process.join()
        codes.append(process.exitcode)
        assert len(list((tmp_path / "c").glob("step-*"))) <= 2
    assert codes[-1] == 0
    assert codes[:-1] == [-signal.SIGKILL] * (len(codes) - 1)
    assert len(codes) >= 3
    assert content(outs[-1]) == expected


def one_life(
    kind: str, lab_models: dict[str, Path], out: Path, folder: Path, while_sealing: bool
) -> None:
    """A process that makes a checkpoint at every step and kills itself at its third report of a
    step, or amid its second seal.
    """
    shaken()
    seen: list[int] = []

    def report(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
        seen.append(done)
        if len(set(seen) - {0}) == 3 and not while_sealing:
            os.kill(os.getpid(), signal.SIGKILL)

    if while_sealing:
        rename, calls = Path.rename, [0]

        def killing(path: Path, target: Path) -> Path:
            calls[0] += 1
            if calls[0] > 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(path, target)

        Path.rename = killing  # type: ignore[method-assign] - this process ends here
    attempt(kind, lab_models, out, Checkpoints(folder, every_s=0), report)


@pytest.mark.slow
def test_kept_steps_are_models_and_change_nothing_else(
    lab_models: dict[str, Path], undisturbed: Callable[[str], dict[str, bytes]], tmp_path: Path
) -> None:
    """keep = all: also the steps that an attempt which failed had reached."""
    with pytest.raises(RuntimeError, match="told to fail"):
        attempt(
            "distill",
            lab_models,
            tmp_path / "a",
            Checkpoints(tmp_path / "c", every_s=0, keep="all"),
            at(4, told_to_fail),
        )
    out = attempt(
        "distill", lab_models, tmp_path / "b", Checkpoints(tmp_path / "c", every_s=0, keep="all")
    )
    assert sorted(path.name for path in (out / "steps").iterdir()) == [
        f"step-{n}" for n in range(1, STEPS)
    ]
    assert {
        name: value for name, value in content(out).items() if not name.startswith("steps/")
    } == undisturbed("distill")
    sizes = {path.name for path in (out / "steps" / "step-1").iterdir()}
    assert sizes == {path.name for path in lab_models["student"].iterdir()}
    first, final = load_model(out / "steps" / "step-1"), load_model(out)
    assert load_tokenizer(out / "steps" / "step-1").get_vocab() == load_tokenizer(out).get_vocab()
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), final.parameters(), strict=True)
    )


def told_to_fail() -> None:
    raise RuntimeError("told to fail")


@pytest.mark.slow
def test_nothing_continues_beyond_the_step_where_the_guard_stopped(
    lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["distill"]
    stopping = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"guard": "stop"})}
    )
    monkeypatch.setitem(RECIPES, "stopped", stopping)
    monkeypatch.setattr(
        guard_module, "DETECTORS", {"third_step": lambda seen: seen.columns["step"][-1] >= 3}
    )
    expected = content(
        attempt(
            "stopped", lab_models, tmp_path / "a", Checkpoints(tmp_path / "unused", every_s=1e9)
        )
    )
    with monkeypatch.context() as patch:
        patch.setattr(stages_module, "save_trained", lambda *_: told_to_fail())
        with pytest.raises(RuntimeError, match="told to fail"):
            attempt("stopped", lab_models, tmp_path / "b", Checkpoints(tmp_path / "c", every_s=0))
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["step-2"]
    assert (
        content(
            attempt("stopped", lab_models, tmp_path / "d", Checkpoints(tmp_path / "c", every_s=0))
        )
        == expected
    )
    assert json.loads(expected["guard.json"])["stopped_at"] == 3


def test_no_checkpoint_while_samples_wait_in_trls_buffer() -> None:
    arguments = SimpleNamespace(steps_per_generation=2)
    spent, waiting = (
        SimpleNamespace(args=arguments, num_iterations=2, _step=step) for step in (8, 9)
    )
    assert between_generations(spent)
    assert not between_generations(waiting)
    assert between_generations(
        SimpleNamespace(args=SimpleNamespace())
    )  # a trainer that samples nothing
