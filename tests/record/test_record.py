"""Records: sealed, small, strict, rounded; a change or a cut is found."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from study.errors import IncompleteResults, RecordMismatch
from study.record import provenance
from study.record.assemble import assemble, base36, rounded, rounded_tree, score, thinned
from study.record.schema import (
    MAX_RECORD_BYTES,
    Cost,
    Provenance,
    Record,
    content,
    record_bytes,
    seal_of,
)
from study.record.seeds import stream
from study.record.store import Results, atomic_write, read_record, read_records, write_record
from study.runner.verbs.publish import publish

COLUMNS = {
    "step": [0, 1, 2],
    "eval/avg@2": [0.123456, None, 1.0],
    "train/loss": [None, math.nan, math.inf],
}


def evaluation(problems: int = 4, k: int = 8) -> dict[str, Any]:
    return {
        "task": "lab_math",
        "k": k,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_completion_length": 64,
        "grader": "boxed-1",
        "problem_ids": [f"p{i}" for i in range(problems)],
        "correct_counts": [i % (k + 1) for i in range(problems)],
        "truncated_counts": [0] * problems,
        "unparsed_counts": [1] * problems,
        "mean_tokens": 20.5,
    }


def fields(run: str = "cell-00000000-s0") -> dict[str, Any]:
    when = "2026-01-01T00:00:00+00:00"
    made = Provenance(
        code="c",
        packages={"torch": "2"},
        python="3.11",
        platform="Linux",
        started=when,
        finished=when,
    )
    cost = {"distill": Cost(wall_s=1.5, core_s=1.25, tokens_sampled=10)}
    plain = {
        "cell": "cell-00000000",
        "seed": 0,
        "scale": "lab",
        "spec": {"scale": "lab"},
        "stages": {"distill": "distill-1"},
    }
    scores = {"lab_math": score(evaluation())}
    return {
        "run": run,
        **plain,
        "revisions": {"distill": 1},
        "provenance": made,
        "scores": scores,
        "cost": cost,
    }


def record(run: str = "cell-00000000-s0", **changes: Any) -> Record:
    return assemble(fields(run) | changes, COLUMNS, {})


def test_what_is_written_is_read_and_carries_its_seal(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "cell-00000000-s0" / "record.json"
    write_record(path, record())
    assert read_record(path) == record()
    assert read_records(tmp_path / "runs") == [record()]
    assert json.loads(path.read_text())["seal"] == seal_of(json.loads(path.read_text()))
    assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"seed":0', '"seed":1'),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: text.replace('"schema":4', '"schema":5'),
        lambda text: "\x00" + text,
    ],
)
def test_any_change_is_found(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "a-s0" / "record.json"
    write_record(path, record())
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordMismatch, match="corrupt record") as caught:
        read_records(tmp_path)
    assert str(path) in caught.value.message
    assert f"rm {path}" in caught.value.hint


def test_a_record_without_its_seal_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RecordMismatch, match="seal"):
        write_record(tmp_path / "record.json", record().model_copy(update={"seed": 5}))
    assert not list(tmp_path.iterdir())


def test_history_keeps_its_shape_and_the_names_of_what_is_no_number() -> None:
    held = record().history
    assert held == {
        "step": [0, 1, 2],
        "eval/avg@2": [0.1235, None, 1],
        "train/loss": [None, "nan", "inf"],
    }
    steps, values = record().series("train/loss")
    assert steps == [1, 2]
    assert math.isnan(values[0])
    assert values[1] == math.inf
    assert record().series("absent") == ([], [])


def test_unequal_columns_and_counts_are_refused() -> None:
    with pytest.raises(ValidationError, match="2 values for 3 steps"):
        Record.model_validate(
            {**record().model_dump(mode="python"), "history": {"step": [0, 1, 2], "x": [1, 2]}}
        )
    with pytest.raises(ValidationError, match="a count above k"):
        score(evaluation() | {"correct_counts": [9, 0, 0, 0]})
    with pytest.raises(ValueError, match=r"0\.\.35"):
        base36([36])


def test_score_means_come_from_the_counts() -> None:
    made = score(evaluation(problems=12, k=8))
    assert made.correct == "012345678012"
    assert made.mean == round((sum(range(9)) + 0 + 1 + 2) / 96, 6)
    assert made.unparsed_fraction == round(12 / 96, 6)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_keeps_four_significant_digits(value: float) -> None:
    short = rounded(value)
    assert not isinstance(short, str)
    assert math.isclose(short, value, rel_tol=5.1e-4, abs_tol=1e-320)
    assert rounded(float(short)) == short


def test_trees_are_rounded_and_booleans_stay() -> None:
    assert rounded_tree({"a": [0.123456, True, None, "x"], "b": {"c": math.nan}}) == {
        "a": [0.1235, True, None, "x"],
        "b": {"c": "nan"},
    }


def long_columns(steps: int) -> dict[str, list[float | None]]:
    names = [f"train/a_metric_with_a_long_name_{i}" for i in range(18)]
    curve: list[float | None] = [0.5 if step % 20 == 0 else None for step in range(steps + 1)]
    return {"step": list(range(steps + 1)), "eval/avg@2": curve} | {
        name: [step / 7.0 for step in range(steps + 1)] for name in names
    }


@pytest.mark.parametrize("steps", [4, 120, 400])
def test_thinning_keeps_the_ends_and_every_evaluated_step(steps: int) -> None:
    short = thinned(long_columns(steps), 32)
    assert {0, steps, *range(0, steps + 1, 20)} <= set(short["step"])
    assert len(short["step"]) <= 32 + steps // 20 + 2
    assert short["step"] == sorted(short["step"])
    row = short["step"].index(steps)
    assert short["train/a_metric_with_a_long_name_0"][row] == rounded(steps / 7)


@pytest.mark.parametrize("length", [40, 400])
def test_a_full_record_fits_and_names_what_was_cut(length: int) -> None:
    one = {"prompt": "p" * 30, "completion": "x" * length, "outcome": "wrong"}
    completions = [{"step": step, **one} for step in (0, 60, 120) for _ in range(8)]
    evidence = {
        "completions": completions,
        "repeated_tokens": {"0": [["token", 9]] * 12},
        "log_ratio": {"correct": [[0.123456] * 8] * 4},
    }
    made = assemble(fields() | {"spec": {"x": "y" * 2500}}, long_columns(400), evidence)
    assert len(record_bytes(made)) <= MAX_RECORD_BYTES
    assert any("history" in rule for rule in made.trimmed)
    assert len(made.completions) == 24
    assert any("completions" in rule for rule in made.trimmed) == (length == 400)


def test_a_spec_of_many_stages_leaves_fewer_completions_and_every_measured_step() -> None:
    one = {"prompt": "p" * 30, "completion": "x" * 70, "outcome": "wrong"}
    completions = [{"step": step, **one} for step in (0, 60, 120) for _ in range(8)]
    made = assemble(
        fields() | {"spec": {"x": "y" * 6500}}, long_columns(120), {"completions": completions}
    )
    kept = len(made.completions) // 3
    assert kept in (2, 4)
    assert [item.step for item in made.completions] == [
        step for step in (0, 60, 120) for _ in range(kept)
    ]
    assert f"completions to {kept} a step" in made.trimmed
    assert len(record_bytes(made)) <= MAX_RECORD_BYTES


def test_what_cannot_fit_is_an_error_and_not_cut() -> None:
    with pytest.raises(RecordMismatch, match="at most 12000"):
        assemble(fields() | {"spec": {"x": "y" * 12_000}}, COLUMNS, {})


def test_content_leaves_out_times_and_nothing_else() -> None:
    other = fields()
    other["provenance"] = other["provenance"].model_copy(
        update={"finished": "2027-01-01T00:00:00+00:00", "platform": "Other"}
    )
    other["cost"] = {"distill": Cost(wall_s=9.0, core_s=9.0, tokens_sampled=10)}
    assert content(assemble(other, COLUMNS, {})) == content(record())
    other["cost"] = {"distill": Cost(wall_s=9.0, core_s=9.0, tokens_sampled=11)}
    assert content(assemble(other, COLUMNS, {})) != content(record())


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    atomic_write(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_publish_copies_sealed_records_alone(tmp_path: Path) -> None:
    results = Results(tmp_path)
    with pytest.raises(IncompleteResults, match="no sealed run"):
        publish(results, results.records)
    for run in ("a-s0", "b-s0"):
        write_record(results.record(run), record(run))
    assert publish(results, results.records, ["a-s0"]).new == ["a-s0"]
    assert (results.records / "a-s0.json").read_bytes() == results.record("a-s0").read_bytes()
    done = publish(results, results.records)
    assert (done.new, done.same) == (["b-s0"], ["a-s0"])
    write_record(results.record("b-s0"), record("b-s0", scale="paper"))
    assert publish(results, results.records).changed == ["b-s0"]
    results.record("a-s0").write_text("{}")
    before = [path.read_bytes() for path in sorted(results.records.iterdir())]
    with pytest.raises(RecordMismatch):
        publish(results, results.records)
    assert [path.read_bytes() for path in sorted(results.records.iterdir())] == before


def test_streams_are_named_numbers() -> None:
    assert stream(0, "data") == 6579482328423896878
    names = [("data",), ("data", 0), ("data", "0"), ("data", 1), ("data/0",), ("rollout", 0)]
    values = {stream(seed, *name) for seed in (0, 1) for name in names}
    assert len(values) == 12
    assert all(0 <= value < 2**63 for value in values)
    for name in (True, 0.5):
        with pytest.raises(TypeError, match="stream name"):
            stream(0, name)


def test_provenance_names_no_path_and_no_host() -> None:
    import socket

    text = json.dumps(
        [
            provenance.code_hash(),
            provenance.packages(),
            provenance.python_version(),
            provenance.platform_name(),
        ]
    )
    assert str(Path.home()) not in text
    assert socket.gethostname() not in text
    assert len(provenance.code_hash()) == 16
