"""`study grade` on completions of another framework: what it shows, writes and refuses."""

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from study.errors import PrerequisiteError, SpecError
from tests.support.grade_command import grade, samples
from tests.support.grade_command import write_rows as write


def test_what_it_shows_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out.jsonl", "out.csv"):
        grade(samples(tmp_path), output=tmp_path / name)
    shown = capsys.readouterr().out
    assert (
        "columns: completion 'completions' (guessed), answer 'answer' (guessed), id 'id' (guessed),"
        " no truncated" in shown
    )
    assert "2 problems, k = 4, 8 completions, grader math-1" in shown
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    assert lines["avg@4"][1] == "37.5%"
    assert lines["pass@4"][1] == "100.0%"
    assert lines["maj@4"][1] == "50.0%"
    assert lines["unparsed"][1:] == ["2", "0"]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == [
        "correct",
        "correct",
        "wrong",
        "unparsed",
        "wrong",
        "wrong",
        "correct",
        "unparsed",
    ]
    assert [row["relaxed"] for row in rows[3::4]] == ["correct", "correct"]
    assert rows[6] | {"tier": None} == {
        "id": "b", "sample": 2, "outcome": "correct", "relaxed": "correct", "tier": None,
        "extracted": "2", "extracted_relaxed": "2",
        "reference": "2", "disagreement": "", "percent_only": False,
        "grader": "math-1", "line": 2,
    }  # fmt: skip
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["outcome"] for row in csv.DictReader(file)] == [row["outcome"] for row in rows]


def test_rows_with_the_same_id_are_samples_of_one_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": n // 2, "completion": rf"\boxed{{{n}}}", "answer": n // 2 * 2} for n in range(4)]
    grade(write(tmp_path / "x.jsonl", rows))
    assert "2 problems, k = 2, 4 completions" in capsys.readouterr().out
    rows[1]["answer"] = "9"
    with pytest.raises(
        PrerequisiteError, match="lines 1 and 2 have the same id '0' and different gold answers"
    ):
        grade(write(tmp_path / "y.jsonl", rows))


def test_an_output_is_never_replaced_unasked(tmp_path: Path) -> None:
    file, output = samples(tmp_path), write(tmp_path / "out.csv", ["mine"])
    with pytest.raises(SpecError, match="exists"):
        grade(file, output=output)
    assert output.read_text() == "mine\n"
    grade(file, output=output, force=True)
    assert output.read_text().startswith("id,sample,outcome")
    with pytest.raises(SpecError, match=r"written as \.jsonl or \.csv"):
        grade(file, output=tmp_path / "out.txt")
    with pytest.raises(SpecError, match="is the file that is graded"):
        grade(file, output=file, force=True)
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_gzipped_lines_give_the_same_outcomes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = samples(tmp_path)
    packed = tmp_path / "samples.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    said = []
    for each in (file, packed):
        grade(each)
        said.append(capsys.readouterr().out.replace(str(each), "FILE"))
    assert said[0] == said[1]
    for content in (file.read_bytes(), packed.read_bytes()[:-12]):
        packed.write_bytes(content)
        with pytest.raises(PrerequisiteError, match="cannot be read"):
            grade(packed)


def test_a_summary_as_json_holds_what_the_screen_shows(tmp_path: Path) -> None:
    file, summary = samples(tmp_path), tmp_path / "s.json"
    grade(file, summary=summary)
    page = json.loads(summary.read_text())
    assert (page["file"], page["grader"], page["problems"], page["samples"], page["k"]) == (
        "samples.jsonl",
        "math-1",
        2,
        8,
        "4",
    )
    assert page["measures"]["avg@4"]["strict"]["mean"] == 0.375
    assert page["outcomes"]["unparsed"] == {"strict": 2, "relaxed": 0}
    assert page["correct_relaxedly_alone"] == 2
    assert page["columns"]["completion"] == "completions"
    with pytest.raises(SpecError, match="exists"):
        grade(file, summary=summary)
    with pytest.raises(SpecError, match=r"--summary is written as \.json"):
        grade(file, summary=tmp_path / "s.csv")


def test_letters_of_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(
        tmp_path / "x.jsonl",
        [{"completion": r"\boxed{\text{(E)}}", "answer": letter} for letter in ("E", "(e)", "I")],
    )
    grade(file, grader="choice-1", summary=tmp_path / "s.json")
    assert "grader choice-1" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["outcomes"]["correct"]["strict"] == 2
    with pytest.raises(
        PrerequisiteError,
        match=r"y.jsonl:1: choice-1 cannot take the gold answer: .* is not a letter",
    ):
        grade(write(tmp_path / "y.jsonl", [{"completion": "x", "answer": "12"}]), grader="choice-1")


OWN = """def grade(completion, answer):
    return completion.strip() == answer


GOLDEN = [("7", "7", "correct"), ("8", "7", "{second}")]
"""


@pytest.mark.parametrize(
    ("second", "doubt"),
    [("wrong", ""), ("correct", "has 2 correct cases of 2"), ("unparsed", "1 of 2 golden cases")],
)
def test_a_grader_of_ones_own_is_doubted_by_its_golden_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str, doubt: str
) -> None:
    (tmp_path / "own.py").write_text(OWN.format(second=second), encoding="utf-8")
    grade(
        write(tmp_path / "a.jsonl", [{"completion": "7", "answer": "7"}]),
        grader=f"{tmp_path}/own.py:grade",
    )
    said = capsys.readouterr()
    assert "100.0%" in said.out
    assert "boxed" not in said.out + said.err  # a band is no matter of a grader of one's own
    assert doubt in said.err if doubt else not said.err


def test_stored_generations_are_sent_to_regrade(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="stored generations") as caught:
        grade(write(tmp_path / "x.jsonl", [{"format": "generations-1", "task": "t"}]))
    assert caught.value.hint.startswith("study regrade")


@pytest.mark.slow
def test_it_works_in_an_empty_folder_and_says_a_mistake_in_two_lines(tmp_path: Path) -> None:
    file = samples(tmp_path)
    study = [sys.executable, "-m", "study.cli.main", "grade"]
    done = subprocess.run(
        [*study, file.name], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "maj@4" in done.stdout
    failed = subprocess.run(
        [*study, "nothing.jsonl"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (failed.returncode, failed.stderr.count("\n"), failed.stderr[:7]) == (1, 2, "study: ")
