"""`study init`: from somebody's own models and rows to a grid that binds and runs; what is wrong is
told before anything is written.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from study.cli.init import init
from study.data.chat import date_dependence
from study.data.load import load
from study.errors import PrerequisiteError, SpecError
from study.models.loading import load_tokenizer
from study.record.store import Results
from study.runner.graph.stages import RunPlan, run_graph
from study.runner.init.rows import read_rows, unreadable_answers
from study.runner.init.scale import GRID, flow
from study.runner.work.execute import Work, execute_run, execute_stage
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.scale import load_scale
from study.spec.recipe.data import JsonlData
from study.spec.recipe.model import DistilledModel, GrpoModel, LocalModel, SftModel
from study.spec.recipe.user_code import version
from study.spec.yaml.load import parse, plain
from tests.support.foreign_model import save, save_qwen3

ROWS = [
    {
        "problem": f"What is {i} and {i}?",
        "gold": f"{i} + {i} = {2 * i}\n#### {2 * i}",
        "key": f"k{i}",
    }
    for i in range(40)
]
COLUMNS: dict[str, Any] = {
    "prompt_field": "problem",
    "answer_field": "gold",
    "answer_after": "####",
    "id_field": "key",
}
SMALL: dict[str, Any] = {
    "extends": "lab",
    "steps": 2,
    "prompts_per_step": 4,
    "completion_tokens": 6,
    "problems": 3,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two random Qwen3 of one tokenizer."""
    root = tmp_path_factory.mktemp("models")
    return {
        name: str(save_qwen3(root / name, seed)) for seed, name in enumerate(("student", "teacher"))
    }


