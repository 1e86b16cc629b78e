"""`study fetch`: what a scale asks of the hub, what is looked at, and the one message where no hub
can be reached.
"""

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from study.cli.main import build_app
from study.errors import PrerequisiteError
from study.runner.verbs import fetch as fetching
from study.spec.grid.scale import load_scale
from study.spec.recipe.data import HubData
from study.spec.recipe.model import HubModel

MODEL = HubModel(id="a/b", revision="0" * 40)


def test_every_origin_is_asked_for_once() -> None:
    items = fetching.needed(load_scale("paper"))
    models = [item.id for item in items if isinstance(item, HubModel)]
    assert {
        "Qwen/Qwen3-1.7B",
        "Qwen/Qwen3-1.7B-Base",
        "Qwen/Qwen3-4B",
        "Qwen/Qwen3-8B",
        "Qwen/Qwen3-14B",
    } <= set(models)
    assert {"Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-Math-7B-Instruct"} <= set(models)
    assert len(models) == len(set(models)), "the student inside its own teacher is downloaded once"
    assert {item.hub for item in items if isinstance(item, HubData)} == {
        "open-thoughts/OpenThoughts-114k", "BytedTsinghua-SIA/DAPO-Math-17k",
        "allenai/wildguardmix", "open-r1/Mixture-of-Thoughts",
    }  # fmt: skip
    assert [item for item in items if isinstance(item, str)] == [
        "aime24",
        "aime25",
        "gpqa_diamond",
        "math500",
        "mmlu_pro",
    ]
    assert fetching.needed(load_scale("lab")) == []


def test_without_a_hub_one_message_says_what_is_missing_and_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("STUDY_DATA", raising=False)

    def away(*_: object, **__: object) -> str:
        raise httpx.ConnectError(
            "Name or service not known"
        )  # as huggingface_hub says it; no OSError

    monkeypatch.setattr("huggingface_hub.snapshot_download", away)
    monkeypatch.setattr("datasets.load_dataset", away)
    ran = CliRunner().invoke(build_app(), ["fetch", "--scale", "paper"])
    assert isinstance(ran.exception, PrerequisiteError)
    count = len(fetching.needed(load_scale("paper")))
    assert ran.exception.message.startswith(f"{count} of {count} items are missing:")
    assert ran.exception.message.count("\n") == count, "a line each, no traceback"
    assert "study fetch --scale paper --into FOLDER" in ran.exception.hint
    assert "HF_HUB_OFFLINE=1" in ran.exception.hint
    assert ran.output.count("MISSING") == count


def test_a_list_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub")
    )
    ran = CliRunner().invoke(build_app(), ["fetch", "--scale", "paper", "--list"])
    assert ran.exit_code == 0
    assert "model Qwen/Qwen3-1.7B@70d244cc86cc" in ran.output
    assert "task math500 HuggingFaceH4/MATH-500@6e4ed1a2a79a" in ran.output


def test_a_snapshot_with_a_hole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    for name in ("config.json", "tokenizer_config.json", "a.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})
    )
    found = fetching.fetch(MODEL)
    assert found.error is not None
    assert "lacks b.safetensors" in found.error.message
    (tmp_path / "b.safetensors").write_text("{}")
    assert fetching.fetch(MODEL).told.startswith("2 files of weights")


def test_data_and_benchmarks_in_a_folder_need_no_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    for task in ("math500", "aime24", "aime25"):
        (tmp_path / f"{task}.jsonl").write_text(
            json.dumps({"problem": f"In {task}?", "answer": "1", "unique_id": "u", "id": 1}) + "\n"
        )
    rows = [
        {"problem": f"P {i}?", "ground_truth_solution": f"\\boxed{{{i}}}", "domain": "math"}
        for i in range(300)
    ]
    (tmp_path / "openthoughts-math.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    items = [
        item
        for item in fetching.needed(load_scale("paper"))
        if "OpenThoughts" in getattr(item, "hub", "") or item == "math500"
    ]
    told = {fetching.name_of(item): fetching.fetch(item).told for item in items}
    assert told["data the files in STUDY_DATA metadata"].startswith("rows 300, ")
    assert told["task math500 HuggingFaceH4/MATH-500@6e4ed1a2a79a"].startswith(
        "1 problems, fingerprint "
    )
