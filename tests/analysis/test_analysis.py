"""Frames, tables, figures and the check of committed pages, on records of plausible shape."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import analysis
from analysis import figures
from analysis.evidence.columns import HISTORY_COLUMNS, RUN_COLUMNS
from analysis.evidence.definitions import BY_NAME, canonical_metric
from analysis.evidence.frames import Evidence
from analysis.evidence.gather import objective_family
from analysis.evidence.loading import evidence_from, require_complete
from analysis.evidence.metrics_page import metrics_page
from analysis.pages import style
from analysis.pages.numbered import figure_page, figure_pages, table_page
from analysis.pages.readme import BEGIN, END
from analysis.pages.render import Column, Table, to_csv, to_latex, to_markdown
from analysis.pages.report import build, differences, draw_page, write, write_figure
from analysis.pages.tables import build as build_table
from study.cli.analyze import analyze
from study.cli.figure import figure as figure_verb
from study.cli.report import report as report_verb
from study.cli.table import table as table_verb
from study.errors import IncompleteResults, RecordMismatch, SpecError
from study.record.store import write_record
from study.spec.grid.grid import load_grid
from study.spec.recipe.objective import PRESETS, Objective
from study.stats.intervals import Interval
from tests.support.paths import ROOT
from tests.support.synthetic import record, records

ARM = {"teacher": "rlvr", "objective": "biased_k5", "length": "standard"}


@cache
def evidence() -> Evidence:
    grid = load_grid("math")
    return evidence_from(records(grid), grid, scale="lab")


def saved(folder: Path, *, grid: str = "math", drop: int = 0, layout: str = "records") -> Path:
    made = records(load_grid(grid))
    for one in made[drop:]:
        write_record(
            folder
            / layout
            / (f"{one.run}.json" if layout == "records" else f"{one.run}/record.json"),
            one,
        )
    return folder


def test_the_frames_have_the_declared_columns_and_types(tmp_path: Path) -> None:
    loaded = analysis.load(saved(tmp_path) / "records")
    declared = {column.name: column.dtype for column in RUN_COLUMNS}
    assert list(loaded.runs.columns) == [
        *declared,
        "label.teacher",
        "label.objective",
        "label.length",
    ]
    assert {name: str(loaded.runs[name].dtype) for name in declared} == declared
    assert {name: str(kind) for name, kind in loaded.history.dtypes.items()} == {
        c.name: c.dtype for c in HISTORY_COLUMNS
    }
    assert (len(loaded.runs), loaded.missing, loaded.seeds, loaded.curve_k) == (
        120,
        (),
        (0, 1, 2, 3, 4),
        2,
    )


def test_a_notebook_has_completions_repeated_tokens_and_problems(tmp_path: Path) -> None:
    loaded = analysis.load(saved(tmp_path, grid="smoke") / "records", grid="smoke")
    assert sorted(loaded.completions["step"].unique()) == [0, 60, 115]
    assert set(loaded.repeated_tokens["token"]) == {"maybe", ";"}
    one = (
        loaded.problems.groupby("run")["correct"].sum() / loaded.problems.groupby("run")["k"].sum()
    )
    assert one.to_dict() == pytest.approx(loaded.runs.set_index("run")["score"].to_dict())


def test_what_was_not_measured_has_no_row_and_what_diverged_keeps_its_row() -> None:
    grid = load_grid("smoke")
    one = record(grid.runs()[0], 0.3, 0.8)
    history = one.history | {"train/reverse_kl": [None, *["inf"] * (len(one.history["step"]) - 1)]}
    made = evidence_from([one.model_copy(update={"history": history})], grid, scale="lab")
    rows = made.series(dict(grid.cells[0].labels), "train/reverse_kl")
    assert [point.step for point in rows] == one.history["step"][1:]
    assert all(point.value == float("inf") for point in rows)


def test_every_metric_of_the_records_and_of_the_training_code_is_defined() -> None:
    columns = {
        canonical_metric(name)
        for one in records(load_grid("smoke"))
        for name in one.history
        if name != "step"
    }
    assert columns <= BY_NAME.keys()
    source = (ROOT / "study/train/distill.py").read_text().split("MEASURED = (")[1].split(")")[0]
    measured = {
        f"train/{name.strip().strip(chr(34))}" for name in source.split(",") if name.strip()
    }
    assert len(measured) > 4
    assert measured <= BY_NAME.keys()
    assert (canonical_metric("eval/avg@32"), canonical_metric("eval/greedy")) == (
        "eval/avg@k",
        "eval/greedy",
    )


def test_the_page_of_definitions_is_the_generated_one() -> None:
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == metrics_page()


def test_families_come_from_the_loss_tuple() -> None:
    expected = {
        "full_reverse_kl": "full", "topk_biased": "biased", "topk_stop_gradient": "stop_gradient",
        "topk_renormalised": "renormalised",
        "topk_tail_bucket": "tail_bucket", "sampled_policy_gradient": "sampled_pg",
        "sampled_plain_loss": "sampled_plain",
        "full_forward_kl": "other",
        "constant_advantage": "other",
    }  # fmt: skip
    for preset, family in expected.items():
        fields = PRESETS[preset][0]
        objective = Objective(
            **fields, **({"k": 5} if "topk" in str(fields.get("support")) else {})
        )
        assert objective_family(objective) == family


def test_a_missing_seed_is_an_error_with_the_command_that_fills_it(tmp_path: Path) -> None:
    folder = saved(tmp_path, drop=1)
    loaded = analysis.load(folder / "records")
    assert len(loaded.missing) == 1
    with pytest.raises(IncompleteResults, match=r"1 of 120 runs .* seed 0") as caught:
        require_complete(loaded, folder)
    assert caught.value.hint.startswith("study run --grid math --seeds 0;")


def test_arms_are_named_by_labels_and_must_be_one_cell() -> None:
    assert evidence().cell_of(ARM).labels == ARM
    with pytest.raises(SpecError, match="no cell"):
        evidence().cell_of(ARM | {"objective": "biased_k7"})
    with pytest.raises(SpecError, match="cells of grid math"):
        evidence().cell_of({"objective": "full"})


def test_a_table_is_the_same_in_three_spellings() -> None:
    columns = (Column("name", "Name"), Column("score", "Score", interval=True), Column("x", "X", 2))
    rows = (
        ("a_b", Interval(0.5, 0.25, 0.75, 3), -0.001),
        ("c|d", Interval(0.5, None, None, 1), 1.0),
        ("e", None, None),
    )
    page = Table("T", columns, rows, ("n % of",), 20)
    csv_text, markdown, latex = to_csv(page), to_markdown(page), to_latex(page)
    assert csv_text.splitlines() == [
        "name,score.mean,score.low,score.high,score.n,x",
        "a_b,0.50000,0.25000,0.75000,3,0.00",
        "c|d,0.50000,,,1,1.00",
        "e,,,,0,",
    ]
    assert csv_text.endswith("\n")
    assert "| a_b | 0.500 [0.250, 0.750] | 0.00 |" in " ".join(markdown.split())
    assert "no interval at n = 1" in markdown
    assert "not run" in markdown
    assert r"a\_b & 0.500 [0.250, 0.750] & 0.00 \\" in latex
    assert r"n \% of" in latex
    assert "## Table 20. T" in markdown


def test_the_score_table_holds_means_and_n_of_every_cell() -> None:
    page = build_table(table_page("20"), evidence())
    assert len(page.rows) == 24
    row = next(row for row in page.rows if row[:3] == ("rlvr", "biased_k5", "standard"))
    scores = list(evidence().scores(ARM).values())
    assert isinstance(row[3], Interval)
    assert (row[3].mean, row[3].n, row[4]) == (pytest.approx(sum(scores) / 5), 5, 5)
    assert row[5] == pytest.approx(0.34, abs=0.001)
    assert any("Scale: lab" in note and "5 base students" in note for note in page.notes)


def test_the_settings_table_resolves_every_row() -> None:
    page = build_table(table_page("1"), evidence())
    ours = {row[0]: row[3] for row in page.rows}
    assert (ours["K"], ours["Training steps"], ours["Learning rate"], ours["Hardware"]) == (
        "20",
        "120",
        "0.0005",
        "not used",
    )
    assert any("Scale: lab" in note for note in page.notes)


def test_a_curve_figure_plots_each_base_and_their_mean() -> None:
    page = figure_page("11")
    points = [
        point
        for point in figures.plotted(page, evidence())
        if "biased_k5" in point.arm and point.metric == "eval/avg@k"
    ]
    assert {point.seed for point in points} == {*"01234", "mean"}
    at_end = {point.seed: point.value for point in points if point.step == 120}
    assert at_end["mean"] == pytest.approx(sum(at_end[seed] for seed in "01234") / 5)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["11", "22"])
def test_a_figure_carries_the_hash_of_its_data_and_is_the_same_bytes_twice(
    number: str, tmp_path: Path
) -> None:
    drawn = draw_page(number, figure_page(number), evidence())
    first, second = (write_figure(drawn, evidence(), tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    svg = tmp_path / "a" / "figures" / f"{number}.svg"
    assert style.drawn_from(svg) == style.data_hash(svg.with_suffix(".csv").read_text())


def test_every_page_says_scale_and_what_of_the_paper_it_answers() -> None:
    for page in figure_pages("math"):
        assert page.answers
        assert page.number is not None
        assert (f"paper's Fig. {page.number} " in page.answers) == (page.number < 20)


@pytest.mark.slow
def test_check_accepts_what_was_written_and_names_what_was_changed(tmp_path: Path) -> None:
    report = build(evidence())
    smoke = saved(tmp_path, grid="smoke")
    analyze(grid="smoke", results=smoke, committed=True)
    analyze(grid="smoke", results=smoke, check=True)
    (smoke / "tables/scores-smoke.csv").write_text("changed\n")
    (smoke / "figures/curves-smoke.svg").write_text("data sha256 " + "0" * 64)
    with pytest.raises(RecordMismatch) as caught:
        analyze(grid="smoke", results=smoke, check=True)
    assert "tables/scores-smoke.csv:1: differs" in caught.value.message
    assert "curves-smoke.svg: drawn from other data" in caught.value.message
    assert len(differences(report, tmp_path / "nothing")) == len(report.texts) + len(report.figures)


@pytest.mark.slow
def test_the_readme_shows_what_the_committed_records_give(tmp_path: Path) -> None:
    saved(tmp_path / "results", grid="smoke")
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    report_verb(results=tmp_path / "results", committed=True)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| rlvr" in text
    report_verb(results=tmp_path / "results", check=True)
    page.write_text(text.replace("| rlvr", "| typed", 1), encoding="utf-8")
    with pytest.raises(
        RecordMismatch, match=r"README\.md: its results are not what the records give"
    ):
        report_verb(results=tmp_path / "results", check=True)


def test_the_bytes_do_not_hang_on_the_order_of_records(tmp_path: Path) -> None:
    grid = load_grid("smoke")
    made = records(grid)
    texts = [build(evidence_from(order, grid, scale="lab")).texts for order in (made, made[::-1])]
    assert texts[0] == texts[1]
    written = write(
        build(evidence_from(made, grid, scale="lab")),
        evidence_from(made, grid, scale="lab"),
        tmp_path,
    )
    assert {path.suffix for path in written} == {".csv", ".md", ".tex", ".png", ".svg", ".pdf"}


def test_verdicts_as_data(tmp_path: Path) -> None:
    page = json.loads(build(evidence()).texts["verdicts/math.json"])
    first = page["verdicts"][0]
    assert (first["verdict"], first["provisional"], first["n"]) == ("REPRODUCED", False, 5)
    assert list(first["by_base"]) == [*"01234"]


def test_the_core_is_analysed_alone_and_the_rest_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = load_grid("math")
    for one in records(grid, core=True):
        write_record(tmp_path / "runs" / one.run / "record.json", one)
    with pytest.raises(IncompleteResults):
        analyze(results=tmp_path)
    loaded = analysis.load(tmp_path / "runs", core=True)
    assert len(loaded.cells) == 10
    assert not loaded.missing
    tested = [each for each in build(loaded).verdicts if each.claim.not_testable is None]
    assert {verdict.word for verdict in tested} == {"UNDECIDED"}
    partial = analysis.load(tmp_path / "runs")
    assert len(partial.missing) == 110
    assert "not run" in build(partial).texts["tables/20.md"]


def test_curves_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analyze(grid="smoke", results=saved(tmp_path, grid="smoke", layout="runs"), curves=True)
    shown = capsys.readouterr().out
    assert "x biased TopK" in shown
    assert "Sampled accuracy (avg@k, T = 1) against optimiser steps" in shown
    assert "\x1b" not in shown


@pytest.mark.slow
def test_table_and_figure_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path)
    table_verb("20", results=folder)
    assert "## Table 20. Final scores" in capsys.readouterr().out
    table_verb("1", results=tmp_path / "empty")  # settings need no records
    figure_verb("22", results=folder, out=tmp_path / "out")
    assert (tmp_path / "out/figures/22.svg").is_file()
    with pytest.raises(SpecError, match="there is no table 99") as caught:
        table_verb("99", results=folder)
    assert caught.value.exit_code == 2
    assert "known tables: 1, 2, 3, 20" in caught.value.hint
    with pytest.raises(IncompleteResults, match="120 of 120"):
        table_verb("20", results=tmp_path / "empty")


@pytest.mark.slow
def test_the_analysis_never_loads_torch(tmp_path: Path) -> None:
    folder = saved(tmp_path, grid="smoke", layout="runs")
    code = (
        "import sys; from pathlib import Path; from study.cli.analyze import"
        f" analyze;analyze(grid='smoke', results=Path({str(folder)!r}), curves=True);heavy ="
        " {'torch', 'transformers', 'trl', 'vllm', 'lm_eval', 'mlflow'} & set(sys.modules);"
        " assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_the_command_line_is_light_before_a_verb_runs() -> None:
    code = (
        "import sys; import study.cli.main; heavy = {'pandas', 'matplotlib', 'numpy', 'scipy',"
        " 'plotext'} & set(sys.modules);assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
