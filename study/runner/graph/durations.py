"""Expected durations: those of finished stages and evaluations here, else the scale's own guess.

expected(stage) = mean wall time of the same recipe at other seeds;
    else mean over the kind of (wall seconds / steps) x steps; else guess x steps.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean

from study.record.schema import Cost
from study.record.store import Results
from study.runner.graph.stages import StageNode
from study.runner.work.artifacts import MANIFEST
from study.spec.identity import canonical


class Durations:
    """Expected durations of stages and evaluations.

    first_guess: seconds per step by stage kind, `evaluate`: per
    evaluation (the scale's `expected_seconds`).
    """

    def __init__(self, first_guess: Mapping[str, float]) -> None:
        self._first_guess = first_guess
        self._same: dict[str, list[float]] = defaultdict(list)
        self._per_step: dict[str, list[float]] = defaultdict(list)
        self._evaluations: list[float] = []

    def add_stage(self, node: StageNode, wall_s: float) -> None:
        self._same[canonical(node.recipe)].append(wall_s)
        self._per_step[node.kind].append(wall_s / max(node.steps, 1))

    def add_evaluation(self, wall_s: float) -> None:
        self._evaluations.append(wall_s)

    def stage(self, node: StageNode) -> float:
        """Return the core seconds of a stage; 0 for a kind that was
        neither measured nor guessed.
        """
        same = self._same.get(canonical(node.recipe))
        if same:
            return fmean(same)
        per_step = self._per_step.get(node.kind)
        return (fmean(per_step) if per_step else self._first_guess.get(node.kind, 0.0)) * node.steps

    def evaluation(self) -> float:
        return (
            fmean(self._evaluations)
            if self._evaluations
            else self._first_guess.get("evaluate", 0.0)
        )


def measured_durations(
    made: Iterable[StageNode],
    evaluations: Iterable[float | None],
    results: Results,
    first_guess: Mapping[str, float],
) -> Durations:
    """Return the durations of the made stages, by their manifests, and of these evaluations.

    evaluations: wall seconds; None where a record does not say.
    """
    durations = Durations(first_guess)
    for node in made:
        wall = _manifest_wall(results, node.id)
        if wall is not None:
            durations.add_stage(node, wall)
    for seconds in evaluations:
        if seconds is not None:
            durations.add_evaluation(seconds)
    return durations


def evaluation_seconds(cost: Mapping[str, Cost]) -> float | None:
    """Return the wall seconds of a run's evaluation; None where its record does not say."""
    evaluation = cost.get("evaluate")
    return evaluation.wall_s if evaluation else None


def _manifest_wall(results: Results, stage: str) -> float | None:
    """Return the wall seconds of a manifest; None if it is unreadable, which is reported when the
    artifact is used.
    """
    try:
        return float(json.loads((results.artifact(stage) / MANIFEST).read_bytes())["wall_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
