"""Comparing files: evaluations, stored generations, and what other frameworks leave."""

import gzip
import json
from pathlib import Path

import pytest

from analysis.compare.compare import compared
from analysis.compare.curve_files import read_curves
from analysis.compare.files import of_file
from analysis.compare.selectors import Place, arms_of
from study.errors import PrerequisiteError
from tests.support.arms import KNOWN, arm, rows, run, scores


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    theirs = of_file(
        rows(tmp_path / "x.jsonl", [{"id": "p0", "correct": True}, {"id": "p1", "correct": 0}]),
        "verl",
    )
    row = compared(arm(scores([4, 1])), theirs)
    assert row.unchecked == (
        "task, grader, temperature, top_p, max_completion_length (not known of B)",
    )
    assert theirs.external


def test_graded_lines_of_any_spelling_give_the_same_arm(tmp_path: Path) -> None:
    listed = {"problem_id": 1, "outcomes": ["correct", "wrong"], "tokens": [10, 20]}
    lists = rows(
        tmp_path / "a.jsonl",
        [listed, {"problem_id": 2, "outcomes": ["truncated", "unparsed"], "tokens": [5, 5]}],
    )
    single: list[dict[str, object]] = [
        {"id": "1", "score": 1, "tokens": 10},
        {"id": "1", "score": 0.0, "tokens": 20},
    ]
    flat = rows(tmp_path / "b.jsonl", [*single, *([{"id": "2", "score": 0, "tokens": 5}] * 2)])
    table = tmp_path / "c.csv"
    table.write_text(
        "id,outcome,tokens,grader\n1,correct,10,math-1\n1,wrong,20,math-1\n2,wrong,5,math-1\n2,wrong,5,math-1\n"
    )
    for path in (lists, flat, table):
        found = of_file(path, "x").bases[0]
        assert (found.ids, found.correct_P, found.samples_P) == (("1", "2"), (1.0, 0.0), (2, 2))
        assert (found.mean_tokens, found.right_tokens_P) == (10.0, (10.0, None))
    assert of_file(table, "x").bases[0].settings == {"grader": "math-1"}


