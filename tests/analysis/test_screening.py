"""Screening: reserve seeds are gone through in their declared order, gates before any treatment
choose the bases, nothing after it does; `study screen` says what to run next.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.claims.decide import decide_all
from analysis.claims.screening import load_screened, screen
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.verdicts.facts import facts
from study.cli.main import build_app
from study.errors import SpecError
from study.record.store import Results, write_record_once
from study.runner.verbs.check_screening import check_screening
from study.spec.grid.grid import load_grid
from study.spec.report.claim import load_claims
from tests.support.synthetic import record

GRID = """
name: screened
question: Whether the right answer as privileged information helps
scales: [lab]
base: {student: seeker, teacher: seeker, objective: full_reverse_kl, length: search, data: search,
  evaluation: search}
factors:
  arm:
    right_answer: {pi: answer}
    solution: {teacher: pi_grpo, pi: solution}
    neutral: {pi: neutral}
    untouched: {model: seeker}
    score_right_answer: {model: seeker, evaluation: search_seeing_answer}
    teacher_alone: {model: pi_grpo}
seeds: [20, 21, 22]
"""
GATE = """
  - id: answer_is_used
    text: the base that sees the answer scores above the one that sees nothing
    outcome: score
    contrast: {kind: difference, arm: {arm: score_right_answer}, versus: {arm: untouched}}
    at_least: 0.2
    pre_treatment: true
"""
CLAIMS = """
grid: screened
gates:@GATES@
claims:
  - id: it_helps
    text: The right answer helps.
    source: here
    outcome: score
    contrast: {kind: difference, arm: {arm: right_answer}, versus: {arm: neutral}}
    expectation: positive
    smallest_effect: 0.05
    gates: [answer_is_used]
    primary: true
  - id: solution_helps
    text: The solution helps.
    source: here
    outcome: score
    contrast: {kind: difference, arm: {arm: solution}, versus: {arm: neutral}}
    expectation: positive
    smallest_effect: 0.05
