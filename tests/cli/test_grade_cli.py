"""`study grade` as a person with somebody else's completions types it: which columns it takes, what
it says, what it writes and refuses.
"""

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from study.cli import grade as command
from study.data import completions
from study.errors import PrerequisiteError, SpecError
from study.evaluate.scores import summarise
from study.grading.boxed import Outcome
from study.grading.registry import Grade


def write(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return path


def grade(file: Path, **options: Any) -> None:
    defaults = dict.fromkeys(
        (
            "completion_field",
            "answer_field",
            "id_field",
            "truncated_field",
            "output",
            "summary",
            "workers",
            "second_opinion",
        )
    )
    defaults |= {
        "force": False,
        "deadline": 5.0,
        "grader": "math-1",
        "audit": False,
        "skip_malformed": False,
    }
    command.grade(file, **{**defaults, **options})


def read(file: Path, **columns: Any) -> list[completions.Row]:
    found = [row for row, _ in completions.rows(file, completions.fields(file, **columns))]
    assert all(isinstance(row, completions.Row) for row in found)
    return [row for row in found if isinstance(row, completions.Row)]


ROWS = {
    "one sample": {"completion": "c7", "answer": "7"},
    "samples": {"question": "?", "responses": ["c7", "d"], "ground_truth": 7},
    "lm-eval": {"doc_id": 3, "doc": {"answer": "7"}, "target": "7", "resps": [["c7", "d"]]},
    "chat": {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "c7"}],
        "label": "7",
    },
    "openai": {
        "choices": [{"message": {"content": "c7"}, "finish_reason": "length"}],
        "target": "7",
    },
    "vllm": {"outputs": [{"text": "c7"}, {"text": "d"}], "gold": 7.5},
    "verl": {"output": "c7", "reward_model": {"ground_truth": "7"}},
    "dots in a name": {"a.b": "c7", "answer": ["7"]},
}
EXPECTED = {
    "one sample": (("c7",), "7", "1", (False,)),
    "samples": (("c7", "d"), "7", "1", (False, False)),
    "lm-eval": (("c7", "d"), "7", "3", (False, False)),
    "chat": (("c7",), "7", "1", (False,)),
    "openai": (("c7",), "7", "1", (True,)),
    "vllm": (("c7", "d"), "7.5", "1", (False, False)),
    "verl": (("c7",), "7", "1", (False,)),
    "dots in a name": (("c7",), "7", "1", (False,)),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_many_frameworks(name: str, tmp_path: Path) -> None:
    columns = {"completion": "a.b"} if name == "dots in a name" else {}
    (row,) = read(write(tmp_path / "x.jsonl", [ROWS[name]]), **columns)
    assert (row.completions, row.answer, row.id, row.truncated) == EXPECTED[name]


def test_named_columns_and_dotted_paths_win(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x.jsonl",
        [
            {
                "completion": "a",
                "mine": {"texts": [{"t": "b"}, {"t": "c"}]},
                "answer": "1",
                "gold": {"x": 2},
                "cut": [True, False],
            }
        ],
    )
    (row,) = read(file, completion="mine.texts.t", answer="gold.x", truncated="cut")
    assert (row.completions, row.answer, row.truncated) == (("b", "c"), "2", (True, False))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "x.jsonl:2: not a JSON object"), ("{", "x.jsonl:2: not JSON"),
        ({"completion": None, "answer": "1"}, "x.jsonl:2: no completion at"),
        ({"completion": [], "answer": "1"}, "x.jsonl:2: no completion at"),
        ({"completion": "x"}, "x.jsonl:2: no gold answer at"),
        ({"completion": "x", "answer": " "}, "x.jsonl:2: the reference answer is empty"),
        ({"completion": "x", "answer": True}, "x.jsonl:2: no gold"),
        ("\udcff", "x.jsonl:2: not JSON"), ("[" * 100_000, "x.jsonl:2: not JSON"),
    ],
)  # fmt: skip
def test_a_malformed_line_is_named_or_left_out(
    line: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = line if isinstance(line, str) else json.dumps(line)
    file = tmp_path / "x.jsonl"
    file.write_bytes(
        b'{"completion": "\\\\boxed{1}", "answer": "1"}\n'
        + text.encode("utf-8", "surrogateescape")
        + b"\n\n"
    )
    with pytest.raises(PrerequisiteError, match=r"x\.jsonl:2") as caught:
        grade(file)
    assert message.split(": ")[1] in caught.value.message
    assert "--skip-malformed" in caught.value.hint
    grade(file, skip_malformed=True)
    shown = capsys.readouterr()
    assert "1 malformed lines left out" in shown.err
    assert "1 problems" in shown.out


def test_lines_that_are_left_out_cannot_raise_the_score_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {"completion": r"\boxed{1}", "answer": "1", "finish_reason": "stop"}
    file = write(tmp_path / "x.jsonl", [right, {**right, "finish_reason": "odd"}])
    grade(file, skip_malformed=True)
    shown = " ".join(capsys.readouterr().err.split())
    assert "avg@1 leaves them out: 100.0% strict would be 50.0%" in shown


def test_null_content_that_was_cut_counts_as_truncated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = [(r"\boxed{1}", "stop"), (None, "length")]
    rows = [
        {"choices": [{"message": {"content": text}, "finish_reason": end}], "answer": "1"}
        for text, end in replies
    ]
    grade(write(tmp_path / "x.jsonl", rows), summary=tmp_path / "s.json")
    assert "50.0%" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["outcomes"]["truncated"]["strict"] == 1


def test_damaged_rows_are_told_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"completion": "\boxed{1}", "answer": 0.5},
        {"completion": r"\boxed{1}", "answer": "It is one. " * 20},
    ]
    grade(write(tmp_path / "x.jsonl", rows))
    shown = capsys.readouterr()
    assert "1 rows have control characters" in shown.err
    assert "a backspace before" in shown.err
    assert "1 gold answers are longer than a sentence" in shown.err
    assert "1 gold answers are JSON floats" in shown.out


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no column looks like the completion; there are: a"):
        grade(write(tmp_path / "a.jsonl", [{"a": 1}]))
    with pytest.raises(SpecError, match="no answer at 'b'") as caught:
        grade(write(tmp_path / "b.jsonl", [{"completion": "x", "answer": 1}]), answer_field="b")
    assert "there are: completion, answer" in caught.value.hint
    with pytest.raises(PrerequisiteError, match="is not a file"):
        grade(tmp_path / "c.jsonl")
    with pytest.raises(PrerequisiteError, match="is empty"):
        grade(write(tmp_path / "d.jsonl", ["", " "]))


