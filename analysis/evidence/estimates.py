"""What the stages behind the recorded runs were expected to take before anything was measured, from
the scale's config alone.

expected(stage) = seconds per training step of its kind x its steps; expected(evaluation) = seconds
per evaluation; each stage once.
"""

from collections.abc import Iterator, Mapping

from analysis.evidence.frames import Evidence
from study.spec.identity import is_stage, parents, repeated, stage_id
from study.spec.recipe.model import Model

EVALUATE = "evaluate"


def estimated_hours(evidence: Evidence) -> dict[str, float]:
    """Core hours by stage kind for the runs that are recorded; a kind that the scale's config does
    not guess is absent.
    """
    guess = evidence.expected_seconds
    cells = {cell.cell_id: cell.cell for cell in evidence.all_cells}
    seconds: dict[str, float] = {}
    seen: set[str] = set()
    for row in evidence.run_rows:
        cell = repeated(cells[row["cell"]], int(row["repeat"]))
        for name, kind, steps in _stages(cell.model, int(row["seed"])):
            if name not in seen and kind in guess:
                seen.add(name)
                seconds[kind] = seconds.get(kind, 0.0) + guess[kind] * steps
    if EVALUATE in guess and evidence.run_rows:
        seconds[EVALUATE] = guess[EVALUATE] * len(evidence.run_rows)
    return {kind: total / 3600.0 for kind, total in seconds.items()}


def _stages(model: Model, seed: int) -> Iterator[tuple[str, str, int]]:
    """(stage id, kind, steps) of every stage behind a model."""
    for parent in parents(model).values():
        yield from _stages(parent, seed)
    if is_stage(model):
        yield stage_id(model, seed), model.kind, _steps(model)


def _steps(model: Model) -> int:
    training = getattr(model, "training")  # noqa: B009 - every stage has one
    settings: Mapping[str, int] = training.model_dump(include={"steps"})
    return settings["steps"]
