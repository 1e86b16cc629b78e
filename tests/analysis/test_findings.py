"""The paper's findings with their verdicts: every claim that has one is shown with it, the others
as not run; `study check` refuses a wrong name and a finding that no claim decides.
"""

from pathlib import Path

import pytest

from analysis.claims.findings import DECIDES, NOT_RUN, findings_table
from analysis.claims.scorecard import by_claim, findings
from analysis.evidence.loading import evidence_from
from analysis.pages.overview import markdown
from analysis.pages.report import Part, build
from study.errors import SpecError
from study.runner.verbs import check
from study.runner.verbs.check import check_findings
from study.spec.grid.grid import load_grid
from study.spec.report.finding import Finding
from study.spec.yaml.load import names
from tests.support import synthetic


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    grid = load_grid("math")
    evidence = evidence_from(
        synthetic.records(grid, lambda labels, seed: (0.3, 0.8 + 0.01 * seed)), grid, scale="lab"
    )
    return [Part(evidence, build(evidence), "a question")]


def test_claims_of_recorded_grids_have_their_verdict_and_the_others_none(parts: list[Part]) -> None:
    measured = parts[0].report.verdicts
    table = findings_table(by_claim("math", measured), "lab")
    assert table is not None
    verdicts = {verdict.claim.id: verdict.label for verdict in measured if verdict.n}
    shown = {row[3]: row[2] for row in table.rows if row[4] == "math"}
    assert shown
    assert shown == {claim: verdicts[str(claim)] for claim in shown}
    assert {row[2] for row in table.rows if row[4] != "math"} == {NOT_RUN}
    heads = [row for row in table.rows if row[0]]
    assert len(heads) == len(findings())
    assert [(row[4], row[3]) for row in heads] == [each.deciding for each in findings()]
    assert {row[1] for row in heads} == {DECIDES}


def test_the_report_opens_with_them(parts: list[Part]) -> None:
    text = markdown(parts)
    places = ["](figures/scorecard.png)", "## The paper's findings at this scale"]
    places += ["## The claims of each finding", "## Claims and verdicts"]
    assert [text.index(place) for place in places] == sorted(text.index(place) for place in places)


def test_without_any_verdict_there_is_no_table_and_no_scorecard() -> None:
    grid = load_grid("smoke")
    evidence = evidence_from(
        synthetic.records(grid, lambda labels, seed: (0.3, 0.8)), grid, scale="lab"
    )
    report = build(evidence)
    assert findings_table(by_claim("smoke", report.verdicts), "lab") is None
    assert report.scorecard == ()
    assert "scorecard" not in markdown([Part(evidence, report, "")])


def checked(tmp_path: Path, finding: str) -> str:
    """What `study check` says of a file with this one finding, which it refuses."""
    page = tmp_path / "experiments" / "findings" / "mine.yaml"
    page.parent.mkdir(parents=True)
    page.write_text(f"findings:\n  - {finding}\n")
    with pytest.raises(SpecError) as refused:
        check_findings("mine", tmp_path)
    return str(refused.value)


def test_a_claim_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    claims = "{math: [biased_k1_colapses]}"
    said = checked(
        tmp_path, f"{{id: a, text: a, source: b, decided_by: biased_k1_colapses, claims: {claims}}}"
    )
    assert "mine.yaml:2" in said
    assert "math has no claim 'biased_k1_colapses'" in said
    assert "biased_k1_collapses" in said


def test_a_finding_that_no_claim_decides_is_refused(tmp_path: Path) -> None:
    said = checked(tmp_path, "{id: a, text: a, source: b, claims: {math: [biased_k1_collapses]}}")
    assert "mine.yaml:2" in said
    assert "field 'decided_by' is required" in said


@pytest.mark.parametrize(
    ("decided_by", "problem"),
    [
        ("plain_loss_fails", "'plain_loss_fails' is none of the finding's own claims"),
        ("biased_k20_reported", "biased_k20_reported of math declares no expectation"),
    ],
)
def test_the_deciding_claim_is_one_of_its_own_with_an_expectation(
    tmp_path: Path, decided_by: str, problem: str
) -> None:
    claims = "{math: [biased_k1_collapses, biased_k20_reported]}"
    page = f"{{id: a, text: a, source: b, decided_by: {decided_by}, claims: {claims}}}"
    said = checked(tmp_path, page)
    assert "mine.yaml:2" in said
    assert problem in said
    assert "biased_k1_collapses" in said


def test_a_claim_is_named_with_its_grid_where_two_have_the_name() -> None:
    claims = {"math": ["same"], "loss": ["same", "other"]}
    with pytest.raises(ValueError, match="'same' are several of the finding's own claims"):
        Finding(id="f", text="a", source="b", decided_by="same", claims=claims)
    named = Finding(id="f", text="a", source="b", decided_by="loss/same", claims=claims)
    assert named.deciding == ("loss", "same")


def test_study_check_looks_at_every_findings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_findings(kind: str, root: Path | None) -> list[str]:
        return names(kind, root) if kind == "findings" else []

    monkeypatch.setattr(check, "names", only_findings)
    found = [outcome for outcome in check.check_experiments() if "family" not in outcome[0]]
    assert found == [("findings/paper.yaml", "12 findings")]
