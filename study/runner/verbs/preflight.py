"""Run every check of `study.train.preflight.order` on a grid's runs and on those of its models that
are made.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.errors import RecordMismatch
from study.record.progress import ReportProgress
from study.record.store import Results
from study.runner.graph.stages import Ready
from study.runner.work.artifacts import resolve_model, verify_artifact
from study.spec.grid.labelled import LabelledCell
from study.spec.identity import stage_id
from study.spec.recipe.model import Model
from study.train.preflight.check import Check


@dataclass(frozen=True)
class MadeModels:
    """Return the folder of a model: of the first seed whose artifact is complete, or of a local or
    hub model; else None.
    """

    results: Results
    seeds: tuple[int, ...]

    def __call__(self, model: Model) -> Path | None:
        if isinstance(model, Ready):
            return resolve_model(model)
        for seed in self.seeds:
            folder = self.results.artifact(stage_id(model, seed))
            if any(folder.glob("*.safetensors")):  # `keep: none` leaves an artifact without weights
                with contextlib.suppress(RecordMismatch):  # a run makes it again
                    verify_artifact(folder)
                    return folder
        return None


def preflight(
    cells: Sequence[LabelledCell], seeds: Sequence[int], results: Results, report: ReportProgress
) -> list[Check]:
    """Return the result of every check of these cells. Loads the training stack."""
    # Imported here, because a parent process reads this module and must stay small.
    from study.train.preflight.order import check_grid

    return check_grid(cells, MadeModels(results, tuple(seeds)), report)