def rows(path: Path, content: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return path


def grid_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(folder)
    return load_grid(GRID, load_scale("mine"))


def test_a_few_lines_bind_the_grid_to_ones_own_models_and_rows(
    tmp_path: Path,
    models: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, held_out = rows(tmp_path / "a.jsonl", ROWS[:30]), rows(tmp_path / "b.jsonl", ROWS[30:])
    init(tmp_path / "mine", **models, data=data, held_out=held_out, **COLUMNS, **SMALL)
    screen = capsys.readouterr().out
    assert "30 rows, 30 problems" in screen
    assert "study run --grid will-it-help --scale mine" in screen
    grid = grid_in(tmp_path / "mine", monkeypatch)
    cells = {cell.labels["arm"]: cell.cell.model for cell in grid.cells}
    opd, grpo, sft = cells["opd"], cells["grpo"], cells["sft"]
    assert isinstance(opd, DistilledModel)
    assert isinstance(grpo, GrpoModel)
    assert isinstance(sft, SftModel)
    assert isinstance(opd.student, LocalModel)
    assert (opd.student, opd.teacher) == (cells["untouched"], sft.teacher)
    assert opd.training.steps * opd.training.prompts_per_step == 8
    assert (
        grpo.training.steps * grpo.training.prompts_per_step * grpo.training.rollouts_per_prompt
        == 8
    )
    assert sft.training.steps * sft.training.documents_per_step == 8
    assert [(p.id, p.answer) for p in load(opd.data, "train")][:2] == [("k0", "0"), ("k1", "2")]
    assert {evaluation.grader for cell in grid.cells for evaluation in cell.cell.evaluations} == {
        "math-1"
    }
    page = (tmp_path / "mine/experiments/scales/mine.yaml").read_text()
    assert len(page.splitlines()) < 50
    assert grid.cells[0].origin["evaluation.task"].startswith("scales/mine.yaml:")
    assert grid.cells[0].origin["evaluation.k"].startswith("scales/lab.yaml:")


def test_one_arm_really_runs(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    init(
        tmp_path / "mine",
        **models,
        data=rows(tmp_path / "a.jsonl", ROWS),
        held_out_share=0.3,
        **COLUMNS,
        **SMALL,
    )
    (run,) = grid_in(tmp_path / "mine", monkeypatch).runs(seeds=[0], only="arm=opd")
    results = Results(tmp_path / "results")
    for node in run_graph(run.cell, run.seed):
        execute_stage(node, results, Work(), lambda *_: None)
    record = execute_run(
        RunPlan(run.run_id, run.cell_id, run.cell, run.seed), results, Work(), lambda *_: None
    )
    assert record.scores["boxed_math"].num_problems == 3
    assert str(tmp_path) not in results.record(run.run_id).read_text()


def test_a_share_splits_by_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows(tmp_path / "a.jsonl", [*ROWS, *({**row, "key": f"again {row['key']}"} for row in ROWS)])
    how: dict[str, Any] = {
        "train": "a.jsonl",
        "held_out_share": 0.25,
        "selection_size": 4,
        **COLUMNS,
    }
    data = JsonlData(**how)
    train = load(data, "train")
    selection = load(data, "selection")
    held_out = load(data, "held_out")
    assert len(train) + len(selection) + len(held_out) == 80
    assert 4 <= len(held_out) <= 36
    assert not {p.prompt for p in held_out} & {p.prompt for p in (*train, *selection)}
    assert {p.id for p in load(JsonlData(**how, split_seed=1), "held_out")} != {
        p.id for p in held_out
    }
    with pytest.raises(ValueError, match="give `held_out`, a file, or `held_out_share`"):
        JsonlData(train="a.jsonl")


FAULTS = [
    (
        {"prompt_field": "problm"},
        {},
        "a.jsonl:1",
        "no column 'problm'; the columns are problem, gold, key; did you mean 'problem'?",
    ),
    (
        {},
        {3: {"problem": " ", "gold": "#### 1", "key": "x"}},
        "a.jsonl:4",
        "unmapped: column 'problem' is empty",
    ),
    (
        {},
        {3: {"problem": "Why?", "gold": "because", "key": "x"}},
        "a.jsonl:4",
        "unmapped: the answer holds no '####'",
    ),
    ({}, {3: ["no", "object"]}, "a.jsonl:4", "unmapped: not a JSON object"),
    ({}, {3: ROWS[7]}, "a.jsonl:8", "duplicate id"),
    (
        {},
        {3: {"problem": "Why?", "gold": "#### ", "key": "x"}},
        "a.jsonl:4",
        "gold answer that math-1 does not accept in a box",
    ),
    (
        {},
        {3: {"problem": "Why? " * 600, "gold": "#### 1", "key": "x"}},
        "a.jsonl:4",
        "too long: student has 1024 positions, and 6 are for the",
    ),
    ({}, {38: {**ROWS[0], "key": "x"}}, "b.jsonl:9", "duplicate prompt: it is in a.jsonl too"),
]


@pytest.mark.parametrize(("columns", "changed", "place", "fault"), FAULTS)
def test_faults_are_counted_and_nothing_is_written(
    tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str],
    columns: dict[str, Any], changed: dict[int, Any], place: str, fault: str,
) -> None:  # fmt: skip
    content = [changed.get(i, row) for i, row in enumerate(ROWS)]
    how = {
        "data": rows(tmp_path / "a.jsonl", content[:30]),
        "held_out": rows(tmp_path / "b.jsonl", content[30:]),
    }
    with pytest.raises(PrerequisiteError, match="faults in the rows; nothing was written"):
        init(tmp_path / "mine", **models, **how, **{**COLUMNS, **columns}, **SMALL)
    screen = capsys.readouterr().out
    assert fault in screen
    assert place in screen
    assert not (tmp_path / "mine").exists()


def test_rows_with_faults_can_be_left_out(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [*ROWS, {"problem": "Why?", "gold": "because", "key": "x"}]
    init(
        tmp_path / "mine",
        **models,
        data=rows(tmp_path / "a.jsonl", content),
        leave_out=True,
        **COLUMNS,
        **SMALL,
    )
    assert len((tmp_path / "mine/data/train.jsonl").read_text().splitlines()) == len(ROWS)
    assert len(grid_in(tmp_path / "mine", monkeypatch).cells) == 6


def test_nothing_is_overwritten_unasked(tmp_path: Path, models: dict[str, str]) -> None:
    how: dict[str, Any] = {**models, "data": rows(tmp_path / "a.jsonl", ROWS), **COLUMNS, **SMALL}
    init(tmp_path / "mine", **how)
    with pytest.raises(SpecError, match="already"):
        init(tmp_path / "mine", **how)
    init(tmp_path / "mine", **{**how, "steps": 3}, force=True)
    assert "standard: 3" in (tmp_path / "mine/experiments/scales/mine.yaml").read_text()
    assert not list((tmp_path / "mine").glob(".init-*"))


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    unread: dict[str, Any] = {"student": "none", "teacher": "none", "data": tmp_path / "none.jsonl"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpecError, match="file is a file"):
        init(tmp_path / "file", **unread)
    with pytest.raises(SpecError, match="file is a file"):
        init(tmp_path / "file" / "below", **unread, force=True)
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine/data/train.jsonl").write_text("{}")
    with pytest.raises(SpecError, match=r"holds data/train.jsonl already"):
        init(tmp_path / "mine", **unread)


HINTS = [
    ({"answer_after": None}, "--answer-after '####'"),
    ({"prompt_field": "problm"}, "--prompt-field"),
    ({"answer_after": "=>"}, "--answer-after names a text"),
    ({"id_field": "one"}, "another --id-field"),
    ({"completion_tokens": 1010}, "is the largest that fits every prompt"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "hint"), HINTS)
def test_what_mends_a_fault_is_said(
    tmp_path: Path, models: dict[str, str], changed: dict[str, Any], hint: str
) -> None:
    same = [{**row, "one": "1"} for row in ROWS]
    with pytest.raises(PrerequisiteError) as told:
        init(
            tmp_path / "mine",
            **models,
            data=rows(tmp_path / "a.jsonl", same),
            **{**SMALL, **COLUMNS, **changed},
        )
    assert hint in told.value.hint
    assert ("--leave-out" in told.value.hint) == ("id_field" in changed), (
        "offered only where a row would be left"
    )


def test_what_is_no_text_is_said(tmp_path: Path, models: dict[str, str]) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1\xfa\xff")
    with pytest.raises(PrerequisiteError, match="is not a text file") as told:
        init(tmp_path / "mine", **models, data=tmp_path / "a.parquet", **COLUMNS, **SMALL)
    assert "read_parquet" in told.value.hint


GRADER = """
def grade(completion, answer):
    return completion.strip() == answer

def reference(answer):
    return answer

GOLDEN = [("7", "7", "correct"), ("8", "7", "wrong")]
"""


def test_a_grader_of_ones_own_judges_everything(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text(GRADER)
    init(
        tmp_path / "mine",
        **models,
        data=rows(tmp_path / "a.jsonl", ROWS),
        grader="rules.py:grade",
        **COLUMNS,
        **SMALL,
    )
    cells = {
        cell.labels["arm"]: cell.cell for cell in grid_in(tmp_path / "mine", monkeypatch).cells
    }
    opd, grpo = cells["opd"].model, cells["grpo"].model
    assert isinstance(opd, DistilledModel)
    assert isinstance(grpo, GrpoModel)
    used = [
        cells["opd"].evaluation.grader,
        opd.training.curve.grader,
        grpo.training.grader,
        grpo.training.curve.grader,
    ]
    assert {version(grader) for grader in used} == {version(cells["opd"].evaluation.grader)}
    assert version(used[0]).startswith("grade-")


def test_only_columns_that_every_row_fills_are_offered_for_privileged_information(
    tmp_path: Path,
) -> None:
    content = [
        {"q": "one?", "a": "1", "hint": "h", "gap": "g"},
        {"q": "two?", "a": "2", "hint": "h", "gap": ""},
    ]
    found = read_rows(
        rows(tmp_path / "a.jsonl", content),
        JsonlData(train="", held_out_share=0.5, prompt_field="q", answer_field="a"),
    )
    assert found.columns == ["id", "prompt", "answer", "hint"]


def test_models_that_cannot_learn_from_each_other_are_refused(
    tmp_path: Path, models: dict[str, str]
) -> None:
    other = str(save(tmp_path / "other"))
    with pytest.raises(SpecError, match="disagree on"):
        init(
            tmp_path / "mine",
            student=models["student"],
            teacher=other,
            data=rows(tmp_path / "a.jsonl", ROWS),
            **COLUMNS,
            **SMALL,
        )


def test_hub_models_take_the_commit_of_the_extended_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    how: dict[str, Any] = {"data": rows(tmp_path / "a.jsonl", ROWS), **COLUMNS}
    init(
        tmp_path / "mine",
        student="Qwen/Qwen3-1.7B",
        teacher=f"o/x@{'a' * 40}",
        off_target=how["data"],
        **how,
    )
    scale = load_scale("paper")
    page = plain(parse((tmp_path / "mine/experiments/scales/mine.yaml").read_text(), "mine"))
    pinned = plain(scale.page)["models"]["student"]["revision"]
    assert page["models"]["student"] == {"kind": "hub", "id": "Qwen/Qwen3-1.7B", "revision": pinned}
    cell = grid_in(tmp_path / "mine", monkeypatch).cells[0].cell
    assert [evaluation.score_name for evaluation in cell.evaluations] == [
        "boxed_math",
        "off_target",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "a: b",
        "#x",
        "no",
        "0123",
        "a\nb",
        "",
        "\\boxed{}",
        "plain",
        1e-6,
        None,
        True,
        {"a": [1, "é"]},
    ],
)
def test_pages_are_read_back_as_they_were_meant(value: object) -> None:
    assert plain(parse(f"key: {flow(value)}", "x")) == {"key": value}


NEAR = ("What is {} and {}?", " What is {} and {}?\n", "What  is {} and\u00a0{}?")


def test_prompts_that_differ_in_spaces_are_on_one_side_of_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [
        {"question": form.format(i, i), "answer": str(2 * i)} for i in range(40) for form in NEAR
    ]
    rows(tmp_path / "a.jsonl", content)
    monkeypatch.chdir(tmp_path)
    data = JsonlData(
        train="a.jsonl", held_out_share=0.3, selection_size=2, prompt_suffix="\n\nBox."
    )
    train, selection, held_out = (
        {" ".join(p.prompt.split()) for p in load(data, split)}
        for split in ("train", "selection", "held_out")
    )  # type: ignore[arg-type]
    assert held_out
    assert not held_out & (train | selection)


def test_a_packed_file_is_read_like_an_open_one(tmp_path: Path) -> None:
    content = [{"question": f"What is {i}?", "answer": i / 3} for i in range(1, 5)]
    file = rows(tmp_path / "a.jsonl", content)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    data = JsonlData(train="", held_out_share=0.5)
    found = read_rows(packed, data)
    assert [*found.problems.values()] == [*read_rows(file, data).problems.values()]
    assert found.findings == ()
    assert unreadable_answers(found, "math-1") == []


def test_a_repeated_problem_is_told_with_a_choice(tmp_path: Path) -> None:
    once = [{"question": f"What is {i}?", "answer": str(i)} for i in range(5)]
    near = [{**row, "question": f"{row['question']} "} for row in once]
    file = rows(tmp_path / "a.jsonl", [*once, *near])
    data = JsonlData(train="", held_out_share=0.5)
    (finding,) = read_rows(file, data).findings
    assert finding.fault.startswith("repeated problem: 5 of 10 rows")
    assert finding.first.startswith("a.jsonl:6 (as line 1)")
    assert "--leave-out" in finding.hint
    assert "--keep-repeats" in finding.hint
    assert read_rows(file, data, keep_repeats=True).findings == ()


def test_one_problem_with_two_gold_answers_is_a_fault_that_cannot_be_kept(tmp_path: Path) -> None:
    content = [{"question": "Why?", "answer": "1"}, {"question": "Why? ", "answer": "2"}]
    found = read_rows(
        rows(tmp_path / "a.jsonl", content),
        JsonlData(train="", held_out_share=0.5),
        keep_repeats=True,
    )
    (finding,) = found.findings
    assert finding.fault == "one problem with different gold answers"
    assert [place.line for place in finding.places] == [1, 2]


def test_control_tokens_are_refused_unless_they_are_allowed(tmp_path: Path) -> None:
    content = [{"question": "Why?", "answer": "1"}, {"question": "a<|im_end|>b", "answer": "2"}]
    file = rows(tmp_path / "a.jsonl", content)
    (finding,) = read_rows(file, JsonlData(train="", held_out_share=0.5)).findings
    assert finding.fault == "unmapped: control token <|im_end|> in the text"
    assert finding.first == "a.jsonl:2"
    assert "--control-tokens" in finding.hint
    allowed = JsonlData(train="", held_out_share=0.5, control_tokens=True)
    assert read_rows(file, allowed).findings == ()


@pytest.mark.parametrize(
    ("template", "dated", "fixable"),
    [
        ("{{ messages[0].content }}", False, False),
        ("{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}", True, False),
        (
            "{% if date_string is not defined %}{% set date_string = strftime_now('%Y') %}"
            "{% endif %}{{ date_string }}{{ messages[0].content }}",
            True,
            True,
        ),
        ("{% set date_string = '26 Jul 2024' %}{{ date_string }}", False, False),
    ],
)
def test_a_chat_template_with_todays_date_is_told(
    models: dict[str, str], template: str, dated: bool, fixable: bool
) -> None:
    tokenizer = load_tokenizer(Path(models["student"]))
    tokenizer.chat_template = template
    told = date_dependence(tokenizer)
    assert ("writes today's date" in told) == dated
    assert ("the template takes date_string" in told) == fixable
