"""Rows of completions: cut samples count, what is not understood is refused by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.data.completions import Row, fields, rows
from study.errors import PrerequisiteError, SpecError


def read(tmp_path: Path, *content: Any, **columns: Any) -> list[Row | PrerequisiteError]:
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return [row for row, _ in rows(file, fields(file, **columns))]


def openai(content: Any, reason: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": reason}], "answer": "1"}


@pytest.mark.parametrize("first", [True, False])
def test_null_content_with_a_cut_reason_is_a_cut_completion(tmp_path: Path, first: bool) -> None:
    both = [openai(None, "length"), openai("\\boxed{1}", "stop")]
    found = read(tmp_path, *(both if first else both[::-1]))
    cut = [row for row in found if isinstance(row, Row) and row.truncated == (True,)]
    assert [row.completions for row in cut] == [("",)]
    assert all(isinstance(row, Row) for row in found)


def test_null_content_that_was_not_cut_is_refused(tmp_path: Path) -> None:
    (error,) = read(tmp_path, openai(None, "stop"))
    assert isinstance(error, PrerequisiteError)
    assert "it is null, and nothing says that it was cut" in error.message


def test_one_null_among_samples(tmp_path: Path) -> None:
    (row,) = read(
        tmp_path,
        {
            "completions": ["a", None],
            "answer": "1",
            "finish_reasons": [{"type": "stop"}, {"type": "length"}],
        },
    )
    assert isinstance(row, Row)
    assert (row.completions, row.truncated) == (("a", ""), (False, True))


BESIDE = [
    {"outputs": [{"text": "a", "finish_reason": "length", "stop_reason": None}]},
    {"completion": "a", "meta_info": {"finish_reason": {"type": "length", "length": 9}}},
    {"response": {"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}},
    {"output": {"text": "a", "finish_reason": "MAX_TOKENS"}},
]


@pytest.mark.parametrize("row", BESIDE)
def test_a_reason_beside_the_completion_is_found(tmp_path: Path, row: dict[str, Any]) -> None:
    column = {"completion": "response.choices.message.content"} if "response" in row else {}
    (found,) = read(tmp_path, {**row, "answer": "1"}, **column)
    assert isinstance(found, Row)
    assert found.truncated == (True,)


@pytest.mark.parametrize("value", [None, "whatever", 4096, ""])
def test_a_reason_that_is_not_understood_is_refused(tmp_path: Path, value: Any) -> None:
    (error,) = read(tmp_path, {"completion": "a", "answer": "1", "truncated": value})
    assert isinstance(error, PrerequisiteError)
    assert "x.jsonl:1: column 'truncated'" in error.message
    assert "--skip-malformed" in error.hint


def test_a_reason_in_later_rows_alone_is_refused(tmp_path: Path) -> None:
    plain = {"completion": "a", "answer": "1"}
    first, second = read(tmp_path, plain, {**plain, "truncated": True})
    assert isinstance(first, Row)
    assert isinstance(second, PrerequisiteError)
    assert "'truncated' is not in the first row" in second.message


def test_a_row_without_the_reason_that_others_have_is_refused(tmp_path: Path) -> None:
    plain = {"completion": "a", "answer": "1"}
    _, second = read(tmp_path, {**plain, "finish_reason": "stop"}, plain)
    assert isinstance(second, PrerequisiteError)
    assert "does not say whether the completion was cut" in second.message


def test_a_gold_that_was_a_float_says_so(tmp_path: Path) -> None:
    values = [2 / 3, 7, "0.5", [0.5]]
    found = read(tmp_path, *({"completion": "a", "answer": value} for value in values))
    kept = [(row.answer, row.gold_is_float) for row in found if isinstance(row, Row)]
    assert kept == [
        ("0.6666666666666666", True),
        ("7", False),
        ("0.5", False),
        ("0.5", True),
    ]


@pytest.mark.parametrize(
    "answer",
    [{"value": "6"}, ["6", "7"], True, float("nan"), "\frac12", "\ud800", None, [], [["a", "b"]]],
)
def test_other_golds_are_refused_by_line(tmp_path: Path, answer: Any) -> None:
    _, error = read(
        tmp_path, {"completion": "a", "answer": "1"}, {"completion": "a", "answer": answer}
    )
    assert isinstance(error, PrerequisiteError)
    assert "x.jsonl:2: no gold answer" in error.message


@pytest.mark.parametrize(
    "value",
    [7, True, {"nothing": "a"}, [{"role": "user", "content": "?"}], [["a", 1]], []],
)
def test_other_completions_are_refused(tmp_path: Path, value: Any) -> None:
    (error,) = read(tmp_path, {"completion": value, "answer": "1"})
    assert isinstance(error, PrerequisiteError)
    assert "x.jsonl:1: no completion at 'completion'" in error.message


def test_parts_of_one_message_are_one_completion(tmp_path: Path) -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so "}, {"text": "1"}]
    (row,) = read(tmp_path, {"messages": [{"role": "assistant", "content": parts}], "answer": "1"})
    assert isinstance(row, Row)
    assert row.completions == ("so 1",)


def test_the_question_is_read_where_there_is_one(tmp_path: Path) -> None:
    turn = [{"role": "system", "content": "!"}, {"role": "user", "content": "What percent?"}]
    found = read(
        tmp_path,
        {"prompt": turn, "completion": "a", "answer": "1"},
        {"prompt": "How many?", "completion": "a", "answer": "1"},
        {"prompt": {"odd": 1}, "completion": "a", "answer": "1"},
    )
    assert [row.question for row in found if isinstance(row, Row)] == [
        "What percent?",
        "How many?",
        "",
    ]


def test_a_lost_backslash_in_a_completion_is_noted(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"completion": "\boxed{\frac12}", "answer": "1"},
        {"completion": "one\ntwo", "answer": "1"},
    )
    assert [row.suspect for row in found if isinstance(row, Row)] == [
        'a backspace before "oxed"',
        "",
    ]


def test_a_named_column_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the first row has no truncated at 'cut'"):
        read(tmp_path, {"completion": "a", "answer": "1"}, truncated="cut")
