"""Strict YAML 1.2, errors that name line, path and the nearest known word, and the resolution of
page names.
"""

import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from study.errors import SpecError
from study.spec.base import Spec
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.model import SftModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import Optimisation
from study.spec.yaml.load import find, label, load, merged, names, parse, plain
from study.spec.yaml.validation import validate


class Switch(Spec):
    on: bool


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("Off", "Off"), ("y", "y"), ("true", True),
        ("False", False), ("null", None),
        ("~", None),
        ("1e-3", 1e-3), ("5E4", 5e4), (".5", 0.5), ("-2.", -2.0), ("7", 7), ("-7", -7),
        ("1_000", "1_000"), ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"), ("0o17", "0o17"), ("0x1f", "0x1f"), ('"7"', "7"),
        ("'true'", "true"), ("1.0.0", "1.0.0"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    found = plain(parse(f"x: {text}", "p.yaml"))["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"p\.yaml:3: duplicate key 'a'; it is already set at p\.yaml:1"),
        ("a:\n  b: 017", r"p\.yaml:2: '017' starts with a zero"),
        ("a: .inf", "not a finite number"),
        ("a: .nan", "not a finite number"),
        ("a: &x 1\nb: *x", "anchors and aliases"),
        ("a: !!str 1", "tags are not supported"),
        ("a: {<<: 1}", "merge keys"),
        ("a: [1, 2", r"p\.yaml:1: "),
        ("a: b: c", r"p\.yaml:1: "),
        ("", "the page is empty"),
    ],
)
def test_what_is_refused_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(text, "p.yaml")


def test_every_value_knows_its_line_and_its_comment() -> None:
    page = parse("a: 1  # ours\nb:  # head\n  c: {d: 'x # y', e: 2}  # paper: 3\n", "p.yaml")
    c = page.value["b"].value["c"]
    assert (page.value["a"].origin, page.value["a"].comment) == ("p.yaml:1", "ours")
    assert (c.value["d"].origin, c.value["d"].value, c.value["d"].comment) == (
        "p.yaml:3",
        "x # y",
        "paper: 3",
    )
    assert page.value["b"].origin == "p.yaml:2"


def test_a_text_is_read_once_and_another_text_or_name_anew() -> None:
    first = parse("k: 5\n", "a.yaml")
    assert parse("k: 5\n", "a.yaml") is first
    assert plain(parse("k: 6\n", "a.yaml")) == {"k": 6}
    assert parse("k: 5\n", "b.yaml").entries["k"].origin == "b.yaml:1"


def test_merging_keeps_the_line_of_what_won() -> None:
    both = merged(parse("a: {b: 1, c: 2}", "base.yaml"), parse("\na: {c: 3}", "patch.yaml"))
    assert plain(both) == {"a": {"b": 1, "c": 3}}
    assert [both.value["a"].value[key].origin for key in "bc"] == ["base.yaml:1", "patch.yaml:2"]


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        (
            Objective,
            "\nsupport: student_topk\nkk: 5",
            r"^p\.yaml:3 part\.kk: unknown field 'kk'; did you mean 'k'\?",
        ),
        (
            Objective,
            "support: studnt_topk\nk: 5",
            r"p\.yaml:1 part\.support: 'studnt_topk' is not .*; did you mean 'student_topk'\?",
        ),
        (
            Objective,
            "support: student_topk\nk: five",
            r"part\.k: input should be a valid integer, found 'five'",
        ),
        (
            Objective,
            "support: student_topk\nk: 1\nnormalisation: renormalised",
            "renormalised on one token is identically zero",
        ),
        (
            Objective,
            "k: 0\nsupport: student_topk",
            r"p\.yaml:1 part\.k: .*greater than or equal to 1, found 0",
        ),
        (
            Optimisation,
            "warmup_steps: 3",
            r"p\.yaml:1 part\.learning_rate: field 'learning_rate' is required",
        ),
        (Switch, "on: no", r"'no' is text in YAML 1\.2; write true or false"),
        (ArithmeticData, "held_out_size: 1.5", r"part\.held_out_size: .*integer, found 1\.5"),
        (
            SftModel,
            "base: {kind: hub, id: a, revision: b, revison: c}",
            r"part\.base\.revison: .*; did you mean 'revision'\?",
        ),
    ],
)
def test_errors_name_line_path_and_the_nearest_word(
    spec: type[Spec], text: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        validate(spec, parse(text, "p.yaml"), "part")


def test_whole_numbers_are_accepted_where_a_float_is_meant_and_nothing_else_is_converted() -> None:
    built = validate(Optimisation, parse("learning_rate: 1", "p.yaml"), "")
    assert type(built.learning_rate) is float
    for wrong in (
        "learning_rate: '1'",
        "learning_rate: true",
        "{learning_rate: 1, warmup_steps: 1.0}",
    ):
        with pytest.raises(SpecError):
            validate(Optimisation, parse(wrong, "p.yaml"), "")


def test_the_working_folder_comes_before_the_shipped_pages(tmp_path: Path) -> None:
    own = tmp_path / "experiments" / "grids" / "math.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: own", encoding="utf-8")
    assert [
        find("grids", name, tmp_path)
        for name in ("math", "math.yaml", "grids/math.yaml", "experiments/grids/math.yaml")
    ] == [own] * 4
    shipped = find("grids", "smoke", tmp_path)
    assert shipped.is_file()
    assert tmp_path not in shipped.parents
    assert {"math", "smoke"} <= set(names("grids", tmp_path))
    assert load(own).origin == "grids/math.yaml:1"


