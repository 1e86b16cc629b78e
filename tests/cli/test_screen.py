"""What a newcomer's terminal of 80 columns shows: columns by importance, reasons once, the next
command to type, and an example with every usage error.
"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.pages.render import Column, Table
from study.cli import console, grade_screen, main
from study.cli import table as table_verb
from study.cli.evidence import show_table
from study.cli.main import build_app
from study.cli.plan import chosen_by
from study.errors import SpecError
from study.runner.init.prompts import Lengths
from study.spec.grid.grid import load_grid
from tests.support.paths import ROOT


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    return monkeypatch


HEADERS = ["name", "state", "cell"]
ROW = ["biased_k1", "pending", "distill-topk_biased-0092bbfd"]


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_least_important_columns_are_left_out_and_named(
    narrow: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.table(HEADERS, [ROW], drop=("cell", "state"))
    lines = said(capsys)
    assert lines[1].split() == ["biased_k1", "pending"]
    assert "left out at 40 columns: cell" in lines[2]
    narrow.setenv("COLUMNS", "80")
    console.table(HEADERS, [ROW], drop=("cell", "state"))
    assert said(capsys)[1].split() == ROW


def test_a_stacked_row_has_its_first_cells_above_the_others(
    narrow: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.table(HEADERS, [ROW], head=1)
    lines = said(capsys)
    assert lines[0] == "biased_k1"
    assert " ".join(" ".join(lines[1:]).split()) == f"state: {ROW[1]}; cell: {ROW[2]}"
    assert all(len(line) <= 40 for line in lines)
    console.table(HEADERS, [ROW], head=2)  # one cell below needs no name
    assert said(capsys) == ["biased_k1  pending", f"    {ROW[2]}"]


def test_a_wide_result_is_stacked_with_its_notes_folded_on_a_narrow_terminal(
    narrow: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = tuple(Column(name, name) for name in HEADERS)
    note = "state: what is known of the run, from its own record alone"
    narrow.setenv("NO_COLOR", "1")
    show_table(Table("Runs", columns, (tuple(ROW),), (note,)))
    lines = said(capsys)[2:]
    assert lines[:3] == ["name  state", "biased_k1  pending", f"    {ROW[2]}"]
    assert all(len(line) <= 40 for line in lines)
    assert " ".join(" ".join(lines[3:]).split()) == note


def test_off_a_terminal_nothing_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(HEADERS, [ROW], drop=("cell",), head=1)
    assert said(capsys)[1].split() == ROW


def test_a_numbered_table_keeps_its_results_on_a_narrow_terminal(
    narrow: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow.setattr(table_verb, "is_terminal", lambda: True)
    narrow.setenv("COLUMNS", "80")
    narrow.chdir(ROOT)
    table_verb.table("3")
    text = capsys.readouterr().out
    assert "Ours, scale lab [95% t-interval]" in text
    assert "left out at 80 columns" in text
    assert "|" not in text.partition("left out")[0]


def test_a_plan_says_each_reason_once_and_the_next_command(tmp_path: Path) -> None:
    options = ["--results", str(tmp_path), "--only", "biased_*", "--seeds", "0"]
    shown = CliRunner().invoke(build_app(), ["plan", "--grid", "math", *options])
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("no record yet") == 1
    assert "why: 7 runs pending: no record yet; 3 stage artifacts missing" in shown.output
    last = shown.output.splitlines()[-1]
    assert last == "next: study run --grid math --only 'biased_*' --seeds 0"
    assert chosen_by(None, None, core=True) == " --core"


def test_several_reasons_are_numbered(tmp_path: Path) -> None:
    run = load_grid("smoke").runs()[0]
    failure = tmp_path / "runs" / run.run_id / "failure.json"
    failure.parent.mkdir(parents=True)
    failure.write_text('{"stage": "distill", "error": "boom", "hint": "", "at": "2026-01-01"}')
    shown = CliRunner().invoke(build_app(), ["plan", "--grid", "smoke", "--results", str(tmp_path)])
    lines = shown.output.splitlines()
    assert any(line.startswith("(1) 1 run failed: ") for line in lines)
    assert any(line.startswith("(2) 1 run pending: no record yet") for line in lines)
    assert sum("failed (1)" in line for line in lines) == 1
    assert sum("pending (2)" in line for line in lines) == 1


def test_a_misspelt_cell_is_no_option_and_its_neighbour_is_named() -> None:
    with pytest.raises(SpecError, match="selects no cell of this grid; did you mean") as caught:
        load_grid("math").find_cell("biased_k55")
    assert "--only" not in str(caught.value)


def test_a_usage_error_ends_with_an_example_of_the_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["study", "plan", "--gird", "math"])
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == "For example: study plan --grid smoke"


@pytest.mark.parametrize(
    ("context", "tokens", "room"), [(100, 30, 70), (100, 100, None), (None, 30, None)]
)
def test_the_largest_completion_that_fits_is_named(
    context: int | None, tokens: int, room: int | None
) -> None:
    lengths = Lengths("student", {("data.jsonl", 1): tokens}, context)  # type: ignore[dict-item]
    assert lengths.room == room
    if context is not None:
        (finding,) = lengths.too_long(90)
        assert (f"--completion-tokens {room} is the largest" in finding.hint) is (room is not None)


def test_grading_ends_with_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    grade_screen.show_next("a.jsonl", None)
    grade_screen.show_next("a.jsonl", "o.jsonl")
    assert said(capsys) == [
        "next: study grade a.jsonl --output outcomes.jsonl",
        "next: study compare o.jsonl OTHER_OUTCOMES.jsonl",
    ]
