"""`study declare`: sealed before runs, cited by them, shown next to the outcome."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.claims.decide import decide_all
from analysis.claims.verdicts import facts
from analysis.pages.numbered import claims_of
from study.cli.declare import declare
from study.errors import RecordMismatch, SpecError
from study.record.declared.preregistration import Preregistration
from study.record.declared.preregistration_files import preregistrations, read
from study.record.declared.states import state_hash
from study.record.schema import Record
from study.record.store import read_records
from study.runner.verbs.clean import References, waste
from study.runner.verbs.publish import publish
from tests.support.tiny import GAIN, Tiny

GATE = {
    "id": "scores",
    "text": "the student answers at all",
    "outcome": "score",
    "contrast": {"kind": "level", "arm": {"loss": "full"}},
    "at_least": 0.0,
    "tolerated": 0.0,
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setattr("study.cli.declare.check_families", lambda: [])
    made = Tiny(tmp_path, monkeypatch)
    made.write_claims(GAIN | {"gates": ["scores"], "spread": 0.01}, gates=[GATE])
    return made


def declaring(tiny: Tiny, **options: Any) -> Preregistration:
    before = set(tiny.results.preregistrations.glob("*.json"))
    declare("tiny", results=tiny.results.root, **options)
    (path,) = set(tiny.results.preregistrations.glob("*.json")) - before
    return read(path)


def records(tiny: Tiny) -> list[Record]:
    return read_records(tiny.results.runs)


def shown(tiny: Tiny) -> list[str]:
    page = claims_of("tiny")
    assert page is not None
    evidence = tiny.evidence()
    (verdict,) = decide_all(page, evidence)
    return [line for line in facts(verdict, evidence) if line.startswith("- Preregistered")]


def test_a_preregistration_says_everything_before_the_runs(tiny: Tiny) -> None:
    page = declaring(tiny)
    assert (page.grid, page.scale, page.seeds, page.seen.runs) == ("tiny", "lab", (0, 1, 2), 0)
    assert page.state == state_hash(tiny.walk().declared)
    assert set(page.cells) == {run.cell_id for run in tiny.walk().runs}
    assert page.families == {"tiny_finding": ("tiny/biased_is_worse",)}
    (claim,) = page.claims
    assert claim.sentence == "score: [loss=biased] minus [loss=full] is below -0.05"
    assert claim.arms == ({"loss": "biased"}, {"loss": "full"})
    assert claim.power is not None
    assert claim.power.basis == "spread of the page, an effect of -0.1 is assumed"
    assert claim.power.words["REPRODUCED"] > 0.5
    (gate,) = page.gates
    assert gate.failing == "one base in which it fails makes the claim INVALID"
    text = (tiny.results.preregistrations / f"{page.name}.md").read_text(encoding="utf-8")
    for part in (claim.text, claim.sentence, gate.sentence, page.seal, "No record of these arms"):
        assert part in text


def test_runs_cite_it_and_the_report_shows_it_next_to_the_outcome(tiny: Tiny) -> None:
    page = declaring(tiny)
    tiny.run()
    assert {record.provenance.preregistration for record in records(tiny)} == {page.seal}
    assert tiny.declared().word == "declared before data"
    (line,) = shown(tiny)
    assert line.startswith(f"- Preregistered: 6 of its 6 runs cite {page.name} of {page.date[:10]}")
    assert "seeds 0, 1, 2. No record of these arms existed. Expected: REPRODUCED" in line


def test_runs_that_nothing_covers_cite_nothing(tiny: Tiny) -> None:
    declaring(tiny, seeds="0,1")
    tiny.run()
    cited = {record.seed: record.provenance.preregistration for record in records(tiny)}
    assert cited[0] == cited[1] != cited[2] is None
    assert shown(tiny)[-1] == "- Preregistered: 2 of its 6 runs cite none."


def test_other_claims_than_the_declared_ones_are_not_covered(tiny: Tiny) -> None:
    declaring(tiny)
    tiny.write_claims(GAIN | {"smallest_effect": 0.01})
    tiny.run()
    assert {record.provenance.preregistration for record in records(tiny)} == {None}
    assert shown(tiny) == []


def test_more_seeds_are_a_new_declaration_that_says_what_was_seen(tiny: Tiny) -> None:
    first = declaring(tiny)
    tiny.run()
    tiny.write_grid(seeds=range(5))
    second = declaring(tiny, seeds="3-4")
    assert (second.seen.seeds, second.seen.runs) == ((0, 1, 2), 6)
    assert "6 runs of these arms on 3 seeds (0, 1, 2) had a record" in shown_text(tiny, second)
    power = second.claims[0].power
    assert power is not None
    assert power.basis == "3 bases of the records in results/runs"
    tiny.run()
    cited = {record.seed: record.provenance.preregistration for record in records(tiny)}
    assert (cited[0], cited[3], cited[4]) == (first.seal, second.seal, second.seal)
    assert tiny.declared().word == "extended after data"
    assert len(shown(tiny)) == 2


def shown_text(tiny: Tiny, page: Preregistration) -> str:
    return (tiny.results.preregistrations / f"{page.name}.md").read_text(encoding="utf-8")


def test_a_declaration_of_seeds_that_were_seen_says_that_it_declares_nothing(tiny: Tiny) -> None:
    tiny.run()
    page = declaring(tiny)
    assert "For seeds 0, 1, 2 this declares nothing in advance" in shown_text(tiny, page)


def test_reserve_seeds_of_a_screening_are_declared(tiny: Tiny) -> None:
    gate = GATE | {"pre_treatment": True}
    screening = {"gates": ["scores"], "seeds": [5, 6, 7, 8], "bases": 3}
    tiny.write_claims(GAIN | {"gates": ["scores"]}, gates=[gate], screening=screening)
    page = declaring(tiny)
    assert page.seeds == (5, 6, 7, 8)
    assert "the reserve seeds 5, 6, 7, 8 are gone through in order until 3 bases pass" in (
        shown_text(tiny, page)
    )


def test_one_that_was_changed_is_refused(tiny: Tiny) -> None:
    page = declaring(tiny)
    path = tiny.results.preregistrations / f"{page.name}.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["claims"][0]["text"] = "Something else."
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RecordMismatch, match="does not match its seal") as caught:
        tiny.run()
    assert str(path) in caught.value.message
    assert not records(tiny)


def test_it_is_published_with_the_records_and_never_cleaned(tiny: Tiny) -> None:
    page = declaring(tiny)
    declaring(tiny, seeds="0")  # newer, and cited by the runs of seed 0
    tiny.run(seeds=[1])
    nothing = References(frozenset(), frozenset())
    assert not [item for item in waste(tiny.results, nothing, runs=True) if "prereg" in str(item)]
    target = tiny.folder / "elsewhere" / "records"
    publish(tiny.results, target)
    assert list(preregistrations(target.parent / "preregistrations")) == [page]
    assert (target.parent / "preregistrations" / f"{page.name}.md").is_file()


@pytest.mark.parametrize(
    ("grid", "options", "word"),
    [
        ("tiny", {"seeds": "7"}, "seeds 7 are not among those declared"),
        ("smoke", {}, "no claims on the grid smoke"),
        ("tiny", {"pilot": "0-2"}, "no record of the grid tiny .* with the seeds 0-2"),
        (
            "tiny",
            {"variance_from": Path("elsewhere")},
            "no record of the grid tiny .* in elsewhere",
        ),
    ],
)
def test_what_cannot_be_declared_is_refused_and_writes_nothing(
    tiny: Tiny, grid: str, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(SpecError, match=word):
        declare(grid, results=tiny.results.root, **options)
    assert not tiny.results.root.exists()


def test_a_changed_claim_is_named_next_to_the_earlier_declaration(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    first = declaring(tiny)
    assert "declared these seeds otherwise" not in capsys.readouterr().err
    tiny.write_claims(GAIN | {"smallest_effect": 0.01}, gates=[GATE])
    declaring(tiny)
    shown = capsys.readouterr()
    assert f"{first.name} declared these seeds otherwise" in shown.err
    assert "(changed: biased_is_worse);" in shown.err
    assert shown.out.endswith(f"next: study run --grid tiny --results {tiny.results.root}\n")


def test_without_a_variance_it_says_how_to_name_one(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    declaring(tiny)
    assert "state `spread` in a claim" not in capsys.readouterr().out
    tiny.write_claims(GAIN | {"gates": ["scores"], "spread": None}, gates=[GATE])
    declaring(tiny)
    assert "state `spread` in a claim" in capsys.readouterr().out


def test_withdrawn_claims_count_where_no_declared_seed_has_a_record(tiny: Tiny) -> None:
    tiny.write_claims(GAIN, GAIN | {"id": "later"})
    tiny.write_findings(claims={"tiny": ["biased_is_worse", "later"]})
    tiny.run()
    tiny.write_claims(GAIN)
    tiny.write_findings()
    tiny.write_grid(seeds=[3, 4, 5])
    assert declaring(tiny).withdrawn == {"tiny_finding": 1}