def test_how_a_page_is_called() -> None:
    called = {
        "experiments/grids/a.yaml": "grids/a.yaml",
        "/x/experiments/y/experiments/grids/a.yaml": "grids/a.yaml",
        "b/a.yaml": "b/a.yaml",
    }
    assert {path: label(Path(path)) for path in called} == called
    assert label(Path("my-experiments/a.yaml")) == "my-experiments/a.yaml"


def test_an_unknown_page_answers_with_the_known_ones() -> None:
    with pytest.raises(
        SpecError,
        match=r"no grid named 'maths'; did you mean 'math'\?\n.*known grids: .*math, .*smoke",
    ):
        find("grids", "maths")


def test_a_page_that_is_not_text_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot read"):
        load(path)


def bomb() -> str:
    lines = ["a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghijkl")]
    return "\n".join(lines)


HOSTILE = {
    "alias bomb": (bomb(), 1, "anchors and aliases"),
    "a value that holds itself": ("x: 1\na: &a [*a]", 2, "anchors and aliases"),
    "a mapping that holds itself": ("x: 1\na: &a\n  b: *a", 2, "anchors and aliases"),
    "an alias of nothing": ("x: 1\na: *b", 2, "anchors and aliases"),
    "deep lists": ("x: 1\ny: " + "[" * 100_000, 2, "nested deeper than 64"),
    "deep mappings": ("x: 1\ny: " + "{a: " * 50_000, 2, "nested deeper than 64"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(500)), 65, "nested deeper than 64"),
    "deep block lists": ("x:\n" + "- " * 5_000 + "1", 2, "nested deeper than 64"),
    "5,000 digits": ("x: 1\ny: " + "9" * 5_000, 2, "a number of 5000 digits"),
    "20 digits": ("x: 1\ny: " + "9" * 20, 2, "a number of 20 digits"),
    "a float that is infinite": ("x: 1\ny: 1e999", 2, "not a finite number"),
    "a long float": ("x: 1\ny: 1." + "9" * 5_000 + "e9999", 2, "not a finite number"),
    "a name of 300 letters": ("x: 1\n" + "k" * 300 + ": 1", 2, "a name of 300 characters"),
    "an unknown escape": ('x: 1\ny: "\\q"', 2, "unknown escape"),
    "an escape of no character": ('x: 1\ny: "\\U99999999"', 2, "not valid YAML"),
    "half a character": ('x: 1\ny: "\\ud800"', 2, "surrogate"),
    "a control character": ("x: 1\ny: \x07", 2, "is not allowed"),
    "a tag": ("x: 1\ny: !!python/object:os.system 1", 2, "tags are not supported"),
    "an open quote": ('x: 1\ny: "a', 2, "end of stream"),
    "a tab": ("x: 1\n\ty: 1", 2, "cannot start any token"),
    "a mebibyte": ("x: " + "a" * 2**20, 0, "characters; at most"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_error_with_its_line(case: str) -> None:
    text, line, said = HOSTILE[case]
    start = time.process_time()
    with pytest.raises(SpecError, match=re.escape(said)) as error:
        parse(text, "p.yaml")
    assert time.process_time() - start < 5  # without the limits: minutes, or no end
    message = error.value.message
    assert message.startswith(f"p.yaml:{line}:" if line else "p.yaml:"), message[:200]
    assert len(message) < 300
    assert "\n" not in message


def test_stars_and_brackets_in_text_are_text() -> None:
    text = "x: 'a * b & c'\ny: 2*3\nz: [" + ", ".join(["[1]"] * 100) + "]  # &a *b\n"
    node = parse(text, "p.yaml")
    assert plain(node) == {"x": "a * b & c", "y": "2*3", "z": [[1]] * 100}


def test_a_name_that_no_file_can_have_is_told() -> None:
    with pytest.raises(SpecError, match="too long"):
        find("grids", "g" * 300)
