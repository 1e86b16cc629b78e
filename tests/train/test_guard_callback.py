"""The guard on a real trainer with a few thousand parameters: observe changes nothing, stop seals
what there is, with forensics.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.models.lab import build_tokenizer
from study.models.loading import load_model
from study.record.checkpoints import Checkpoints
from study.spec.grid.grid import load_grid
from study.spec.identity import cell_id
from study.spec.recipe.model import (
    DistilledModel,
    GrpoModel,
    LabTokenizer,
)
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import Curve, DistillTraining, GrpoTraining, Optimisation
from study.train.build import build
from study.train.guard import trace as guard_module
from study.train.guard.callback import Scored, token_table
from study.train.guard.detectors import DETECTORS, SIGNALS
from tests.support.tiny_stages import DATA, HERE, SAMPLING

STEPS = 8


def common(steps: int = STEPS, learning_rate: float = 1e-2) -> dict[str, Any]:
    return {
        "steps": steps, "prompts_per_step": 4,
        "optimisation": Optimisation(learning_rate=learning_rate),
        "sampling": SAMPLING, "curve": Curve(every=20, problems=2, k=1),
    }  # fmt: skip


def distilled(
    guard: Any = "observe", steps: int = STEPS, learning_rate: float = 1e-2
) -> DistilledModel:
    training = DistillTraining(guard=guard, **common(steps, learning_rate))
    return DistilledModel(
        student=HERE, teacher=HERE, data=DATA, objective=Objective(), training=training
    )


def run(recipe: Any, inputs: dict[str, Path], out: Path) -> Path:
    out.mkdir()
    build(
        recipe,
        0,
        inputs,
        out,
        lambda *_: None,
        Checkpoints(out.with_name(f"{out.name}-checkpoints")),
    )
    return out


def read(folder: Path, name: str = "guard") -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(folder).parameters()])


@pytest.fixture(scope="module")
def watching(lab_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose guard observes."""
    return run(distilled(), lab_models, tmp_path_factory.mktemp("watching") / "d")


