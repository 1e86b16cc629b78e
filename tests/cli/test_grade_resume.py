"""`study grade` that is stopped and goes on; progress; a second opinion."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.cli import grade as command
from study.cli import grade_rows, grade_screen
from study.cli.grade_outcomes import OutcomeFile, unfinished
from study.errors import PrerequisiteError, SpecError
from study.grading.base import Grade, Grader, Sample
from study.grading.math1 import BoxedGrader
from tests.support.grade_command import grade
from tests.support.grade_command import write_rows as write


def numbers(tmp_path: Path, rows: int = 40) -> Path:
    made = [
        {"id": n // 2, "completion": rf"\boxed{{{n % 3}}}", "answer": n // 2} for n in range(rows)
    ]
    return write(tmp_path / "numbers.jsonl", made)


class Stopped(BoxedGrader):
    """Ctrl-C at the 25th completion."""

    def grade_stream(self, samples: Any) -> Any:
        for count, result in enumerate(super().grade_stream(samples)):
            if count == 25:
                raise KeyboardInterrupt
            yield result


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `study grade` until it is stopped after 25 completions."""

    def run(file: Path, output: Path, **options: Any) -> None:
        def opened(*_: Any, **__: Any) -> Grader:
            return Stopped()

        with monkeypatch.context() as patched:
            patched.setattr(command, "open_grader", opened)
            with pytest.raises(KeyboardInterrupt):
                grade(file, output=output, grader="boxed-1", **options)

    return run


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_stopped_run_keeps_its_outcomes_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stopped: Any, suffix: str
) -> None:
    file, output, whole = numbers(tmp_path), tmp_path / f"o.{suffix}", tmp_path / f"w.{suffix}"
    grade(file, output=whole, grader="boxed-1", summary=tmp_path / "w.json")
    stopped(file, output)
    assert "25 of 40 outcomes are written; the same command goes on" in capsys.readouterr().err
    kept = output.read_bytes()
    assert whole.read_bytes().startswith(kept)
    with output.open(newline="") as text:
        rows = list(csv.DictReader(text)) if suffix == "csv" else [json.loads(r) for r in text]
    assert len(rows) == 25
    output.write_bytes(kept + b"half a li")  # what a kill may leave behind the mark
    grade(file, output=output, grader="boxed-1", summary=tmp_path / "o.json")
    assert "25 of 40 outcomes are there already: going on" in capsys.readouterr().out
    assert output.read_bytes() == whole.read_bytes()
    assert not unfinished(output).exists()
    assert (tmp_path / "o.json").read_bytes() == (tmp_path / "w.json").read_bytes()
    with pytest.raises(SpecError, match="exists"):
        grade(file, output=output, grader="boxed-1")


def test_it_goes_on_only_with_the_same_input_and_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stopped: Any
) -> None:
    file, output = numbers(tmp_path), tmp_path / "o.jsonl"
    stopped(file, output)
    with pytest.raises(SpecError, match=r"begun with deadline 5\.0 \(now 2\.0\)") as caught:
        grade(file, output=output, grader="boxed-1", deadline=2.0)
    assert "--force begins anew" in caught.value.hint
    kept = output.read_bytes()
    numbers(tmp_path, 42)
    with pytest.raises(SpecError, match="another input: the file has changed"):
        grade(file, output=output, grader="boxed-1")
    assert output.read_bytes() == kept
    capsys.readouterr()
    grade(file, output=output, grader="boxed-1", force=True)
    assert "going on" not in capsys.readouterr().out
    assert len(output.read_text().splitlines()) == 42


def test_a_mark_that_does_not_fit_its_file_is_an_error(tmp_path: Path, stopped: Any) -> None:
    file, output = numbers(tmp_path), tmp_path / "o.jsonl"
    stopped(file, output)
    mark = unfinished(output).read_bytes()
    output.write_bytes(b"")
    with pytest.raises(PrerequisiteError, match="is shorter than"):
        grade(file, output=output, grader="boxed-1")
    output.write_bytes(b"x" * json.loads(mark)["bytes"])
    with pytest.raises(PrerequisiteError, match="is unfinished and cannot be read"):
        grade(file, output=output, grader="boxed-1")
    unfinished(output).write_text("{")
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        grade(file, output=output, grader="boxed-1")


def test_a_fault_of_the_data_leaves_no_outcomes(tmp_path: Path) -> None:
    rows = [{"completion": "A", "answer": "A"}, {"completion": "A", "answer": "seven"}]
    file, output = write(tmp_path / "x.jsonl", rows), tmp_path / "o.jsonl"
    with pytest.raises(PrerequisiteError, match=r"x\.jsonl:2: choice-1 cannot take"):
        grade(file, output=output, grader="choice-1")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_outcomes_reach_the_file_one_by_one_and_a_mark_follows(tmp_path: Path) -> None:
    clock = [0.0]
    output = tmp_path / "o.jsonl"
    target = OutcomeFile(output, {"sha256": "a"}, force=False, now=lambda: clock[0])
    target.append({"id": "1"})
    assert output.read_text() == '{"id": "1"}\n'
    assert json.loads(unfinished(output).read_bytes())["bytes"] == 0
    clock[0] = 2.0
    target.append({"id": "2"})
    assert json.loads(unfinished(output).read_bytes())["bytes"] == output.stat().st_size
    target.finish()
    assert not unfinished(output).exists()


HOLDING = """
import time

def grade(completion, answer):
    if completion == "hold":
        time.sleep(600)
    return completion == answer

GOLDEN = [("7", "7", "correct"), ("8", "7", "wrong")]
"""


