"""The paper's findings beside verdicts: every claim that has one is shown with it, the others as
not run; a wrong name is told.
"""

from pathlib import Path

import pytest

from analysis.claims.findings import NOT_RUN, findings, findings_table
from analysis.evidence.frames import evidence_from
from analysis.pages.overview import markdown
from analysis.pages.report import Part, build
from study.runner.verbs.check import check_experiments
from study.spec.grid.grid import load_grid
from tests.support import synthetic


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    grid = load_grid("math")
    evidence = evidence_from(
        synthetic.records(grid, lambda labels, seed: (0.3, 0.8 + 0.01 * seed)), grid, scale="lab"
    )
    return [Part(evidence, build(evidence), "a question")]


def test_claims_of_recorded_grids_have_their_verdict_and_the_others_none(parts: list[Part]) -> None:
    table = findings_table(parts)
    assert table is not None
    verdicts = {
        verdict.claim.id: verdict.label for verdict in parts[0].report.verdicts if verdict.n
    }
    shown = {row[2]: row[1] for row in table.rows if row[3] == "math"}
    assert shown
    assert shown == {claim: verdicts[str(claim)] for claim in shown}
    assert {row[1] for row in table.rows if row[3] != "math"} == {NOT_RUN}
    assert sum(bool(row[0]) for row in table.rows) == len(findings())


def test_the_report_opens_with_them(parts: list[Part]) -> None:
    text = markdown(parts)
    assert text.index("## The paper's findings at this scale") < text.index(
        "## Claims and verdicts"
    )


def test_without_any_verdict_there_is_no_table() -> None:
    grid = load_grid("smoke")
    evidence = evidence_from(
        synthetic.records(grid, lambda labels, seed: (0.3, 0.8)), grid, scale="lab"
    )
    assert findings_table([Part(evidence, build(evidence), "")]) is None


def test_a_claim_that_is_not_there_is_told(tmp_path: Path) -> None:
    page = tmp_path / "experiments" / "findings" / "mine.yaml"
    page.parent.mkdir(parents=True)
    page.write_text("findings:\n  - {text: a, source: b, claims: {math: [biased_k1_colapses]}}\n")
    found = {
        name: str(outcome)
        for name, outcome in check_experiments(tmp_path)
        if name == "findings/mine.yaml"
    }
    assert "no claim 'biased_k1_colapses'" in found["findings/mine.yaml"]
    assert "biased_k1_collapses" in found["findings/mine.yaml"]
