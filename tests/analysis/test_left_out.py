"""Claims that move to another family and bases that are not looked at: both are said, and no family
gets smaller by it.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis.claims.decide import decide_all
from analysis.claims.withdrawn import Withdrawn, lines, unstored, withdrawn_today
from analysis.verdicts.facts import facts
from study.spec.report.claim import load_claims
from tests.analysis.test_tampering import ANSWERS, LATER, judged
from tests.support.tiny import FINDING, GAIN, Tiny

BOTH = {"tiny": ["biased_is_worse", "later"]}
MOVED = "in another family now"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    return Tiny(tmp_path, monkeypatch)


def _run_both(tiny: Tiny) -> None:
    """Run two claims of one finding."""
    tiny.write_claims(GAIN, LATER)
    tiny.write_findings(claims=BOTH)
    tiny.run()
    assert judged(tiny).family_size == 2


def _write_findings(tiny: Tiny, *findings: dict[str, Any]) -> None:
    tiny._write("findings/tiny.yaml", {"findings": list(findings)})


def _places(found: tuple[Withdrawn, ...]) -> set[tuple[str, str, str]]:
    return {(each.claim.id, each.how, each.counts_in) for each in found}


def test_a_sibling_in_another_finding_still_counts(tiny: Tiny) -> None:
    _run_both(tiny)
    other = {"id": "other", "decided_by": "later", "claims": {"tiny": ["later"]}}
    _write_findings(tiny, FINDING, FINDING | other)
    assert judged(tiny).family_size == 2
    assert _places(withdrawn_today(tiny.evidence())) == {
        ("later", MOVED, "tiny_finding"),
        ("biased_is_worse", MOVED, "other"),
    }
    assert tiny.declared("later").word == "world changed after data"


def test_a_sibling_that_no_finding_lists_any_more_still_counts(tiny: Tiny) -> None:
    _run_both(tiny)
    assert unstored(tiny.evidence()) == ()
    tiny.write_findings()
    assert judged(tiny).family_size == 2
    assert _places(withdrawn_today(tiny.evidence())) == {
        ("later", MOVED, "tiny_finding"),
        ("biased_is_worse", MOVED, "grid tiny"),
    }


def test_another_name_of_the_finding_makes_no_new_family(tiny: Tiny) -> None:
    _run_both(tiny)
    tiny.write_claims(GAIN)
    _write_findings(tiny, FINDING | {"id": "renamed"})
    assert judged(tiny).family_size == 2
    gone = withdrawn_today(tiny.evidence())
    assert _places(gone) == {("later", "no longer declared", "renamed")}
    assert tiny.declared().word == "world changed after data"


def test_a_base_that_is_dropped_after_the_data_is_named(tiny: Tiny) -> None:
    tiny.write_grid(seeds=[0, 1, 2, 3])
    tiny.run()
    only = tiny.declared(seeds=[0, 2, 3])
    tiny.write_grid(seeds=[0, 2, 3])
    for found in (only, tiny.declared()):
        assert found.word == "world changed after data"
        assert found.details == ("seed 1 was declared with the others and not looked at",)


def test_bases_that_are_never_run_are_dropped_as_well(tiny: Tiny) -> None:
    """When to stop is a choice that the data can suggest."""
    tiny.write_grid(seeds=[0, 1, 2, 3, 4])
    tiny.run(seeds=[0, 1, 2])
    assert tiny.declared().word == "declared before data"  # two seeds are still to run
    tiny.write_grid(seeds=[0, 1, 2])
    details = tiny.declared().details
    assert details == ("seeds 3, 4 were declared with the others and not looked at",)


def test_a_look_at_a_part_leaves_out_no_base_that_was_not_run(tiny: Tiny) -> None:
    tiny.write_grid(seeds=[0, 1, 2, 3, 4])
    tiny.run(seeds=[0])
    found = tiny.declared(seeds=[0])
    assert found.word == "declared before data"
    assert found.details == ()
    tiny.run(seeds=[1])
    left = "seed 1 was declared with the others and not looked at"
    assert tiny.declared(seeds=[0]).details == (left,)


def test_a_replication_says_which_seeds_it_leaves_out(tiny: Tiny) -> None:
    tiny.run()
    tiny.write_grid(seeds=[3, 4, 5])
    tiny.run()
    found = tiny.declared()
    assert found.word == "declared before data"
    assert found.details == ("seeds 0, 1, 2 have records of its arms and are not looked at",)


def test_the_number_of_bases_to_screen_for_is_declared(tiny: Tiny) -> None:
    chosen = {"gates": ["answers"], "seeds": [5, 6, 7, 8], "bases": 3}
    tiny.write_claims(GAIN, gates=[ANSWERS], screening=chosen)
    tiny.run(seeds=[5, 6, 7])
    assert tiny.declared(seeds=[5, 6, 7]).word == "declared before data"
    tiny.write_claims(GAIN, gates=[ANSWERS], screening=chosen | {"bases": 4})
    tiny.run(seeds=[8])
    found = tiny.declared(seeds=[5, 6, 7, 8])
    assert found.word == "world changed after data"
    assert found.details == ("the number of bases to screen for (3, now 4)",)


def test_a_state_that_is_deleted_is_named(tiny: Tiny) -> None:
    tiny.run()
    (state,) = tiny.results.declared.iterdir()
    shutil.rmtree(state)
    (lost,) = unstored(tiny.evidence())
    assert lost.startswith(state.name)
    text = "\n".join(lines((), [lost]))
    assert f"not stored with them: `{state.name}`" in text


def test_a_base_without_a_record_is_named_in_the_verdict(tiny: Tiny) -> None:
    tiny.write_grid(seeds=[0, 1, 2, 3])
    tiny.run()
    (full,) = decide_all(load_claims("tiny"), tiny.evidence())
    assert "left out" not in "\n".join(facts(full, tiny.evidence()))
    next(tiny.results.runs.glob("*-s3/record.json")).unlink()
    (partial,) = decide_all(load_claims("tiny"), tiny.evidence())
    assert partial.n == 3
    (said,) = [line for line in facts(partial, tiny.evidence()) if line.startswith("- Per base")]
    assert said.endswith("; left out, because an arm has no record or no such number: base 3.")