@pytest.mark.parametrize(("line", "problem"), [
    ("not json", "not JSON"), ("[1]", "not a JSON object"), ('{"correct": true}', "no id"),
    ('{"id": 1, "completion": "x"}', "no outcome"),
    ('{"id": 1, "score": 7}', "score is 7"),
    ('{"id": 1, "outcomes": ["correct"], "tokens": [1, 2]}', "2 lengths for 1 outcomes"),
])  # fmt: skip
def test_a_bad_line_is_one_message_with_its_number(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": "0", "correct": 1}\n' + line + "\n")
    with pytest.raises(PrerequisiteError, match=rf"x\.jsonl:2: {problem}"):
        of_file(tmp_path / "x.jsonl", "x")


def test_lengths_are_compared_on_problems_that_both_solve(tmp_path: Path) -> None:
    a = rows(
        tmp_path / "a.jsonl",
        [{"id": i, "outcomes": ["correct", "wrong"], "tokens": [100 + i, 999]} for i in range(4)],
    )
    b = rows(
        tmp_path / "b.jsonl",
        [
            {"id": i, "outcomes": ["correct" if i else "wrong", "wrong"], "tokens": [60, 5]}
            for i in range(4)
        ],
    )
    row = compared(of_file(a, "a"), of_file(b, "b"))
    assert row.lengths is not None
    assert (row.lengths.problems, row.lengths.a, row.lengths.b) == (3, 102.0, 60.0)
    assert row.lengths.difference.mean == 42.0


def test_stored_generations_and_evaluations_bring_their_settings(tmp_path: Path) -> None:
    decoding = {"temperature": 1.0, "top_p": 1.0, "max_completion_length": 64}
    known = {"task": "t", "grader": "math-1", "k": 2, "model": "m", "seed": 5, **decoding}
    head = {"format": "generations-1", **known, "bound_bytes": 1, "cut": False}
    line = {
        "id": "p0",
        "answer": "1",
        "prompt_sha": "0" * 16,
        "completions": ["a", "b"],
        "truncated": [False, False],
    }
    line |= {"tokens": [3, 9], "outcomes": ["correct", "wrong"]}
    with gzip.open(tmp_path / "generations.jsonl.gz", "wt") as file:
        file.write(json.dumps(head) + "\n" + json.dumps(line) + "\n")
    stored = of_file(tmp_path / "generations.jsonl.gz", "x")
    assert (stored.bases[0].settings, stored.bases[0].seed, stored.external) == (KNOWN, 5, False)
    page = {
        **known,
        "problem_ids": ["p0"],
        "correct_counts": [1],
        "mean_tokens": 6.0,
        "packages": {"torch": "2"},
        "avg@2": 0.5,
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(page))
    (made,) = arms_of(str(tmp_path), Place())
    assert made.recipe["model"] == "m"
    assert "avg@2" not in made.recipe
    assert made.made == {"torch": "2"}
    assert made.bases[0].right_tokens_P == (3.0,)
    assert compared(made, stored).identical


def test_the_command_compares_labelled_outside_arms(tmp_path: Path) -> None:
    a = rows(tmp_path / "a.jsonl", [{"id": i, "correct": i % 2} for i in range(40)])
    b = rows(tmp_path / "b.jsonl", [{"id": i, "correct": i % 3 == 0} for i in range(40)])
    shown = run(a, b, "--label-a", "verl", "--label-b", "ours")
    assert "A verl external" in shown
    assert "no difference is shown" in shown
    assert "could well be missed" in shown
    assert "cannot be checked: task, grader, temperature" in shown


def test_relaxed_outcomes_on_request(tmp_path: Path) -> None:
    lines = [
        {
            "id": i,
            "outcome": "unparsed",
            "relaxed": "correct" if i % 2 else "wrong",
            "grader": "math-1",
        }
        for i in range(20)
    ]
    a = rows(tmp_path / "a.jsonl", lines)
    b = rows(tmp_path / "b.jsonl", [{**line, "relaxed": "wrong"} for line in lines])
    assert "nothing is correct on either side" in run(a, b)
    assert "A is 50.0 points above B" in run(a, b, "--relaxed")
    assert of_file(a, "x", relaxed=True).bases[0].settings["grader"] == "math-1, relaxed"
    with pytest.raises(PrerequisiteError, match="no relaxed outcome"):
        of_file(rows(tmp_path / "c.jsonl", [{"id": 1, "correct": 1}]), "x", relaxed=True)


def test_a_bad_metrics_file_is_one_message(tmp_path: Path) -> None:
    for text, problem in {
        "a,b\n1,2\n": "no step column",
        "step,b\nx,2\n": "csv:2: step is 'x'",
        "step,b\n1.5,2\n": "a step is",
    }.items():
        (tmp_path / "m.csv").write_text(text)
        with pytest.raises(PrerequisiteError) as error:
            read_curves(tmp_path / "m.csv")
        assert problem in str(error.value)


def test_evaluations_of_several_bases_are_joined_by_task(tmp_path: Path) -> None:
    for name, seed, count in (("a0", 0, 2), ("a1", 1, 1), ("b0", 0, 1), ("b1", 1, 1)):
        page = {
            "task": "t",
            "k": 2,
            "seed": seed,
            "problem_ids": ["p0", "p1"],
            "correct_counts": [count, 1],
            "seconds": 4.0,
            "model": name,
        }
        (tmp_path / name / "t").mkdir(parents=True)
        (tmp_path / name / "t" / "evaluation.json").write_text(
            json.dumps({**page, "packages": {"torch": "2"}, "device": "cpu"})
        )
    (a,), (b,) = (
        arms_of(",".join(str(tmp_path / f"{side}{seed}") for seed in (0, 1)), Place())
        for side in "ab"
    )
    row = compared(a, b)
    assert dict(row.by_base) == {"0": 0.25, "1": 0.0}
    assert "seconds of the evaluation" in run(
        f"{tmp_path}/a0,{tmp_path}/a1", f"{tmp_path}/b0,{tmp_path}/b1"
    )
    assert a.made == {"torch": "2", "device": "cpu"}
    assert "device" not in a.recipe
    assert "model" not in a.recipe  # the bases are different models
