"""Regrading: both scores are kept, what changed is named, the sealed record stays as it is."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.compare.compare import compared
from analysis.compare.files import of_file
from study.cli.main import build_app
from study.errors import PrerequisiteError, SpecError
from study.evaluate.generations import Generations, Header, Problem, read, write
from study.evaluate.regrade import regrade
from study.grading.registry import open_grader
from study.record.store import write_record
from study.spec.grid.grid import load_grid
from tests.support.paths import ROOT
from tests.support.synthetic import record

HEADER = Header("lab_math", "boxed-1", 2, 1.0, 1.0, 64, "m", 0)
TEXTS = {  # boxed-1 then, math-1 now
    "p0": (r"so \boxed{\frac{2}{4}}", r"\boxed{0.5}", "1/2", ("correct", "correct")),
    "p1": (r"\boxed{x+1}", r"\boxed{x + 2}", "1+x", ("wrong", "wrong")),
    "p2": (r"\boxed{(1, 2)}", "no box, it is 3", "(1,2)", ("wrong", "unparsed")),
    "p3": (r"\boxed{7}", r"\boxed{7}", "7", ("truncated", "correct")),
}


def problem(name: str) -> Problem:
    first, second, answer, outcomes = TEXTS[name]
    return Problem(
        name,
        answer,
        "0" * 16,
        (first, second),
        (outcomes[0] == "truncated", False),
        (9, 5),
        outcomes,
    )


def stored(folder: Path, header: Header = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "generations.jsonl.gz", header, [problem(name) for name in TEXTS])
    return folder / "generations.jsonl.gz"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(build_app(), ["regrade", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return " ".join(done.output.split())


@pytest.mark.slow
def test_both_scores_are_kept_and_changes_are_named(tmp_path: Path) -> None:
    source = stored(tmp_path / "lab_math")
    shown = run(tmp_path, "--grader", "math-1", "--workers", "1")
    page = json.loads((source.parent / "regraded-math-1.json").read_text())
    assert (page["was"], page["grader"], page["head"]["task"]) == ("boxed-1", "math-1", "lab_math")
    assert (page["before"]["avg@2"]["mean"], page["after"]["avg@2"]["mean"]) == (3 / 8, 5 / 8)
    assert page["transitions"] == [["wrong", "correct", 2]]
    assert [row["after"][0] for row in page["problems"]] == [
        "correct",
        "correct",
        "correct",
        "truncated",
    ]
    assert "before: boxed-1 after: math-1" in shown
    assert "avg@2 37.5%" in shown
    assert "p1 0 wrong correct x+1 1+x" in shown


def test_a_gold_that_was_a_float_is_one_when_it_is_graded_again(tmp_path: Path) -> None:
    floats = Problem("p", repr(2 / 3), "0" * 16, (r"\boxed{2/3}",) * 2, (False,) * 2, (5, 5),
                     ("wrong",) * 2, gold_is_float=True)  # fmt: skip
    write(tmp_path / "generations.jsonl.gz", HEADER, [floats, problem("p1")])
    kept = read(tmp_path / "generations.jsonl.gz").problems
    assert [each.gold_is_float for each in kept] == [True, False]
    lines = gzip.decompress((tmp_path / "generations.jsonl.gz").read_bytes()).splitlines()
    assert ["gold_is_float" in json.loads(line) for line in lines[1:]] == [True, False]
    with open_grader("math-1", workers=1) as judge:
        after = regrade(Generations(HEADER, (floats,)), judge).after
    assert [grade.outcome for grade in after[0]] == ["correct", "correct"]


def test_the_same_generations_give_the_same_bytes(tmp_path: Path) -> None:
    source = stored(tmp_path)
    for name in ("a.json", "b.json"):
        run(source, "--grader", "boxed-1", "--output", tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text())["transitions"] == []


def test_a_run_is_regraded_beside_its_record_which_stays(tmp_path: Path) -> None:
    one = load_grid("smoke", "lab").runs()[0]
    path = tmp_path / "runs" / one.run_id / "record.json"
    write_record(path, record(one, 0.3, 0.5))
    stored(path.parent)
    before = path.read_bytes()
    shown = run(one.run_id[-11:], "--grader", "boxed-1", "--results", tmp_path)
    assert "no outcome changed" in shown
    assert (path.parent / "regraded-boxed-1.json").is_file()
    assert path.read_bytes() == before


def test_without_generations_it_is_one_message(tmp_path: Path) -> None:
    one = load_grid("smoke", "lab").runs()[0]
    write_record(tmp_path / "runs" / one.run_id / "record.json", record(one, 0.3, 0.5))
    with pytest.raises(PrerequisiteError, match="were not stored"):
        run(one.run_id, "--grader", "math-1", "--results", tmp_path)
    committed = next((ROOT / "results" / "records").glob("*.json"))
    (tmp_path / "records").mkdir()
    shutil.copy(committed, tmp_path / "records")
    with pytest.raises(PrerequisiteError, match="committed record"):
        run(committed.stem, "--grader", "math-1", "--results", tmp_path)
    with pytest.raises(SpecError, match="neither a file or folder nor a run"):
        run("nothing", "--grader", "math-1", "--results", tmp_path / "empty")


def test_wrong_questions_are_refused(tmp_path: Path) -> None:
    source = stored(tmp_path / "a")
    stored(tmp_path / "b")
    with pytest.raises(SpecError, match="unknown grader"):
        run(source, "--grader", "math-9")
    with pytest.raises(SpecError, match="either --grader or --preference"):
        run(source)
    with pytest.raises(SpecError, match="2 tasks"):
        run(tmp_path, "--grader", "boxed-1", "--output", tmp_path / "x.json")
    with pytest.raises(PrerequisiteError, match="not a letter"):
        run(source, "--grader", "choice-1")


def test_what_was_cut_is_said(tmp_path: Path) -> None:
    source = stored(tmp_path)
    first, *rest = gzip.decompress(source.read_bytes()).decode().splitlines()
    source.write_bytes(
        gzip.compress(
            "\n".join([json.dumps({**json.loads(first), "cut": True}), *rest, ""]).encode()
        )
    )
    assert "cut for storage" in run(source, "--grader", "boxed-1")


@pytest.mark.slow
def test_a_regraded_file_can_be_compared_with_one_of_the_same_grader(tmp_path: Path) -> None:
    source = stored(tmp_path)
    run(source, "--grader", "math-1", "--workers", "1")
    with pytest.raises(SpecError, match="grader boxed-1 / math-1"):
        compared(of_file(source, "a"), of_file(tmp_path / "regraded-math-1.json", "b"))
    row = compared(
        of_file(source, "a"), of_file(tmp_path / "regraded-math-1.json", "b"), allow=True
    )
    assert row.by_base["0"] == -0.25
