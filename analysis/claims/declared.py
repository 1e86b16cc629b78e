"""Label each claim by what was declared before its data, from the records alone.

Each record names the states under which its stages and itself were started
(`analysis/claims/origins.py`). The first label of this order that applies:

    no data yet             no record is used
    declared after data     in some of these states no claim of this name existed, or the state is
                            not known
    changed after data      the claim or one of its gates had another text; both are shown
    world changed after data  the same text, but an arm's spec, the code of the outcomes or the
                            claim's finding was another one; or the page tells of such a change
    extended after data     seeds were added when others had been seen
    text before data, world not recorded  a state does not hold what the arms were, or a record does
                            not say under which state a stage was started
    declared before data    text, arms, outcome, finding and seeds are those of every state

Values equal to a default are left out of the text, so a field that is new in the software changes
no declaration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.claims.cited import preregistered
from analysis.claims.origins import NOTHING, Behind, runs_behind
from analysis.claims.states import State, family_of, findings_today, stored_state
from analysis.evidence.frames import Evidence, arm_text
from study.record.declared.world import GridWorld, cells_with
from study.record.schema import canonical_json
from study.spec.report.claim import Claim, Claims, SeedsAdded, WorldChange, all_arms
from study.spec.report.outcome import REVISION, ArmLabels

Word = Literal[
    "declared before data",
    "text before data, world not recorded",
    "extended after data",
    "world changed after data",
    "changed after data",
    "declared after data",
    "no data yet",
]
MEANING: dict[Word, str] = {
    "declared before data": "text, arms, outcome, finding and seeds were declared before the data",
    "text before data, world not recorded": (
        "the text was declared before the data; what the arms were then is not recorded"
    ),
    "extended after data": "seeds were added after the data of others had been seen",
    "world changed after data": (
        "the text was declared before the data, but the arms, the outcome's code or the finding"
        " changed afterwards"
    ),
    "changed after data": "the claim or one of its controls had another text before the data",
    "declared after data": "the claim did not exist when its data were made",
    "no data yet": "no record of its arms exists",
}
Text = dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """now: the text today. earlier: other texts that records were started under. runs: records
    used; under: of them under today's text. details: what changed or was added. preregistered: what
    the preregistrations say that its runs cite.
    """

    word: Word
    now: Text
    earlier: tuple[Text, ...] = ()
    runs: int = 0
    under: int = 0
    details: tuple[str, ...] = ()
    preregistered: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        some = (
            f" ({self.under} of its {self.runs} runs were started under today's text)"
            if 0 < self.under < self.runs
            else ""
        )
        said = f": {'; '.join(self.details)}" if self.details else ""
        return f"{self.word}{some}{said}"


def declared(page: Claims, claim: Claim, evidence: Evidence) -> Declared:
    """Return the label of one claim."""
    now = page.declaration(claim)
    arms = arms_behind(page, claim)
    behind = runs_behind(arms, evidence)
    if not behind:
        return Declared("no data yet", now)
    spelled = canonical_json(now)
    texts = {run: [_text(evidence, name, page.grid, claim.id) for name in run.states]
             for run in behind}  # fmt: skip
    others = {
        canonical_json(text): text
        for found in texts.values()
        for text in found
        if text is not None and canonical_json(text) != spelled
    }
    under = sum(
        all(text is not None and canonical_json(text) == spelled for text in found)
        for found in texts.values()
    )
    if under < len(behind):
        word: Word = "changed after data" if others else "declared after data"
        earlier = tuple(others[key] for key in sorted(others))
        details: list[str] = []
    else:
        word, details = _same_text(page, claim, arms, behind, evidence)
        earlier = ()
    cited = tuple(preregistered(claim, [run.run for run in behind], evidence))
    return Declared(word, now, earlier, len(behind), under, tuple(details), cited)


def arms_behind(page: Claims, claim: Claim) -> list[ArmLabels]:
    """Return the arms of a claim, its placebos and its gates."""
    gates = page.gates_of(claim)
    return [*all_arms(claim), *(arm for gate in gates for arm in all_arms(gate))]


def _text(evidence: Evidence, name: str, grid: str, claim: str) -> Text | None:
    """Return a claim's text in a state; None if it was not there."""
    state = _state(evidence, name)
    page = state.page(grid) if state else None
    found = page.claim(claim) if page else None
    return page.declaration(found) if page and found else None


def _state(evidence: Evidence, name: str) -> State | None:
    if evidence.declared is None or name == NOTHING:
        return None
    return stored_state(evidence.declared, name)