screening: {gates: [answer_is_used], seeds: [20, 21, 22, 23, 24, 25], bases: 3}
"""
# score of the base that sees the answer, by seed: 21 and 22 never use it
SEEING = {20: 0.75, 21: 0.25, 22: 0.375, 23: 0.75, 24: 0.75, 25: 0.75}
GATE_ARMS = ("untouched", "score_right_answer")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the experiment, which is the current one."""
    write_pages(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_pages(folder: Path, gates: str = GATE, claims: str = CLAIMS, grid: str = GRID) -> None:
    for kind, text in (("grids", grid), ("claims", claims.replace("@GATES@", gates))):
        page = folder / "experiments" / kind / "screened.yaml"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")


def make(place: Path, seeds: Iterable[int], arms: Iterable[str] | None = None) -> None:
    """Record the runs of these seeds."""
    results = Results(place / "results")
    for run in load_grid("screened").runs(seeds=tuple(seeds)):
        arm = run.labels["arm"]
        if arms is not None and arm not in arms:
            continue
        score = {"score_right_answer": SEEING[run.seed], "right_answer": 0.5, "solution": 0.5}
        made = record(run, 0.25, score.get(arm, 0.25))
        write_record_once(results.record(run.run_id), made)


def evidence(place: Path) -> Evidence:
    return load(place / "results/runs", grid="screened", seeds=tuple(SEEING))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(build_app(), ["screen", "--grid", "screened", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_seeds_are_gone_through_in_order_until_enough_pass(place: Path) -> None:
    page = load_claims("screened")
    make(place, (20, 21, 22), GATE_ARMS)
    found = screen(page, evidence(place))
    assert found.bases == (20,)
    assert [seed.passes for seed in found.seeds] == [True, False, False, None, None, None]
    assert (found.complete, found.next_seeds) == (False, (23, 24))
    make(place, (23, 24, 25), GATE_ARMS)
    found = screen(page, evidence(place))
    assert found.bases == (20, 23, 24)
    assert found.complete
    # The last seed passes too, but was not needed: neither a base nor in the rate.
    assert [seed.seed for seed in found.looked_at] == [20, 21, 22, 23, 24]
    assert found.rate_text.startswith("3 of 5 seeds pass (0.60 [0.15, 0.95])")


def test_a_seed_counts_once_all_before_it_are_known(place: Path) -> None:
    make(place, (20, 24), GATE_ARMS)
    found = screen(load_claims("screened"), evidence(place))
    assert found.bases == (20,)
    assert found.next_seeds == (21, 22)
    make(place, (21,), ("untouched",))  # one arm of the gate: still not known
    assert screen(load_claims("screened"), evidence(place)).bases == (20,)


def test_too_few_reserve_seeds_are_said(place: Path) -> None:
    SHORT = CLAIMS.replace("[20, 21, 22, 23, 24, 25]", "[20, 21, 22]")
    write_pages(place, claims=SHORT)
    make(place, (20, 21, 22), GATE_ARMS)
    found = screen(load_claims("screened"), evidence(place))
    assert found.exhausted
    assert "declare more at the end of the list" in run()


def test_verdicts_read_the_chosen_bases_alone(place: Path) -> None:
    make(place, SEEING)
    page = load_claims("screened")
    chosen = load_screened(place / "results/runs", "screened", "lab")
    assert chosen.seeds == (20, 23, 24)
    assert not chosen.missing
    verdict = decide_all(page, chosen)[0]
    assert sorted(verdict.differences) == [20, 23, 24]
    assert verdict.word == "REPRODUCED"
    assert verdict.failing == ()
    told = [line for line in facts(verdict, chosen) if line.startswith("- Screening")]
    assert told == [f"- Screening: {chosen.screening}."]
    assert "3 of 5 seeds pass" in told[0]
    # Without screening two of the first three bases fail the gate.
    own = load(place / "results/runs", grid="screened")
    assert decide_all(page, own)[0].word == "INVALID"


def test_no_outcome_after_treatment_changes_the_choice(place: Path) -> None:
    make(place, SEEING, GATE_ARMS)
    before = screen(load_claims("screened"), evidence(place))
    make(place, SEEING)  # the treated arms as well
    assert screen(load_claims("screened"), evidence(place)) == before


def test_the_command_names_the_runs_of_the_gates_and_then_those_of_the_grid(place: Path) -> None:
    make(place, (20, 21), GATE_ARMS)
    shown = run("--json", str(place / "screen.json"))
    cells = {run.labels["arm"]: run.cell_id for run in load_grid("screened").runs(seeds=(22,))}
    for arm in GATE_ARMS:
        assert f"study run --grid screened --seeds 22,23 --only {cells[arm]}" in shown
    assert "1 of 2 seeds pass" in shown
    assert "0.000 fails" in shown
    stored = json.loads((place / "screen.json").read_text())
    assert stored["bases"] == [20]
    assert [seed["passes"] for seed in stored["seeds"]] == [True, False, None, None, None, None]
    make(place, (22, 23, 24), GATE_ARMS)
    assert "next: study run --grid screened --seeds 20,23,24" in run()


def test_a_page_without_screening_is_one_message(place: Path) -> None:
    write_pages(place, claims=CLAIMS.partition("screening:")[0])
    with pytest.raises(SpecError, match="declares no screening"):
        run()


def check(place: Path, **pages: str) -> None:
    write_pages(place, **pages)
    check_screening(load_claims("screened"), load_grid("screened"))


def gate(contrast: str, outcome: str = "score") -> str:
    line = "contrast: {kind: difference, arm: {arm: score_right_answer}, versus: {arm: untouched}}"
    return GATE.replace(line, f"contrast: {contrast}").replace(
        "outcome: score", f"outcome: {outcome}"
    )


@pytest.mark.parametrize(
    ("contrast", "outcome"),
    [
        ("{kind: level, arm: {arm: untouched}}", "score"),
        ("{kind: level, arm: {arm: score_right_answer}}", "score"),
        ("{kind: level, arm: {arm: teacher_alone}}", "score"),
        ("{kind: start, arm: {arm: right_answer}}", "eval/avg@k"),
    ],
)
def test_bases_teachers_and_starts_may_screen(place: Path, contrast: str, outcome: str) -> None:
    check(place, gates=gate(contrast, outcome))


def test_a_teacher_that_is_an_arm_of_another_claim_may_not_screen_that_one(place: Path) -> None:
    """Its training is what that claim is about."""
    about_it = CLAIMS.replace(
        "contrast: {kind: difference, arm: {arm: right_answer}, versus: {arm: neutral}}",
        "contrast: {kind: difference, arm: {arm: teacher_alone}, versus: {arm: untouched}}",
    )
    with pytest.raises(
        SpecError, match=r"teacher_alone is trained by a treatment \(claim it_helps"
    ):
        check(place, gates=gate("{kind: level, arm: {arm: teacher_alone}}"), claims=about_it)


@pytest.mark.parametrize(
    ("contrast", "outcome"),
    [
        ("{kind: level, arm: {arm: right_answer}}", "score"),
        ("{kind: difference, arm: {arm: neutral}, versus: {arm: untouched}}", "score"),
        ("{kind: change, arm: {arm: right_answer}}", "eval/avg@k"),
        ("{kind: level, arm: {arm: right_answer}}", "eval/avg@k@20"),
    ],
)
def test_a_trained_student_may_not_screen(place: Path, contrast: str, outcome: str) -> None:
    with pytest.raises(SpecError, match="trained by a treatment"):
        check(place, gates=gate(contrast, outcome))


def test_a_gate_that_is_not_declared_pre_treatment_may_not_screen(place: Path) -> None:
    with pytest.raises(SpecError, match="not declared `pre_treatment: true`"):
        check(place, gates=GATE.replace("    pre_treatment: true\n", ""))
    with pytest.raises(SpecError, match="no gate 'nothing'"):
        check(
            place,
            claims=CLAIMS.replace("gates: [answer_is_used], seeds", "gates: [nothing], seeds"),
        )


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("[20, 21, 22, 22]", "listed twice"),
        ("[20, 21]", "3 bases out of 2 seeds"),
        ("[21, 20, 22, 23]", "are not those of the grid"),
    ],
)
def test_seeds_that_contradict_the_grid_are_refused(place: Path, seeds: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(place, claims=CLAIMS.replace("[20, 21, 22, 23, 24, 25]", seeds))
