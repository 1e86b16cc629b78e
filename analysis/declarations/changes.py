"""What changed after a claim was declared: its arms, the code of its outcome, its family, how bases
are chosen - from the states that records name, and what the page tells of older ones.
"""

from collections.abc import Iterator, Sequence

from analysis.declarations.origins import Behind, state_of
from analysis.declarations.states import State, family_of, findings_today
from analysis.evidence.frames import Evidence, arm_text
from study.record.declared.world import GridWorld, cells_with
from study.spec.report.claim import Claim, Claims, Screening, SeedsAdded, WorldChange
from study.spec.report.finding import Finding
from study.spec.report.outcome import REVISION, ArmLabels


def world_changes(
    page: Claims,
    claim: Claim,
    arms: Sequence[ArmLabels],
    states: Sequence[State],
    evidence: Evidence,
) -> Iterator[str]:
    """Yield what is another one today than in a state that has a world."""
    dropped = _declared_seeds(page.grid, states, evidence) - _looked_at(page, evidence)
    if evidence.core or evidence.only_seeds is not None:
        # A look at a part of the seeds leaves out nothing that has not been run.
        dropped &= _recorded(arms, evidence)
    if dropped:
        yield f"{_seeds(dropped)} declared with the others and not looked at"
    for arm in _of_another_spec(page.grid, arms, states, evidence):
        yield f"the spec of [{arm_text(arm)}]"
    findings = findings_today()
    family = family_of(page.grid, claim.id, findings)
    decides = _decided(page.grid, claim.id, findings)
    for state in states:
        if _screened_otherwise(page.screening, state.page(page.grid)):
            yield "how bases are screened"
        yield from _other_number(page.screening, state.page(page.grid))
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


def _decided(grid: str, claim: str, findings: Sequence[Finding]) -> set[str]:
    """Return the findings whose word a claim gives."""
    return {finding.id for finding in findings if finding.deciding == (grid, claim)}


def _of_another_spec(
    grid: str, arms: Sequence[ArmLabels], states: Sequence[State], evidence: Evidence
) -> Iterator[ArmLabels]:
    """Yield the arms that were another cell: in a state under which their runs were started, or
    in any state that a record names, if that other cell has data.
    """
    under = [world for state in states if (world := state.grid_world(grid, evidence.scale))]
    named = [state for name in evidence.states if (state := state_of(evidence, name)) is not None]
    any_time = [world for state in named if (world := state.grid_world(grid, evidence.scale))]
    for arm in arms:
        today = evidence.cell_of(arm).cell_id
        other = any(cells_with(arm, world.cells) != {today} for world in under)
        seen = any(_had_data(arm, today, world, evidence) for world in any_time)
        if other or seen:
            yield arm


def _had_data(arm: ArmLabels, today: str, world: GridWorld, evidence: Evidence) -> bool:
    before = cells_with(arm, world.cells) & evidence.recorded.keys()
    return bool((before | cells_with(arm, world.replaced)) - {today})


def told_changes(changes: Sequence[WorldChange], arms: Sequence[ArmLabels]) -> Iterator[str]:
    """Yield what the page tells of changes that no state holds."""
    for change in changes:
        meant = [arm for arm in arms for part in change.arms if part.items() <= arm.items()]
        if meant or not change.arms:
            yield f"{change.date}: {change.text}"


def told_extensions(told: Sequence[SeedsAdded], behind: Sequence[Behind]) -> Iterator[str]:
    """Yield what the page tells of added seeds that no state holds, where such a seed and one of
    the others are used.
    """
    bases = {run.seed for run in behind}
    for each in told:
        added = bases & set(each.seeds)
        if added and added != bases:
            seeds = ", ".join(map(str, sorted(added)))
            yield f"{each.date}: seeds {seeds} were {each.text}"


def extensions(
    page: Claims, behind: Sequence[Behind], states: Sequence[State], evidence: Evidence
) -> Iterator[str]:
    """Yield which seeds were added when how many of the others had been seen."""
    bases = {run.seed for run in behind}
    by_name = {state.name: state for state in states}
    for run in behind:
        for state in (by_name[name] for name in sorted(run.states) if name in by_name):
            world = state.grid_world(page.grid, evidence.scale)
            if world is None:
                continue
            for extension in world.extended:
                seen = bases & set(extension.seen)
                if run.seed in extension.added and seen:
                    yield _extended(bases & set(extension.added), len(seen))
            known = {*world.seeds, *_reserve(state.page(page.grid))}
            if run.seed not in known and bases & known:
                yield _extended(bases - known, len(bases & known))
    yield from _more_reserve(page, bases, states)


def _more_reserve(page: Claims, bases: set[int], states: Sequence[State]) -> Iterator[str]:
    """Yield reserve seeds that were appended to the screening after a state had come into force."""
    for state in states:
        before = _reserve(state.page(page.grid))
        added = bases & set(_reserve(page)[len(before) :])
        if before and added and added != bases:
            yield _extended(added, len(bases - added))


def _reserve(page: Claims | None) -> tuple[int, ...]:
    return page.screening.seeds if page and page.screening else ()


def _screened_otherwise(now: Screening | None, page: Claims | None) -> bool:
    """Whether bases are chosen in another way than that page says; seeds that are appended and the
    number of bases are an extension.
    """
    then = page.screening if page else None
    if now is None or then is None:
        return now is not then
    return now.gates != then.gates or now.seeds[: len(then.seeds)] != then.seeds


def _other_number(now: Screening | None, page: Claims | None) -> Iterator[str]:
    """Yield that another number of bases is screened for: a choice of when to stop."""
    then = page.screening if page else None
    if now is not None and then is not None and now.bases != then.bases:
        yield f"the number of bases to screen for ({then.bases}, now {now.bases})"


def unread(page: Claims, arms: Sequence[ArmLabels], evidence: Evidence) -> Iterator[str]:
    """Yield which seeds have a record of one of these arms and are not looked at."""
    if left := _recorded(arms, evidence) - _looked_at(page, evidence):
        listed = ", ".join(map(str, sorted(left)))
        seeds, verb = ("seed", "has") if len(left) == 1 else ("seeds", "have")
        yield f"{seeds} {listed} {verb} records of its arms and {_be(left)} not looked at"


def _recorded(arms: Sequence[ArmLabels], evidence: Evidence) -> set[int]:
    """Return the seeds of every record of these arms, read or not."""
    cells = {evidence.cell_of(arm).cell_id for arm in arms}
    return {seed for cell in cells for seed in evidence.recorded.get(cell, ())}


def _declared_seeds(grid: str, states: Sequence[State], evidence: Evidence) -> set[int]:
    """Return the seeds that these states declare: the reserve where bases are screened, else those
    of the grid.
    """
    found = set[int]()
    for state in states:
        world = state.grid_world(grid, evidence.scale)
        if world is not None:
            found |= set(_reserve(state.page(grid)) or world.seeds)
    return found


def _looked_at(page: Claims, evidence: Evidence) -> set[int]:
    return {*evidence.seeds, *_reserve(page)}


def _extended(added: set[int], seen: int) -> str:
    return f"{_seeds(added)} added when {seen} of the others had been seen"


def _seeds(seeds: set[int]) -> str:
    listed = ", ".join(map(str, sorted(seeds)))
    return f"seed {listed} was" if len(seeds) == 1 else f"seeds {listed} were"


def _be(seeds: set[int]) -> str:
    return "is" if len(seeds) == 1 else "are"