def _same_text(
    page: Claims,
    claim: Claim,
    arms: Sequence[ArmLabels],
    behind: Sequence[Behind],
    evidence: Evidence,
) -> tuple[Word, list[str]]:
    """Return the label, and its details, of a claim whose text was there from the start."""
    named = sorted({name for run in behind for name in run.states})
    states = [state for name in named if (state := _state(evidence, name)) is not None]
    worlds = {state.name: state.grid_world(page.grid, evidence.scale) for state in states}
    recorded = all(run.recorded for run in behind) and None not in worlds.values()
    changes = [
        *_world_changes(page, claim, arms, states, evidence),
        *([] if recorded else _told(page.world_changes, arms)),
    ]
    if changes:
        return "world changed after data", list(dict.fromkeys(changes))
    told = [] if recorded else _told_extensions(page.extensions, behind)
    added = list(dict.fromkeys([*_extensions(behind, worlds), *told]))
    if added:
        return "extended after data", added
    if not recorded:
        return "text before data, world not recorded", []
    return "declared before data", []


def _world_changes(
    page: Claims,
    claim: Claim,
    arms: Sequence[ArmLabels],
    states: Sequence[State],
    evidence: Evidence,
) -> Iterator[str]:
    """Yield what is another one today than in a state that has a world."""
    for arm in _of_another_spec(page.grid, arms, states, evidence):
        yield f"the spec of [{arm_text(arm)}]"
    findings = findings_today()
    family = family_of(page.grid, claim.id, findings)
    decides = _decided(page.grid, claim.id, findings)
    for state in states:
        if state.world is None or state.findings is None:
            continue
        then = state.world.outcomes_revision
        if then != REVISION:
            yield f"the code of the outcomes (revision {then}, now {REVISION})"
        before = family_of(page.grid, claim.id, state.findings)
        if before != family:
            yield f"its family ({before or 'none'}, now {family or 'none'})"
        for finding in decides - _decided(page.grid, claim.id, state.findings):
            yield f"the claim that decides the finding {finding}"


def _decided(grid: str, claim: str, findings: Sequence[Any]) -> set[str]:
    """Return the findings whose word a claim gives."""
    return {finding.id for finding in findings if finding.deciding == (grid, claim)}


def _of_another_spec(
    grid: str, arms: Sequence[ArmLabels], states: Sequence[State], evidence: Evidence
) -> Iterator[ArmLabels]:
    """Yield the arms that were another cell: in a state under which their runs were started, or
    in any state that a record names, if that other cell has data.
    """
    under = [world for state in states if (world := state.grid_world(grid, evidence.scale))]
    named = [state for name in evidence.states if (state := _state(evidence, name)) is not None]
    any_time = [world for state in named if (world := state.grid_world(grid, evidence.scale))]
    for arm in arms:
        today = evidence.cell_of(arm).cell_id
        other = any(cells_with(arm, world.cells) != {today} for world in under)
        seen = any(_had_data(arm, today, world, evidence) for world in any_time)
        if other or seen:
            yield arm


def _had_data(arm: ArmLabels, today: str, world: GridWorld, evidence: Evidence) -> bool:
    before = cells_with(arm, world.cells) & evidence.recorded_cells
    return bool((before | cells_with(arm, world.replaced)) - {today})


def _told(changes: Sequence[WorldChange], arms: Sequence[ArmLabels]) -> Iterator[str]:
    """Yield what the page tells of changes that no state holds."""
    for change in changes:
        meant = [arm for arm in arms for part in change.arms if part.items() <= arm.items()]
        if meant or not change.arms:
            yield f"{change.date}: {change.text}"


def _told_extensions(told: Sequence[SeedsAdded], behind: Sequence[Behind]) -> Iterator[str]:
    """Yield what the page tells of added seeds that no state holds, where such a seed and one of
    the others are used.
    """
    bases = {run.seed for run in behind}
    for each in told:
        added = bases & set(each.seeds)
        if added and added != bases:
            seeds = ", ".join(map(str, sorted(added)))
            yield f"{each.date}: seeds {seeds} were {each.text}"


def _extensions(behind: Sequence[Behind], worlds: dict[str, GridWorld | None]) -> Iterator[str]:
    """Yield which seeds were added when how many of the others had been seen."""
    bases = {run.seed for run in behind}
    for run in behind:
        for world in (worlds.get(name) for name in sorted(run.states)):
            if world is None:
                continue
            for extension in world.extended:
                seen = bases & set(extension.seen)
                if run.seed in extension.added and seen:
                    yield _extended(bases & set(extension.added), len(seen))
            declared_seeds = bases & set(world.seeds)
            if run.seed not in world.seeds and declared_seeds:
                yield _extended(bases - declared_seeds, len(declared_seeds))


def _extended(added: set[int], seen: int) -> str:
    seeds = ", ".join(map(str, sorted(added)))
    return f"seeds {seeds} were added when {seen} of the others had been seen"
