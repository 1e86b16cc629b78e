"""JSON Lines as people bring them, and typed values out of their rows."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from study.data.lines import parse_object, require_text, split_lines, stream_lines, text_content
from study.data.texts import control_tokens, lost_backslash, normal_form
from study.data.values import MISSING, Gold, column_of, gold_of, id_of, prompt_of, value_at
from study.errors import PrerequisiteError

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\x1c", "\u000b"])
def test_only_a_line_feed_ends_a_line(inside: str) -> None:
    row = {"question": f"one{inside}line"}
    text = json.dumps(row, ensure_ascii=False) + "\r\n\n" + json.dumps({"question": "two"}) + "\n"
    found = [(number, parse_object(line, "x")) for number, line in split_lines(text.encode())]
    assert found == [(1, row), (3, {"question": "two"})]


def test_byte_order_marks_are_dropped_also_between_files_put_together(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(BOM + b'{"a": 1}\n' + BOM + b'{"a": 2}\n' + BOM + b"\n")
    found = [(number, parse_object(line, "x")) for number, line, _ in stream_lines(file)]
    assert found == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (b"{", "x:3: not JSON", "jq -c"),
        (b"[1]", "x:3: not a JSON object", "jq -c"),
        (b'{"a": "\\alpha"}', "x:3: not JSON", "written twice"),
        (b'{"a": "\xe9"}', "x:3: not JSON in UTF-8", "iconv"),
        (b'{"a": 1, "a": 2}', "x:3: the name 'a' is written twice", "keep one"),
        (b'{"a": ' + b"[" * 100_000, "x:3: not JSON", ""),
        (b'{"a": ' + b"1" * 5000 + b"}", "x:3: not JSON", ""),
    ],
)
def test_a_line_that_is_no_object_is_told_with_what_to_do(
    line: bytes, message: str, hint: str
) -> None:
    with pytest.raises(PrerequisiteError) as told:
        parse_object(line, "x:3")
    assert told.value.message.startswith(message)
    assert hint in told.value.hint


def test_a_name_twice_matters_at_the_top_alone() -> None:
    assert parse_object(b'{"top_logprobs": {"the": 1, "the": 2}}', "x") == {
        "top_logprobs": {"the": 2}
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PAR1..", "not a text file"), ('{"a": 1}'.encode("utf-16"), "UTF-16")],
)
def test_a_file_that_is_no_text_is_told(content: bytes, message: str) -> None:
    with pytest.raises(PrerequisiteError, match=message):
        require_text(content, Path("x"))


def test_paths_into_rows() -> None:
    row = {"a.b": 1, "a": {"c": None, "d": [{"e": 1}, {"e": 2}]}}
    assert value_at(row, "a.b") == 1
    assert value_at(row, "a.c") is None
    assert value_at(row, "a.d.e") == [1, 2]
    assert value_at(row, "a.d.1.e") == 2
    assert value_at(row, "a.d.2.e") is MISSING
    assert value_at(row, "a.x") is MISSING
    assert value_at(row, "a.b.c") is MISSING


USER = {"role": "user", "content": "Why?"}


@pytest.mark.parametrize(
    "value",
    [
        "Why?",
        [USER],
        USER,
        [{"from": "human", "value": "Why?"}],
        [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}],
    ],
)
def test_a_prompt_is_a_text_or_one_user_turn(value: Any) -> None:
    assert prompt_of(value, "x:1", "q") == "Why?"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"role": "system", "content": "Be brief."}, USER], r"a chat of 2 turns \(system, user\)"),
        ([USER, {"role": "assistant", "content": "So."}], r"2 turns \(user, assistant\)"),
        ([{"role": "assistant", "content": "So."}], r"1 turns \(assistant\)"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "parts that are not text"),
        ([{"role": "user", "content": ""}], "is empty"),
        ({"text": "Why?"}, "is an object"),
        (["Why?"], "is a list"),
        (7, "is a number"),
        (True, "is true or false"),
        (None, "is empty"),
        (" \n", "is empty"),
        (str([USER]), "the text of a list of messages"),
        (json.dumps([USER]), "the text of a list of messages"),
        ("half \ud83d", "half a surrogate pair"),
        ("Find $\frac12$", 'a form feed before "rac"'),
    ],
)
def test_other_prompts_are_refused(value: Any, message: str) -> None:
    with pytest.raises(PrerequisiteError, match=rf"^x:1: column 'q' .*{message}") as told:
        prompt_of(value, "x:1", "q")
    assert told.value.hint


def test_golds_are_texts_and_numbers() -> None:
    assert gold_of("7", "x", "a") == Gold("7")
    assert gold_of(10**30, "x", "a") == Gold("1" + "0" * 30)
    assert gold_of(0.1 + 0.2, "x", "a") == Gold("0.30000000000000004", is_float=True)
    assert gold_of(7.0, "x", "a") == Gold("7.0", is_float=True)
    assert gold_of([["7"]], "x", "a", unwrap=True) == Gold("7")


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"value": "6"}, "is an object", ".value"),
        (["6"], "is a list", "one accepted answer"),
        (["6", "7"], "is a list", "one accepted answer"),
        (True, "is true or false", '"True"'),
        (float("nan"), "NaN", "empty cell"),
        (float("-inf"), "NaN or infinite", ""),
        (None, "is empty", "fill"),
        ("", "is empty", "fill"),
        ("\udc00", "half a surrogate pair", "cut in two"),
        ("\frac{1}{2}", 'a form feed before "rac"', "written twice"),
        ("\theta", 'a tab before "heta"', "written twice"),
        ("\binom{4}{2}", 'a backspace before "inom"', "written twice"),
        ("x \neq 2", 'a line feed before "eq"', "written twice"),
        ("\nu", 'a line feed before "u"', "written twice"),
        ("2\rho", 'a return before "ho"', "written twice"),
        ("\tau", 'a tab before "au"', "written twice"),
    ],
)
def test_other_golds_are_refused(value: Any, message: str, hint: str) -> None:
    with pytest.raises(PrerequisiteError, match=f"^x:4: column 'a' .*{message}") as told:
        gold_of(value, "x:4", "a")
    assert hint in told.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "first\nthen use it\n\tand indent\r\nnext",
        "page\fNext page",
        "\\frac{1}{2}\n\\nu",
        "a\tb",
        "he said\nnot so\nu = 3",
    ],
)
def test_ordinary_white_space_is_no_lost_backslash(text: str) -> None:
    assert lost_backslash(text) == ""


def test_a_worked_solution_as_gold_may_have_lines() -> None:
    text = "2 + 2 = 4\nnot 5\nu = 4\n#### 4"
    assert gold_of(text, "x", "a") == Gold(text)


@pytest.mark.parametrize(("value", "text"), [("k", "k"), (3, "3"), (2.0, "2.0"), (0, "0")])
def test_ids_are_texts_and_numbers(value: Any, text: str) -> None:
    assert id_of(value, "x", "id") == text


@pytest.mark.parametrize("value", [None, "", True, [1], {"a": 1}, float("nan"), "\ud800"])
def test_other_ids_are_refused(value: Any) -> None:
    with pytest.raises(PrerequisiteError, match=r"^x:2: no id at 'id'"):
        id_of(value, "x:2", "id")


def test_further_columns_never_hold_the_text_of_an_object() -> None:
    values = ["t", 3, 0.5, None, True, [1], {"a": 1}, float("nan")]
    assert list(map(column_of, values)) == ["t", "3", "0.5", "", None, None, None, None]


@pytest.mark.parametrize(
    "text",
    [
        "  What is\u00a0caf\u00e9 ?\n",
        "What\tis\u2028cafe\u0301 ?",
        "\ufeffWhat is ca\u200bf\u00e9 ?",
    ],
)
def test_one_normal_form(text: str) -> None:
    assert normal_form(text) == "What is caf\u00e9 ?"


def test_what_differs_to_the_eye_stays_different() -> None:
    assert len(set(map(normal_form, ["x2", "x\u00b2", "X2", "x 2", "x-2"]))) == 5


def test_a_python_escape_is_a_lost_backslash_too() -> None:
    assert lost_backslash("\varrho") == 'a vertical tab before "arrho"'
    assert lost_backslash("\aleph") == 'a bell before "leph"'


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (b'{"a": ' + b"7" * 4400 + b"}", "written as a text"),
        (b'{"a": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "nested too deeply"),
        ('{"a": 1}'.encode("utf-16"), "iconv -f UTF-16"),
        (b"\x1f\x8b\x08\xff", "packed with gzip"),
    ],
)
def test_the_advice_is_about_what_is_wrong(line: bytes, advice: str) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        parse_object(line, "rows.jsonl:1")
    assert advice in str(caught.value.hint)


def test_a_gzipped_file_is_told_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="packed with gzip"):
        require_text(b"\x1f\x8b\x08", tmp_path / "rows.jsonl.gz")


def test_a_packed_file_is_read_like_an_open_one(tmp_path: Path) -> None:
    content = b'{"a": 1}\n'
    packed = gzip.compress(content)
    assert text_content(packed, tmp_path / "x.jsonl.gz") == content
    assert text_content(content, tmp_path / "x.jsonl") == content
    with pytest.raises(PrerequisiteError, match="packed with gzip") as caught:
        text_content(packed, tmp_path / "x.jsonl")
    assert caught.value.hint == "give it a name that ends in .gz: x.jsonl.gz"
    for damaged in (packed[:-9], content):
        with pytest.raises(PrerequisiteError, match="cannot be unpacked"):
            text_content(damaged, tmp_path / "x.jsonl.gz")
    with pytest.raises(PrerequisiteError, match="is not a text file"):
        text_content(gzip.compress(b"PAR1"), tmp_path / "x.jsonl.gz")


def test_control_tokens_are_found() -> None:
    assert control_tokens("a<|im_end|>b<|eot_id|><end_of_turn>") == [
        "<|im_end|>",
        "<|eot_id|>",
        "<end_of_turn>",
    ]
    assert control_tokens("[INST] a </s> b <pad>") == ["[INST]", "</s>", "<pad>"]
    assert control_tokens("0 <|x|> 1 and a < b | c > d") == []
    assert control_tokens("to </s> be", ["</s>", ""]) == ["</s>"]
