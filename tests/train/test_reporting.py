"""`report_to: wandb`: switched by the profile or the environment, refused before anything is spent,
and no part of any number.

The package is a stand-in here: it takes the calls that transformers' own callback makes.
docs/gpus.md: what was tried with the real one.
"""

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments
from trl.extras import profiling

from study.errors import PrerequisiteError, SpecError
from study.record.checkpoints import Checkpoints
from study.runner.work import reporting
from study.runner.work.reporting import with_reports
from study.spec.machine.profile import Profile
from study.train.arguments import arguments
from study.train.build import build
from tests.support.resumed_stages import RECIPES, SHARED, content


class Stub(types.ModuleType):
    """What WandbCallback calls, written down."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.run: Any = None
        self.config: Any = _Config()
        self.begun: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.finished = 0

    def init(self, **how: Any) -> None:
        self.begun.append(how)
        self.run = types.SimpleNamespace(summary={}, _label=lambda **_: None)

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def finish(self) -> None:
        self.finished, self.run = self.finished + 1, None


class _Config(dict[str, Any]):
    def update(self, values: Any, allow_val_change: bool = False) -> None:  # type: ignore[override]
        assert allow_val_change
        super().update(values)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub, errors = Stub(), types.ModuleType("wandb.sdk.lib.config_util")
    errors.ConfigError = type("ConfigError", (Exception,), {})  # type: ignore[attr-defined]
    for name in ("wandb.sdk", "wandb.sdk.lib"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.setitem(sys.modules, "wandb.sdk.lib.config_util", errors)
    monkeypatch.setattr(
        profiling, "wandb", stub, raising=False
    )  # TRL imports it where it is installed
    for name in (
        "WANDB_PROJECT",
        "WANDB_RUN_GROUP",
    ):  # set once, so that what the code sets goes with the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return stub


@pytest.fixture
def folder(lab_models: dict[str, Path]) -> Path:
    return lab_models["student"]


def trained(folder: Path, out: Path) -> dict[str, bytes]:
    out.mkdir()
    inputs = {"student": folder, "teacher": folder}
    build(
        RECIPES["distill"],
        0,
        inputs,
        out,
        lambda *_: None,
        Checkpoints(out.with_name(out.name + "-c"), every_s=1e9),
    )
    return content(out)


@pytest.mark.slow
def test_a_stage_reports_under_its_own_id_and_its_bytes_stay_the_same(
    folder: Path, tmp_path: Path, wandb: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = trained(folder, tmp_path / "a")
    assert not wandb.begun
    monkeypatch.setenv("STUDY_REPORT_TO", "wandb")
    monkeypatch.setenv("STUDY_TASK", "distill-12345678")
    assert trained(folder, tmp_path / "b") == silent
    assert [(one["name"], one["project"]) for one in wandb.begun] == [
        ("distill-12345678", "opd-study")
    ]
    steps = [values["train/global_step"] for values in wandb.logged if "train/loss" in values]
    assert steps == list(range(1, SHARED["steps"] + 1))
    assert wandb.finished == 1, "a worker ends without hooks at exit"


def test_a_rehearsal_is_no_task_and_reports_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_REPORT_TO", "wandb")
    monkeypatch.delenv("STUDY_TASK", raising=False)
    assert (
        arguments(
            TrainingArguments, tmp_path, SHARED["optimisation"], steps=1, batch=2, seed=0
        ).report_to
        == []
    )


def test_the_profile_or_the_environment_switches_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDY_REPORT_TO", raising=False)
    monkeypatch.setattr(reporting, "find_spec", lambda _: object())
    assert with_reports(Profile()).environment("distill")["STUDY_REPORT_TO"] == ""
    assert (
        with_reports(Profile(report_to="wandb")).environment("distill")["STUDY_REPORT_TO"]
        == "wandb"
    )
    monkeypatch.setenv("STUDY_REPORT_TO", "wandb")
    assert with_reports(Profile()).report_to == "wandb"
    monkeypatch.setenv("STUDY_REPORT_TO", "none")
    assert with_reports(Profile(report_to="wandb")).report_to == "none"


def test_a_missing_package_and_an_unknown_word_are_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STUDY_REPORT_TO", raising=False)
    monkeypatch.setattr(reporting, "find_spec", lambda _: None)
    assert with_reports(Profile()) == Profile()
    with pytest.raises(PrerequisiteError, match="wandb is not installed") as caught:
        with_reports(Profile(report_to="wandb"))
    assert "opd-study[wandb]" in caught.value.hint
    monkeypatch.setenv("STUDY_REPORT_TO", "wanbd")
    with pytest.raises(SpecError, match="STUDY_REPORT_TO=wanbd is not one of none, wandb"):
        with_reports(Profile())
