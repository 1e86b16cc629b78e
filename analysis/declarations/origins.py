"""Under which states of the claims the data behind a claim were made.

What counts for a run is when its data could first be seen: the state in force when the stages
behind its own model that differ between the arms of the claim were started (claim, gates and
placebos together, same seed). Stages that all arms share carry no difference. A claim about one
cell counts that cell's last training stage. The state of the run itself, of the final evaluation,
counts always; it is the only one for models that no stage makes here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.declarations.states import State, stored_state
from analysis.evidence.frames import Evidence
from analysis.evidence.gather import Origin
from study.spec.identity import REVISIONS
from study.spec.report.outcome import ArmLabels

NOTHING = ""  # the state in which nothing was declared


@dataclass(frozen=True)
class Behind:
    """A run behind a claim. states: hashes, NOTHING where nothing was declared. recorded: whether
    the record says under which state each of these stages was started.
    """

    run: str
    seed: int
    states: frozenset[str]
    recorded: bool


def runs_behind(arms: Sequence[ArmLabels], evidence: Evidence) -> tuple[Behind, ...]:
    """Return the runs of these arms with the states that count, in the order of their ids."""
    cells = {evidence.cell_of(arm).cell_id: arm for arm in arms}
    rows = {row["run"]: row for arm in cells.values() for row in evidence.runs_of(arm)}
    by_seed: dict[int, dict[str, Origin]] = {}
    for run, row in rows.items():
        by_seed.setdefault(int(row["seed"]), {})[run] = evidence.origins[run]
    found = [
        _behind(run, seed, origin, _differing(origin, origins, len(cells)))
        for seed, origins in by_seed.items()
        for run, origin in origins.items()
    ]
    return tuple(sorted(found, key=lambda behind: behind.run))


def states_behind(behind: Sequence[Behind], evidence: Evidence) -> tuple[State, ...]:
    """Return the stored states of these runs, each once."""
    named = sorted({name for run in behind for name in run.states})
    found = (state_of(evidence, name) for name in named)
    return tuple(state for state in found if state is not None)


def state_of(evidence: Evidence, name: str) -> State | None:
    """Return a state by its hash; None if nothing was declared, or it is not stored."""
    if evidence.declared is None or name == NOTHING:
        return None
    return stored_state(evidence.declared, name)


def _differing(origin: Origin, origins: Mapping[str, Origin], cells: int) -> set[str]:
    """Return the stages behind a run's own model whose start counts."""
    own = own_stages(origin)
    if cells == 1:
        return {stage for role, stage in own.items() if role in REVISIONS}
    shared = set.intersection(*(set(own_stages(each).values()) for each in origins.values()))
    return set(own.values()) - shared


def own_stages(origin: Origin) -> dict[str, str]:
    """Return role -> stage of a run's own model, without those of the models beside it."""
    return {role: stage for role, stage in origin.stages.items() if not role.startswith("beside")}


def _behind(run: str, seed: int, origin: Origin, stages: set[str]) -> Behind:
    of_run = origin.claims or NOTHING
    if origin.stage_claims is None:
        return Behind(run, seed, frozenset({of_run}), False)
    of_stages = {origin.stage_claims.get(stage, of_run) for stage in stages}
    known = {state for state in of_stages if state is not None}
    return Behind(run, seed, frozenset({of_run, *known}), None not in of_stages)
