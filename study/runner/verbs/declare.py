"""Write what is declared about the runs of a grid before they are made (`study declare`)."""

from collections.abc import Collection, Mapping, Sequence

from study.errors import SpecError
from study.record.declared.preregistration import (
    DeclaredClaim,
    DeclaredGate,
    ExpectedPower,
    Preregistration,
    Seen,
    sealed,
)
from study.record.declared.states import Pages, state_hash
from study.record.declared.world import recorded_runs
from study.record.provenance import utc_now
from study.record.store import Results
from study.spec.grid.grid import Grid
from study.spec.identity import canonical_value
from study.spec.report.claim import Claims, all_arms
from study.spec.report.sentences import claim_sentence, failing_rule, gate_sentence

Places = Mapping[tuple[str, str], str]  # (grid, claim) -> family


def chosen_seeds(grid: Grid, page: Claims, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """Return the seeds that are declared: those of the screening or of the grid, or some of them.

    Errors: SpecError for others, which the verdicts would not look at.
    """
    known = page.screening.seeds if page.screening else grid.seeds
    if wanted is None:
        return known
    unknown = [seed for seed in wanted if seed not in known]
    if unknown:
        raise SpecError(
            f"seeds {', '.join(map(str, unknown))} are not among those declared,"
            f" {', '.join(map(str, known))}",
            hint=f"add them to `seeds` of grids/{grid.name}.yaml, which the verdicts look at"
            if page.screening is None
            else f"add them to the screening of claims/{grid.name}.yaml",
        )
    return tuple(wanted)


def preregistration(
    grid: Grid,
    page: Claims,
    seeds: Sequence[int],
    state: Pages,
    seen: Seen,
    *,
    families: Places,
    withdrawn: Mapping[str, Collection[str]],
    power: Mapping[str, ExpectedPower],
    power_from: str,
) -> Preregistration:
    """Return the sealed preregistration of these seeds of a grid.

    families: of every primary claim of the study. withdrawn: by family. power: by claim.
    """
    name = state_hash(state)
    assert name is not None
    claims = tuple(
        DeclaredClaim(
            id=claim.id,
            text=claim.text,
            sentence=claim_sentence(claim),
            expectation=claim.expectation,
            primary=claim.in_family,
            family=families.get((page.grid, claim.id)),
            gates=claim.gates,
            arms=all_arms(claim),
            power=power.get(claim.id),
            not_testable=claim.not_testable.reason if claim.not_testable else None,
        )
        for claim in page.claims
    )
    own = sorted({claim.family for claim in claims if claim.family is not None})
    gates = tuple(
        DeclaredGate(
            id=gate.id, text=gate.text, sentence=gate_sentence(gate), failing=failing_rule(gate)
        )
        for gate in page.gates
    )
    return sealed(
        Preregistration(
            date=utc_now(),
            grid=grid.name,
            scale=grid.scale.name,
            question=grid.question,
            state=name,
            seeds=tuple(seeds),
            cells={cell.cell_id: (cell.labels, *cell.also) for cell in grid.cells},
            claims=claims,
            gates=gates,
            families={
                family: tuple(f"{place}/{claim}" for (place, claim), found in families.items()
                              if found == family)
                for family in own
            },
            withdrawn={family: len(withdrawn[family]) for family in own if withdrawn.get(family)},
            screening=canonical_value(page.screening) if page.screening else None,
            seen=seen,
            power_from=power_from,
        )
    )  # fmt: skip


def seen_so_far(grid: Grid, results: Results) -> Seen:
    """Count the records of a grid's cells in runs/ and records/."""
    recorded = recorded_runs(results)
    found = [recorded.get(cell.cell_id, set[tuple[int, int]]()) for cell in grid.cells]
    seeds = sorted({seed for runs in found for seed, _ in runs})
    return Seen(seeds=tuple(seeds), runs=sum(map(len, found)))
