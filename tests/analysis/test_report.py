"""The report over all grids as Markdown and HTML, the story of a run, and the estimate beside the
truth.
"""

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from analysis.evidence.estimates import estimated_hours
from analysis.evidence.loading import evidence_from
from analysis.pages import html
from analysis.pages.overview import markdown, what_would_change
from analysis.pages.parts import grids_with_records, parts
from analysis.pages.report import Part, build
from analysis.pages.story import _peak, spark, story
from analysis.pages.tables import final_scores
from analysis.verdicts.facts import facts
from study.cli.explain import explain
from study.cli.report import report
from study.errors import IncompleteResults, RecordMismatch, SpecError
from study.record.schema import Guard, Record, sealed
from study.record.store import write_record
from study.spec.grid.grid import load_grid
from study.spec.yaml.load import names
from tests.support.synthetic import record, records

Say = Callable[[], str]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose committed records are those of the smoke grid."""
    folder = tmp_path_factory.mktemp("study") / "results"
    for one in records(load_grid("smoke")):
        write_record(folder / "records" / f"{one.run}.json", one)
    report(results=folder, committed=True)
    return folder


@cache
def math_part() -> Part:
    grid = load_grid("math")
    evidence = evidence_from(records(grid, seeds=(0, 1, 2)), grid, scale="lab", seeds=(0, 1, 2))
    return Part(evidence, build(evidence), grid.question)


def test_a_biased_estimator_is_named_with_its_arms_in_the_table_and_in_its_claims() -> None:
    part = math_part()
    biased = [
        "Estimator of [teacher=rlvr objective=sampled_pg length=standard]",
        "biased by its weight 1/T",
    ]
    table = final_scores(part.evidence, "Final scores", None, ())
    note = next(note for note in table.notes if note.startswith("Estimator"))
    assert all(words in note for words in biased)
    assert "objective=full" not in note
    lines = {
        verdict.claim.id: "\n".join(facts(verdict, part.evidence))
        for verdict in part.report.verdicts
    }
    assert all(words in lines["plain_loss_fails"] for words in biased)
    assert "expected gradient is that of E[1/T], not zero" in lines["plain_loss_fails"]
    untouched = next(text for text in lines.values() if "sampled_" not in text)
    assert "Estimator" not in untouched


def test_claims_come_first_then_settings_then_provenance() -> None:
    part = math_part()
    text = markdown([part])
    places = [
        text.index(heading)
        for heading in (
            "## Claims and verdicts",
            "## Claims on the grid math",
            "## Settings",
            "## Provenance",
        )
    ]
    assert places == sorted(places)
    for verdict in part.report.verdicts:
        assert f"### {verdict.claim.id}: {verdict.label}" in text
    first = text.partition("### biased_k1_collapses")[2].partition("###")[0]
    for said in ("(figures/12.png)", "Control:", "Declared:", "Per base:", "Why:"):
        assert said in first
    assert text.count("(figures/12.png)") == 1


def test_what_would_change_a_verdict_is_a_distance() -> None:
    verdict = next(v for v in math_part().report.verdicts if v.word == "REPRODUCED")
    interval = verdict.deciding
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    distance = min(abs(limit - verdict.threshold) for limit in (interval.low, interval.high))
    assert f"move the mean by {distance:.3f}" in what_would_change(verdict)


@pytest.mark.slow
def test_only_grids_with_records_are_reported(smoke: Path, tmp_path: Path) -> None:
    assert grids_with_records(smoke / "records", "lab") == ["smoke"]
    with pytest.raises(IncompleteResults, match="no grid has half of its runs recorded"):
        parts(tmp_path, "lab")


@pytest.mark.slow
def test_the_html_needs_nothing_beside_it(smoke: Path) -> None:
    page = (smoke / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    links = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)
    assert links == ["../docs/findings.md", "../docs/claims.md"]  # for reading on, not for itself
    assert (
        "<title>On-policy distillation: the paper&#x27;s findings at a small scale</title>" in page
    )
    assert page.count("<table>") == page.count("</table>") > 1
    assert "<script" not in page


@pytest.mark.slow
def test_a_committed_report_is_checked_by_what_it_was_made_from(smoke: Path) -> None:
    report(results=smoke, check=True)
    page, text = smoke / "report.html", smoke / "report.md"
    whole = {path: path.read_text(encoding="utf-8") for path in (page, text)}
    page.write_text(whole[page].replace(str(html.made_from(page)), "0" * 64), encoding="utf-8")
    text.write_text("typed", encoding="utf-8")
    with pytest.raises(RecordMismatch, match=r"report\.html: made from other text") as caught:
        report(results=smoke, check=True)
    assert "report.md:1: differs" in str(caught.value)
    for path, content in whole.items():
        path.write_text(content, encoding="utf-8")


def test_text_of_the_page_is_escaped() -> None:
    page = html.page("# <b>bold</b> & REPRODUCED\n\n<script>alert(1)</script>\n", title="a < b")
    assert "<script>" not in page
    assert "<title>a &lt; b</title>" in page
    assert '<span class="word REPRODUCED">REPRODUCED</span>' in page


def collapsed() -> Record:
    made = record(load_grid("smoke").runs()[0], 0.3, 0.01)
    guard = Guard(policy="observe", alarms={"length": 40, "topk_drain": 20}, fell_at=60)
    return sealed(made.model_copy(update={"guard": guard}))


def test_the_story_tells_what_happened_in_order() -> None:
    text = story(collapsed())
    assert "**It collapsed: from step" in text
    assert text.index("step 20: `topk_drain`") < text.index("step 40: `length`")
    assert text.count("### Step ") == 3
    assert "maybe maybe" in text.partition("### Step 115")[2]
    assert "| Sampled accuracy (avg@k, T = 1) | 0.300 |" in text
    steady = story(record(load_grid("smoke").runs()[0], 0.3, 0.8))
    assert "It did not collapse within its 120 steps" in steady


def test_a_fall_that_is_no_collapse_is_told_by_the_highest_value() -> None:
    rose = [(0, 0.45), (60, 0.97), (120, 0.59)]
    assert _peak(rose) == " (highest: 0.970 at step 60)"
    assert _peak([(0, 0.4), (60, 0.5), (120, 0.6)]) == ""
    assert _peak([(0, 0.6), (60, 0.5), (120, 0.4)]) == ""


def test_explain_finds_a_run_by_the_end_of_its_id_and_writes_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = collapsed()
    write_record(tmp_path / "runs" / one.run / "record.json", one)
    explain(one.run[-11:], results=tmp_path)
    assert capsys.readouterr().out.startswith(f"# {one.run}\n")
    explain(one.run, results=tmp_path, output=tmp_path / "out" / "run.html")
    assert "<h1" in (tmp_path / "out" / "run.html").read_text(encoding="utf-8")
    with pytest.raises(SpecError, match=r"FILE\.md or FILE\.html"):
        explain(one.run, results=tmp_path, output=tmp_path / "run.pdf")
    with pytest.raises(IncompleteResults, match="no record of a run"):
        explain("absent", results=tmp_path)


def test_a_course_in_blocks() -> None:
    assert spark([0.0, 0.5, 1.0], (0.0, 1.0)) == "▁▅█"
    assert spark([1.0, float("inf"), 3.0]) == "▁!█"
    assert spark([2.0, 2.0]) == "▁▁"


def test_the_estimate_counts_every_stage_once() -> None:
    grid = load_grid("smoke")
    evidence = evidence_from(records(grid, seeds=(0, 1)), grid, scale="lab", seeds=(0, 1))
    guess, found = grid.scale.expected_seconds, estimated_hours(evidence)
    assert found["distill"] * 3600 == pytest.approx(guess["distill"] * 120 * 4)
    assert found["evaluate"] * 3600 == pytest.approx(guess["evaluate"] * 4)
    student = grid.cells[0].cell.model.student  # type: ignore[union-attr]
    assert found["pretrain"] * 3600 == pytest.approx(
        guess["pretrain"] * student.training.steps * 2
    )  # one base a seed, whatever shares it
    text = build(evidence).texts["costs/smoke.md"]
    assert "Core hours, estimated" in text


@pytest.mark.parametrize("name", [name for name in names("grids") if name not in ("math", "smoke")])
def test_every_grid_has_its_pages_as_soon_as_it_has_records(name: str) -> None:
    """With records of plausible shape: tables, figures and verdicts are made, and no claim stays
    without its numbers but for probes.
    """
    grid = load_grid(name)
    made = records(
        grid,
        lambda labels, seed: (
            0.4,
            0.5 + 0.1 * random.Random(f"{sorted(labels.items())}{seed}").random(),
        ),
        seeds=(0, 1, 2),
    )
    evidence = evidence_from(made, grid, scale="lab", seeds=(0, 1, 2))
    built = build(evidence)
    measured = {verdict.claim.id for verdict in built.verdicts if verdict.differences}
    assert measured >= {
        verdict.claim.id for verdict in built.verdicts if "probe:" not in verdict.claim.outcome
    }
    assert all(
        figure.csv.count("\n") > 1
        for figure in built.figures
        if "probe:" not in str(figure.page.marks)
    )
    assert (
        f"Claims on the grid {name}" in markdown([Part(evidence, built, grid.question)])
        or not built.verdicts
    )


def test_without_runs_it_names_the_committed_records(smoke: Path) -> None:
    with pytest.raises(IncompleteResults) as caught:
        report(results=smoke)
    assert f"study report --records {smoke / 'records'}" in (caught.value.hint or "")