@pytest.mark.slow
def test_observe_is_bitwise_the_run_without_a_guard(
    lab_models: dict[str, Path], watching: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = read(watching)
    assert guard["trace"]["step"] == list(range(1, STEPS + 1))
    assert guard["trace"].keys() == {"step", *SIGNALS}
    assert all(value is not None for column in guard["trace"].values() for value in column)
    monkeypatch.setattr(guard_module.Guard, "observe", lambda *_: [])
    bare = run(distilled(), lab_models, tmp_path / "bare")
    assert read(bare)["trace"] == {"step": []}
    assert torch.equal(weights(watching), weights(bare))
    assert read(watching, "history") == read(bare, "history")


def test_the_trace_agrees_with_the_curve(watching: Path) -> None:
    """Token means of the curve are weighted by tokens, so only means over rollouts and steps are
    the plain means of the trace.
    """
    trace, columns = read(watching)["trace"], read(watching, "history")["columns"]
    for name in (
        "train/loss",
        "train/grad_norm",
        "rollout/mean_tokens",
        "rollout/accuracy",
        "rollout/repetition_3gram",
    ):
        assert np.mean(trace[name]) == pytest.approx(columns[name][-1], rel=1e-4, abs=1e-9)


@pytest.mark.slow
def test_stop_seals_what_there_is_with_forensics(
    lab_models: dict[str, Path], tmp_path: Path
) -> None:
    """A teacher equal to its student gives no gradient: the first window without one ends the run.

    The learning rate is next to nothing: Adam makes full steps of a gradient that is rounding
    alone, and the two would come apart.
    """
    same = {"student": lab_models["student"], "teacher": lab_models["student"]}
    seen = read(run(distilled(learning_rate=1e-12), same, tmp_path / "observed"))
    out = run(distilled("stop", learning_rate=1e-12), same, tmp_path / "stopped")
    guard, bundle = read(out), read(out, "forensics")
    assert (
        seen["alarms"]["zero_signal"] == guard["stopped_at"] == guard["alarms"]["zero_signal"] == 5
    )
    assert seen["stopped_at"] is None
    assert guard["trace"] == {name: column[:5] for name, column in seen["trace"].items()}
    assert read(out, "history")["columns"]["step"] == [0, 5]
    assert load_model(out) is not None
    assert bundle["stopped_at"] == 5
    assert [row["step"] for row in bundle["metrics"]] == [1, 2, 3, 4, 5]
    assert bundle["completions"].keys() == {"wrong", "longest", "most_repetitive"}
    for shown in bundle["completions"]["longest"]:
        assert shown["outcome"] in ("wrong", "unparsed", "truncated", "correct")
        assert 0 < shown["tokens"] <= 10
        assert 0 <= shown["repeated_fraction"] <= 1
    assert isinstance(bundle["tokens"], list)
    assert not (tmp_path / "observed" / "forensics.json").exists()


def test_the_token_table_counts_what_ends_a_repeated_3gram_with_both_sides_scores() -> None:
    """Two rows; in the first 7 8 9 comes twice (the second 9 is repeated) and is followed by
    padding; the scores skip the padding.
    """
    ids = torch.tensor([[7, 8, 9, 7, 8, 9, 0, 0], [5, 5, 5, 5, 5, 6, 7, 8]])
    mask = torch.tensor([[1] * 6 + [0] * 2, [1] * 8]).bool()
    student = -torch.arange(1.0, 15.0)  # row 1: -1 .. -6, row 2: -7 .. -14
    table = token_table(
        [Scored(ids, mask, student, torch.full((14,), 0.5))], build_tokenizer(LabTokenizer())
    )
    assert [(row["count"], row["student_logprob"], row["teacher_logprob"]) for row in table] == [
        (2, -10.5, -10.0),
        (1, -6.0, -5.5),
    ]
    broken = token_table(
        [Scored(ids, mask, torch.full((14,), float("nan")), student)],
        build_tokenizer(LabTokenizer()),
    )
    assert [row["student_logprob"] for row in broken] == [None, None]


def test_stop_without_an_alarm_is_bitwise_observe(
    lab_models: dict[str, Path], watching: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "DETECTORS", {"not_finite": DETECTORS["not_finite"]})
    stopping = run(distilled("stop"), lab_models, tmp_path / "d")
    assert read(stopping)["stopped_at"] is None
    assert torch.equal(weights(stopping), weights(watching))
    assert read(stopping)["trace"] == read(watching)["trace"]


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(
    lab_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.train import distill

    original, calls = distill.response_mean, []

    def broken(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return original(*arguments) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(distill, "response_mean", broken)
    out = run(distilled("stop"), lab_models, tmp_path / "d")
    assert read(out)["stopped_at"] == read(out)["alarms"]["not_finite"] == 3
    assert torch.isfinite(weights(out)).all()
    monkeypatch.undo()
    assert torch.equal(weights(out), weights(run(distilled(steps=2), lab_models, tmp_path / "two")))


def test_grpo_is_observed_where_it_measures_the_same(
    lab_models: dict[str, Path], tmp_path: Path
) -> None:
    training = GrpoTraining(rollouts_per_prompt=2, **common(6))
    out = run(
        GrpoModel(base=HERE, data=DATA, training=training),
        {"base": lab_models["student"]},
        tmp_path / "g",
    )
    guard = read(out)
    measured = {
        "train/loss", "train/grad_norm", "train/weight_norm", "train/student_entropy",
        "rollout/accuracy", "rollout/mean_tokens",
        "rollout/truncated_fraction",
    }  # fmt: skip
    assert guard["trace"].keys() == {"step", *measured}
    assert (
        guard["alarms"]["zero_signal"] == 5
    )  # a random model is never right: equal rewards, no advantage
    assert guard["stopped_at"] is None


def test_a_grid_sets_the_policy_for_every_cell_and_it_is_identity(tmp_path: Path) -> None:
    page = """
name: trial
question: Does it stop?
base: {{student: student, teacher: rlvr, objective: full_reverse_kl,
  length: standard, data: math, evaluation: math{training}}}
factors: {{objective: [full_reverse_kl, sampled_plain_loss]}}
"""
    ids = {}
    for name, training in (
        ("bare", ""),
        ("observe", ", training: {guard: observe}"),
        ("stop", ", training: {guard: stop}"),
    ):
        path = tmp_path / f"{name}.yaml"
        path.write_text(page.format(training=training), encoding="utf-8")
        cells = load_grid(str(path)).cells
        assert {c.cell.model.training.guard for c in cells} == {
            "stop" if name == "stop" else "observe"
        }
        ids[name] = [cell_id(c.cell) for c in cells]
    assert ids["bare"] == ids["observe"]
    assert not {*ids["bare"]} & {*ids["stop"]}
