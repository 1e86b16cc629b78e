"""`study grade` on rows of any framework: columns, malformed lines, cut completions, damage."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.data import completions
from study.errors import PrerequisiteError, SpecError
from tests.support.grade_command import grade
from tests.support.grade_command import write_rows as write


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
