"""Entries of a scale that start from another entry: what they hold, where it comes from, errors."""

from pathlib import Path

import pytest

from study.errors import SpecError
from study.spec.grid.like import spelled_out
from study.spec.grid.scale import load_scale
from study.spec.yaml.load import Located, parse, plain
from tests.support.paths import ROOT

PAGE = """
models:
  first:
    kind: pretrain
    corpus: {kind: arithmetic, share_plain: 0.7, style_mix: {A: 0.8, B: 0.2}}
    training: {steps: 9, optimisation: {learning_rate: 0.1}}
  second: {like: first, training: {steps: 3}}
  third: {like: second, corpus: {kind: arithmetic}}
  alias: first
"""


def read(text: str) -> Located:
    return parse(text, "scales/x.yaml")


def test_only_what_differs_is_written() -> None:
    models = plain(spelled_out(read(PAGE)))["models"]
    assert models["second"] == {
        **models["first"],
        "training": {"steps": 3, "optimisation": {"learning_rate": 0.1}},
    }
    assert models["third"] == {**models["second"], "corpus": {"kind": "arithmetic"}}, (
        "a mapping that names its kind is replaced as a whole"
    )
    assert models["alias"] == "first"


def test_every_value_keeps_its_line() -> None:
    third = spelled_out(read(PAGE)).entries["models"].entries["third"]
    training = third.entries["training"].entries
    assert training["steps"].origin == "scales/x.yaml:7"
    assert training["optimisation"].entries["learning_rate"].origin == "scales/x.yaml:6"
    assert third.entries["corpus"].origin == "scales/x.yaml:8"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{like: frist}", r"scales/x.yaml:10 models.new.like: no entry 'frist' under models; did"),
        ("{like: new}", r"scales/x.yaml:10 models.new.like: the entry 'new' is like itself"),
        ("{like: alias}", r"scales/x.yaml:10 models.new.like: 'alias' is a name"),
        ("{like: [first]}", r"scales/x.yaml:10 models.new.like: no entry"),
    ],
)
def test_errors_name_file_and_line(entry: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spelled_out(read(f"{PAGE}  new: {entry}\n"))


def test_a_circle_of_entries_is_an_error() -> None:
    page = "models:\n  a: {like: b}\n  b: {like: c}\n  c: {like: a}\n"
    with pytest.raises(SpecError, match=r"x.yaml:4 .* is like itself: a -> b -> c -> a"):
        spelled_out(read(page))


def test_a_page_may_start_from_entries_of_the_page_that_it_extends(tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "scales"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "scale: mine\nextends: lab\nmodels:\n"
        "  student: {training: {steps: 5}}\n"
        "  twin: {like: student, name: twin}\n"
        "  rlvr: {like: strong_c, name: rlvr}\n",
        encoding="utf-8",
    )
    mine, lab = (plain(load_scale(name, tmp_path).page)["models"] for name in ("mine", "lab"))
    student = {**lab["student"], "training": {**lab["student"]["training"], "steps": 5}}
    assert mine["student"] == student
    assert mine["twin"] == {**student, "name": "twin"}
    assert mine["rlvr"] == {**lab["strong_c"], "name": "rlvr"}, "`like` stands alone"
    assert mine["weak"] == lab["weak"], "entries of the other page start from its own"


def test_shipped_pages_are_at_most_120_columns_wide() -> None:
    wide = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in sorted((ROOT / "experiments").rglob("*.yaml"))
        for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), start=1)
        if len(line) > 120
    ]
    assert wide == []


def test_the_comment_of_a_flow_collection_holds_for_its_further_lines() -> None:
    page = read("a: {b: 1,  # ours\n  c: 2,\n  d: 3}  # theirs\ne:  # block\n  f: 4\n")
    inner = page.entries["a"].entries
    assert [inner[key].comment for key in "bcd"] == ["ours", "ours", "theirs"]
    assert page.entries["e"].entries["f"].comment == ""
