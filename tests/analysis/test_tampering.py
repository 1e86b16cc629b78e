"""What is done to declarations after the data were seen ends in the label that says so."""

import shutil
from pathlib import Path

import pytest

from analysis.claims.decide import Verdict, judge
from analysis.claims.withdrawn import by_family, lines, withdrawn_today
from analysis.declarations.origins import _differing
from analysis.declarations.states import findings_today
from analysis.evidence.gather import Origin
from study.record.declared.states import DIGITS, keep
from study.record.schema import sealed
from study.record.store import read_records, write_record
from study.spec.report import outcome
from study.spec.report.claim import load_claims
from tests.support.tiny import GAIN, Tiny

LATER = GAIN | {"id": "later"}
ANSWERS = {
    "id": "answers",
    "text": "the student answers at all",
    "outcome": "score",
    "contrast": {"kind": "level", "arm": {"loss": "full"}},
    "at_least": 0.0,
    "pre_treatment": True,
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    return Tiny(tmp_path, monkeypatch)


def test_what_is_declared_and_then_run_is_declared_before_data(tiny: Tiny) -> None:
    tiny.run(seeds=[0])
    tiny.run()  # the rest of the declared seeds, later
    found = tiny.declared()
    assert found.word == "declared before data"
    assert (found.runs, found.under, found.details) == (6, 6, ())
    made = [record.provenance for record in read_records(tiny.results.runs)]
    assert {one.claims for one in made} == {made[0].claims}
    assert [one.stage_claims for one in made] == [{}] * 6


def test_a_claim_that_is_deleted_after_the_data_stays_in_the_count(tiny: Tiny) -> None:
    tiny.write_claims(GAIN, LATER, GAIN | {"id": "reported", "primary": False})
    tiny.run()
    tiny.write_claims(GAIN)
    (found,) = withdrawn_today(tiny.evidence())
    assert (found.grid, found.claim.id, found.how) == ("tiny", "later", "no longer declared")
    assert found.claim.text == LATER["text"]
    assert found.family is None  # no finding lists it, so the family of its grid counts it
    tiny.write_claims(GAIN, LATER | {"primary": False})
    tiny.write_findings(claims={"tiny": ["biased_is_worse", "later"]})
    (found,) = withdrawn_today(tiny.evidence())
    assert (found.family, found.how) == ("tiny_finding", "no longer primary")
    tiny.write_claims(GAIN, LATER)
    assert withdrawn_today(tiny.evidence()) == ()


def test_a_deleted_sibling_lifts_no_verdict(tiny: Tiny) -> None:
    """Holm's factor of the claim that stands is what it was before, and the report lists both."""
    both = {"tiny": ["biased_is_worse", "later"]}
    tiny.write_claims(GAIN, LATER)
    tiny.write_findings(claims=both)
    tiny.run()
    before = judged(tiny)
    tiny.write_claims(GAIN)
    tiny.write_findings()
    after = judged(tiny)
    assert (before.family_size, after.family_size) == (2, 2)
    assert after.factor >= before.factor
    text = "\n".join(lines(withdrawn_today(tiny.evidence())))
    assert "tiny / later (no longer declared; family tiny_finding)" in text
    assert LATER["text"] in text
    assert lines([]) == []


def judged(tiny: Tiny) -> Verdict:
    evidence = tiny.evidence()
    page = load_claims("tiny")
    found = judge(
        {"tiny": page},
        {"tiny": evidence},
        findings=findings_today(),
        withdrawn=by_family(withdrawn_today(evidence)),
    )
    return found["tiny"][0]


def test_a_withdrawn_claim_keeps_the_family_that_a_state_recorded(tiny: Tiny) -> None:
    tiny.write_claims(GAIN, LATER)
    tiny.write_findings(claims={"tiny": ["biased_is_worse", "later"]})
    tiny.run(seeds=[0])
    tiny.write_claims(GAIN)
    tiny.write_findings()
    (found,) = withdrawn_today(tiny.evidence())
    assert found.family == "tiny_finding"


def test_another_world_under_the_same_text_is_named(tiny: Tiny) -> None:
    tiny.run()
    tiny.write_grid(k=1)
    tiny.run()
    found = tiny.declared()
    assert found.word == "world changed after data"
    assert found.details == ("the spec of [loss=biased]",)
    assert "world changed after data: the spec of [loss=biased]" in found.text


def test_another_world_is_named_when_its_records_are_gone(tiny: Tiny) -> None:
    """The state of the new runs says that the old cells had data."""
    tiny.run()
    old = {record.run for record in read_records(tiny.results.runs)}
    tiny.write_grid(k=1)
    tiny.run()
    for run in old - {run.run_id for run in tiny.walk().runs}:
        shutil.rmtree(tiny.results.run(run))
    for state in tiny.results.declared.iterdir():
        if state.name not in {name[:DIGITS] for name in tiny.evidence().states}:
            shutil.rmtree(state)
    assert tiny.declared().word == "world changed after data"
    tiny.write_grid(k=5)
    tiny.run()
    assert tiny.declared().word == "world changed after data"


def test_a_world_that_changed_before_any_data_is_no_change(tiny: Tiny) -> None:
    tiny.walk().declared  # noqa: B018 - what `study run` would store, nothing is run
    tiny.write_grid(k=1)
    tiny.run()
    assert tiny.declared().word == "declared before data"


def test_a_kept_artifact_is_as_old_as_its_training(tiny: Tiny) -> None:
    """A deleted record and a claim that is written later: the evaluation alone is repeated."""
    tiny.run()
    shutil.rmtree(tiny.results.runs)
    tiny.write_claims(GAIN, LATER)
    tiny.run()
    assert tiny.declared("later").word == "declared after data"
    assert tiny.declared().word == "declared before data"
    made = [record.provenance for record in read_records(tiny.results.runs)]
    assert {len(one.stage_claims or {}) for one in made} == {len(made[0].stage_claims or {})}
    assert made[0].stage_claims


def test_a_claim_about_one_cell_counts_its_own_training(tiny: Tiny) -> None:
    tiny.run()
    shutil.rmtree(tiny.results.runs)
    level = {"kind": "level", "arm": {"loss": "biased"}}
    tiny.write_claims(GAIN, LATER | {"contrast": level})
    tiny.run()
    assert tiny.declared("later").word == "declared after data"


def test_cells_that_only_score_count_the_evaluation_alone() -> None:
    """Two evaluations of one model: no stage differs, so an old artifact is no data yet."""
    then = {"pretrain-1": "a" * 64}
    one = Origin("b" * 64, then, {"pretrain": "pretrain-1"}, None)
    other = Origin("b" * 64, then, {"pretrain": "pretrain-1", "beside0": "grpo-1"}, None)
    assert _differing(one, {"r1": one, "r2": other}, 2) == set()
    assert _differing(one, {"r1": one}, 1) == {"pretrain-1"}
    student = Origin(None, {}, {"distill": "distill-1", "student": "pretrain-1"}, None)
    assert _differing(student, {"r1": one, "r2": student}, 2) == {"distill-1"}


def test_seeds_that_are_added_after_others_were_seen_are_an_extension(tiny: Tiny) -> None:
    tiny.run()
    tiny.write_grid(seeds=[0, 1, 2, 3, 4])
    tiny.run()
    found = tiny.declared()
    assert found.word == "extended after data"
    assert found.details == ("seeds 3, 4 were added when 3 of the others had been seen",)


def test_seeds_that_the_grid_never_declared_are_an_extension(tiny: Tiny) -> None:
    tiny.run()
    tiny.run(seeds=[7])
    tiny.write_grid(seeds=[0, 1, 2, 7])
    found = tiny.declared()
    assert found.word == "extended after data"
    assert found.details == ("seed 7 was added when 3 of the others had been seen",)


def test_new_seeds_alone_are_a_replication(tiny: Tiny) -> None:
    tiny.run()
    tiny.write_grid(seeds=[3, 4, 5])
    tiny.run()
    assert tiny.declared().word == "declared before data"


def test_reserve_seeds_are_declared_and_more_of_them_are_an_extension(tiny: Tiny) -> None:
    def screened(*seeds: int, gates: tuple[str, ...] = ("answers",)) -> None:
        chosen = {"gates": list(gates), "seeds": list(seeds), "bases": 3}
        tiny.write_claims(GAIN, gates=[ANSWERS, ANSWERS | {"id": "other"}], screening=chosen)

    screened(5, 6, 7)
    tiny.run(seeds=[5, 6, 7])
    looked_at = [5, 6, 7]
    assert tiny.declared(seeds=looked_at).word == "declared before data"
    screened(5, 6, 7, 8)
    tiny.run(seeds=[8])
    found = tiny.declared(seeds=[*looked_at, 8])
    assert found.word == "extended after data"
    assert found.details == ("seed 8 was added when 3 of the others had been seen",)
    screened(5, 6, 7, 8, gates=("other",))
    assert tiny.declared(seeds=looked_at).details == ("how bases are screened",)


def test_another_family_or_revision_of_the_outcomes_is_a_change(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_claims(GAIN, LATER)
    tiny.run()
    tiny.write_findings(id="another")
    assert tiny.declared().details == (
        "its family (tiny_finding, now another)",
        "the claim that decides the finding another",
    )
    tiny.write_findings()
    monkeypatch.setattr("analysis.declarations.changes.REVISION", outcome.REVISION + 1)
    assert tiny.declared().word == "world changed after data"
    assert "the code of the outcomes (revision 1, now 2)" in tiny.declared().text


def test_a_legacy_record_says_no_more_than_it_shows(tiny: Tiny) -> None:
    """Its state holds claims only, and no stage names a state; the page may tell of a change."""
    tiny.run()
    claims = (tiny.folder / "experiments/claims/tiny.yaml").read_bytes()
    state = keep(tiny.results.declared, {"tiny.yaml": claims})
    for record in read_records(tiny.results.runs):
        made = record.provenance.model_copy(update={"claims": state, "stage_claims": None})
        write_record(
            tiny.results.record(record.run),
            sealed(record.model_copy(update={"provenance": made})),
        )
    assert tiny.declared().word == "text before data, world not recorded"
    told = {"date": "2026-11-20", "text": "twice as many steps", "arms": [{"loss": "biased"}]}
    tiny.write_claims(world_changes=[told])
    found = tiny.declared()
    assert found.word == "world changed after data"
    assert found.details == ("2026-11-20: twice as many steps",)
    tiny.write_claims(world_changes=[told | {"arms": [{"loss": "another"}]}])
    assert tiny.declared().word == "text before data, world not recorded"


def test_what_the_page_tells_does_not_count_where_the_states_hold_the_world(tiny: Tiny) -> None:
    tiny.write_claims(world_changes=[{"date": "2026-11-20", "text": "other steps"}])
    tiny.run()
    assert tiny.declared().word == "declared before data"