def test_a_killed_command_goes_on(tmp_path: Path) -> None:
    """One completion holds the command up; outcomes before it are on the disk."""
    (tmp_path / "holding.py").write_text(HOLDING)
    made = [{"completion": text, "answer": "7"} for text in ("7", "7", "7", "hold", "7")]
    file, output = write(tmp_path / "x.jsonl", made), tmp_path / "o.jsonl"
    study = [sys.executable, "-m", "study.cli.main", "grade", str(file), "-o", str(output)]
    study += ["--grader", f"{tmp_path / 'holding.py'}:grade"]
    running = subprocess.Popen(
        study,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # a suite that runs in the background has it ignored, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (
        not output.exists() or len(output.read_text().splitlines()) < 3
    ):
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"the same command goes on from there" in said
    kept = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["outcome"] for row in kept][:3] == ["correct"] * 3
    assert unfinished(output).exists()


def test_progress_says_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    progress = grade_screen.Progress(100, 20, now=lambda: clock[0])
    for _ in range(40):
        clock[0] += 1.0
        progress.advance()
    # 30 completions in 30 s, 50 are left; the 20 that were stored say nothing about the speed
    assert capsys.readouterr().out == "50 of 100 completions, about 50 s left\n"


def test_skipped_lines_are_shown_with_what_they_could_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"completion": r"\boxed{7}", "answer": "7"}
    file = write(tmp_path / "x.jsonl", [good, {"completion": 7, "answer": "7"}, "{", good, good])
    grade(file, skip_malformed=True, summary=tmp_path / "s.json")
    said = capsys.readouterr().err
    assert "2 malformed lines left out" in said
    assert "100.0% strict would be 60.0%" in said
    assert json.loads((tmp_path / "s.json").read_text())["malformed_lines"] == 2


def test_golds_that_are_floats_or_long_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "First we add the two numbers and then we see that the result is seven"
    made = [
        {"completion": r"\boxed{0.25}", "answer": 0.25},
        {"completion": r"\boxed{7}", "answer": long},
    ]
    grade(write(tmp_path / "x.jsonl", made))
    said = capsys.readouterr()
    assert "1 gold answers are JSON floats" in said.out
    assert "1 gold answers are longer than a sentence, the first at" in said.err
    assert "x.jsonl:2" in said.err


class Percent(BoxedGrader):
    """Says of every sample that only the sign is missing, unless its question says percent."""

    def grade_sample(self, sample: Sample) -> Grade:
        found = super().grade_sample(sample)
        return replace(found, percent_only="percent" not in sample.question)


def test_a_missing_percent_sign_is_counted_on_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "open_grader", lambda *_, **__: Percent())
    made = [
        {"question": "How many percent?", "completion": r"\boxed{50}", "answer": r"50\%"},
        {"question": "Which share?", "completion": r"\boxed{50}", "answer": r"50\%"},
    ]
    file = write(tmp_path / "x.jsonl", made)
    grade(file, output=tmp_path / "o.jsonl", summary=tmp_path / "s.json")
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["percent_only"] for row in rows] == [False, True]
    shown = capsys.readouterr().out
    assert "question 'question'" in shown
    assert "1 completions are strictly wrong only because the gold answer has %" in shown
    assert json.loads((tmp_path / "s.json").read_text())["percent_sign_alone"] == 1


def test_a_second_opinion_lists_every_disagreement_with_both_readings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("math_verify")
    made = [
        {"completion": r"so $\boxed{\frac{1}{2}}$", "answer": "0.5"},
        {"completion": r"so $\boxed{52_9}$", "answer": "52_8"},  # math-verify drops the base
        {"completion": r"so $\boxed{7}$", "answer": "8"},
        {"completion": r"so $\boxed{7}$", "answer": "7", "truncated": True},
    ]
    for row in made:
        row.setdefault("truncated", False)
    file = write(tmp_path / "x.jsonl", made)
    options = {"second_opinion": "math-verify", "workers": 1}
    grade(file, output=tmp_path / "o.jsonl", summary=tmp_path / "s.json", **options)
    shown = capsys.readouterr().out
    assert "agree 2, disagree 1, no verdict 0, not compared 1" in shown
    why = "not compared: the completion was cut at its limit, which math-verify does not know"
    assert f"{why}: 1" in " ".join(shown.split())
    (line,) = [line for line in shown.splitlines() if "52_8" in line]
    assert line.split()[:5] == ["2", "2[0]", "52_8", "wrong", "52_9"]
    assert line.split()[5] == "correct"
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["second_opinion"] for row in rows] == ["correct", "correct", "wrong", "correct"]
    page = json.loads((tmp_path / "s.json").read_text())["second_opinion"]
    assert [row["not_compared"] for row in rows] == ["", "", "", why]
    assert page["not_compared"] == [f"{why}: 1"]
    assert page["counts"]["disagree"] == len(page["disagreements"]) == 1
    with pytest.raises(SpecError, match="unknown second opinion 'mine'"):
        grade(file, second_opinion="mine")


def test_second_opinions_are_read_back_from_an_unfinished_file() -> None:
    from study.cli.grade_outcomes import _stored

    row = {
        "id": "1", "sample": "0", "outcome": "wrong", "relaxed": "wrong", "tier": "",
        "extracted": "", "extracted_relaxed": "", "disagreement": "", "percent_only": "True",
        "second_opinion": "no verdict", "second_reading": "x",
    }  # fmt: skip
    stored = _stored(row)
    assert stored.grade.percent_only
    assert stored.grade.extracted is None
    assert grade_rows._stored_opinion(stored) == (None, "x")