def samples(tmp_path: Path) -> Path:
    rows = [
        {
            "id": "a",
            "completions": [r"\boxed{7}", r"\boxed{7.0}", r"\boxed{8}", "it is 7"],
            "answer": "7",
        },
        {
            "id": "b",
            "completions": [r"\boxed{1}", r"\boxed{1/1}", r"\boxed{2}", r"\boxed{2"],
            "answer": "2",
        },
    ]
    return write(tmp_path / "samples.jsonl", rows)


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


RIGHT, SILENT = (
    Grade(Outcome.correct, Outcome.correct, None, "7", "7"),
    Grade(Outcome.truncated, Outcome.truncated),
)


def wrong(text: str) -> Grade:
    return Grade(Outcome.wrong, Outcome.wrong, None, text, text)


@pytest.mark.parametrize(
    ("results", "maj"),
    [
        ([RIGHT, wrong("8")], 0.5),
        ([RIGHT, wrong("8"), wrong("8.0")], 0.0),
        ([RIGHT, SILENT, SILENT], 1.0),
        ([SILENT, SILENT], 0.0),
        ([RIGHT, RIGHT, wrong("8"), wrong(r"\frac{16}{2}"), wrong("x")], 0.5),
    ],
)
def test_ties_share_the_point_and_silence_casts_no_vote(results: list[Grade], maj: float) -> None:
    assert summarise({"a": results}).measures[-1].strict.mean == maj


def test_problems_count_alike_however_often_they_were_sampled() -> None:
    summary = summarise({"a": [RIGHT] * 6, "b": [wrong("1"), wrong("2")]})
    assert summary.k == "2-6"
    assert [(measure.name, measure.strict.mean) for measure in summary.measures] == [
        ("avg", 0.5),
        ("pass@2", 0.5),
        ("maj", 0.5),
    ]
    assert summarise({"a": [RIGHT]}).measures[0].strict.low is None
    with pytest.raises(ValueError, match="at least one graded completion"):
        summarise({})
