"""Check the gates by which bases may be screened: none reads what a treatment could change.

Choosing bases by an outcome after treatment would choose the result. The treatment of a claim is
the training of its arms' own students. A gate with `pre_treatment` may read

- `start` (step 0) of any arm: measured before its training;
- an arm whose model no stage of the study has trained further: a base, or given weights; also with
  a prompt or a prefix, because an evaluation changes no weights;
- an arm whose model is a teacher of an arm of the claim, or is behind such a teacher; also the
  teacher of another claim of the page, unless it is itself an arm of this claim;
- an arm whose model every trained arm of the claim starts from: a warm-up that only some of them
  have is part of their treatment.

The same holds for the models beside an arm (the sources of prefixes,
the teachers of probes). Everything else is refused, also a student
that no claim names: its training has the same base and data.
"""

from collections.abc import Iterator, Sequence

from study.errors import SpecError
from study.spec.grid.cell import Cell, models_beside
from study.spec.grid.grid import Grid
from study.spec.identity import Repeatable, canonical, parents
from study.spec.recipe.model import Model
from study.spec.report.claim import Claim, Claims, Gate, all_arms
from study.spec.report.contrast import Start
from study.spec.report.outcome import ArmLabels


def check_screening(page: Claims, grid: Grid) -> None:
    """Raise SpecError for a screening gate that does not exist or is not `pre_treatment`, for a
    `pre_treatment` gate that reads a treated arm, and for seeds that the grid contradicts.
    """
    for gate in page.gates:
        if gate.pre_treatment:
            _refuse_treated(page, gate, grid)
    if page.screening is None:
        return
    where = f"claims/{page.grid}.yaml screening"
    gates = {gate.id: gate for gate in page.gates}
    for name in page.screening.gates:
        if name not in gates:
            raise SpecError(f"{where}: no gate {name!r}", hint=f"known: {', '.join(gates) or '-'}")
        if not gates[name].pre_treatment:
            raise SpecError(
                f"{where}: the gate {name} is not declared `pre_treatment: true`",
                hint="a condition on an outcome after treatment never excludes a base",
            )
    _refuse_seeds(page, grid, where)


def _refuse_seeds(page: Claims, grid: Grid, where: str) -> None:
    """Raise SpecError for a repeated seed, too few seeds, or a list that does not begin with the
    grid's own seeds: those are the bases if every seed passes.
    """
    assert page.screening is not None
    seeds, bases = page.screening.seeds, page.screening.bases
    if len(set(seeds)) != len(seeds):
        raise SpecError(f"{where}: a seed is listed twice")
    if bases > len(seeds):
        raise SpecError(f"{where}: {bases} bases out of {len(seeds)} seeds")
    if seeds[:bases] != grid.seeds:
        first = ", ".join(map(str, seeds[:bases]))
        raise SpecError(
            f"{where}: the first {bases} seeds are not those of the grid",
            hint=f"grids/{grid.name}.yaml: seeds: [{first}]",
        )


def _refuse_treated(page: Claims, gate: Gate, grid: Grid) -> None:
    if isinstance(gate.contrast, Start):
        return
    for claim in _concerned(page, gate):
        allowed = _before_treatment(claim, page, grid)
        for arm in all_arms(gate):
            for model in (_cell(grid, arm).model, *models_beside(_cell(grid, arm))):
                if isinstance(model, Repeatable) and canonical(model) not in allowed:
                    raise SpecError(
                        f"claims/{page.grid}.yaml {gate.id}: `pre_treatment`, but"
                        f" {_text(arm)} is trained by a treatment (claim {claim.id})",
                        hint="read the teacher, the untouched base, or `start` of this arm",
                    )


def _concerned(page: Claims, gate: Gate) -> list[Claim]:
    """Return the claims that name the gate; all claims if it screens the bases of the page."""
    screens = page.screening is not None and gate.id in page.screening.gates
    return [claim for claim in page.claims if screens or gate.id in claim.gates]


def _before_treatment(claim: Claim, page: Claims, grid: Grid) -> set[str]:
    """Return the trained models that exist before any student of the claim is trained."""
    trained = _trained(claim, grid)
    elsewhere = {name for other in page.claims for name in _teachers(_trained(other, grid))}
    own = {canonical(model) for model in trained}
    starts = [{canonical(each) for each in _starts(model)} for model in trained]
    shared = set.intersection(*starts) if starts else set[str]()
    return (elsewhere - own) | _teachers(trained) | shared


def _trained(claim: Claim, grid: Grid) -> list[Model]:
    """Return the models of a claim's arms that a stage of the study has trained further."""
    models = [_cell(grid, arm).model for arm in all_arms(claim)]
    return [model for model in models if isinstance(model, Repeatable)]


def _teachers(models: Sequence[Model]) -> set[str]:
    return {
        canonical(behind)
        for model in models
        for role, parent in parents(model).items()
        if role == "teacher"
        for behind in _lineage(parent)
    }


def _lineage(model: Model) -> Iterator[Model]:
    """Yield a model and every model behind it."""
    yield model
    for parent in parents(model).values():
        yield from _lineage(parent)


def _starts(model: Model) -> Iterator[Model]:
    """Yield the models that a student was before, one after the other."""
    for role, parent in parents(model).items():
        if role != "teacher":
            yield parent
            yield from _starts(parent)


def _cell(grid: Grid, arm: ArmLabels) -> Cell:
    fitting: Sequence[Cell] = [
        labelled.cell
        for labelled in grid.cells
        if any(arm.items() <= labels.items() for labels in (labelled.labels, *labelled.also))
    ]
    return fitting[0]


def _text(arm: ArmLabels) -> str:
    return " ".join(f"{factor}={level}" for factor, level in arm.items())
