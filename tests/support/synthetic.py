"""Records of plausible shape for tests of the analysis. Never evidence: nothing here was
trained.
"""

import random
from collections.abc import Callable, Mapping

from study.record.schema import Completion, Cost, Number, Provenance, Record, Score, sealed
from study.spec.grid.grid import Grid
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import canonical_value, cell_revisions
from study.spec.recipe.model import DistilledModel

# (labels, seed) -> accuracy before and after.
Ends = Callable[[Mapping[str, str], int], tuple[float, float]]
PROVENANCE = Provenance(
    code="0" * 64,
    packages={"none": "0"},
    python="3.11",
    platform="none",
    started="2000-01-01T00:00:00Z",
    finished="2000-01-01T00:01:00Z",
)
# accuracy at the end by (teacher, objective, length), with the shape of a lab trial
FINALS = {
    "full": 0.89, "biased_k1": 0.01, "biased_k5": 0.75, "biased_k20": 0.87,
    "stop_gradient_k1": 0.81, "stop_gradient_k5": 0.87,
    "stop_gradient_k20": 0.89, "renormalised_k5": 0.9, "renormalised_k20": 0.89, "sampled_pg": 0.84,
    "sampled_plain": 0.12,
}  # fmt: skip


def plausible(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
    noise = random.Random(f"{sorted(labels.items())}{seed}").gauss(0, 0.015)
    final = FINALS[labels["objective"]]
    if labels["length"] == "long":
        final = 0.17 if labels["objective"] == "biased_k5" else 0.9
    if labels["teacher"] == "strong_c":
        final = {"full": 0.95, "stop_gradient_k5": 0.11}.get(
            labels["objective"], 0.02 + 0.05 * (labels["objective"][:6] != "biased")
        )
    return 0.32 + 0.01 * seed, min(max(final + noise, 0.0), 1.0)


def record(
    run: LabelledRun, before: float, after: float, *, k: int = 4, problems: int = 64
) -> Record:
    """Return a sealed record whose score is as close to `after` as k samples on this many problems
    allow.
    """
    right = round(after * k * problems)
    counts = [right // problems + (i < right % problems) for i in range(problems)]
    model = run.cell.model
    steps = model.training.steps if isinstance(model, DistilledModel) else 100
    collapsed = max(0.0, min(1.0, (before - after) / max(before, 0.01)))
    score = Score(
        k=k, num_problems=problems, problems="0" * 16, temperature=1.0, top_p=1.0,
        max_completion_length=64, grader="boxed-1",
        mean=right / (k * problems), truncated_fraction=round(collapsed, 4), unparsed_fraction=0.0,
        mean_tokens=23 + 40 * collapsed,
        correct="".join(map(str, counts)), truncated="0" * problems,
    )  # fmt: skip
    return sealed(
        Record(
            run=run.run_id, cell=run.cell_id, seed=run.seed, repeat=run.repeat, scale="lab",
            spec=canonical_value(run.cell), stages={},
            revisions=cell_revisions(run.cell), provenance=PROVENANCE,
            scores={evaluation.score_name: score for evaluation in run.cell.evaluations},
            history=history(steps, before, after, collapsed, seed=run.run_id),
            **evidence_of(steps, collapsed),
            cost={
                "pretrain": Cost(wall_s=300, core_s=290),
                "distill": Cost(wall_s=60, core_s=0.5 * steps),
                "evaluate": Cost(wall_s=6, core_s=6),
            },
        )
    )  # fmt: skip


def evidence_of(steps: int, collapsed: float) -> dict[str, object]:
    """Return completions, repeated tokens and log-ratios at three windows, worse towards the end of
    a run that collapses.
    """
    starts = [0, steps // 2, steps - 5]
    drift = [collapsed * step / steps for step in starts]
    points = [
        {
            "steps": [start, start + 4],
            "correct": [-0.1 - x, -0.05, None], "correct_tokens": [400, 300, 0],
            "wrong": [-0.4 - x, -0.6 - 3 * x, -0.3], "wrong_tokens": [300, 200, 40],
        }
        for start, x in zip(starts, drift, strict=True)
    ]  # fmt: skip
    return {
        "completions": [
            Completion(
                step=start,
                prompt="1 + 1 =",
                completion="maybe " * round(1 + 9 * x) + "\\boxed{ 2 }",
                outcome="correct",
            )
            for start, x in zip(starts, drift, strict=True)
        ],
        "repeated_tokens": {
            str(start): [("maybe", 10 + round(90 * x)), (";", 40)]
            for start, x in zip(starts, drift, strict=True)
        },
        "log_ratio": {"edges": [0, 4, 8, 16], "points": points},
    }


def history(
    steps: int, before: float, after: float, collapsed: float, *, seed: str
) -> dict[str, list[Number | None]]:
    """Return every column of a real record: curves every 20 steps, training columns from step 20
    on.
    """
    noise = random.Random(seed)
    at = list(range(0, steps + 1, 20))
    done = [step / steps for step in at]
    up = [before + (0.86 - before) * min(1.0, 3 * x) if collapsed < 0.9 else before for x in done]
    accuracy = [
        min(1.0, max(0.0, u + (after - u) * x**1.5 + noise.gauss(0, 0.015) * (x > 0)))
        for u, x in zip(up, done, strict=True)
    ]
    drift = [collapsed * x for x in done]
    curve: dict[str, list[float]] = {
        "eval/avg@2": accuracy,
        "eval/greedy": [min(1.0, a + 0.1 * (1 - x)) for a, x in zip(accuracy, drift, strict=True)],
        "eval/mean_tokens": [23 + 40 * x + noise.random() for x in drift],
        "eval/truncated_fraction": drift,
        "eval/repetition_3gram": [0.02 + 0.3 * x for x in drift],
    }
    training: dict[str, list[float]] = {
        "train/loss": [0.4 - x for x in done],
        "train/reverse_kl": [
            0.4 * (0.01 + 10 * x) ** (1 if collapsed > 0 else 0.3) * (1.1 - d)
            for x, d in zip(drift, done, strict=True)
        ],
        "train/student_entropy": [0.35 + 2 * x for x in drift],
        "train/teacher_entropy": [0.3 for _ in done],
        "train/student_topk_mass": [0.95 - 0.6 * x for x in drift],
        "train/teacher_topk_mass": [0.96 - 0.1 * x for x in drift],
        "train/topk_overlap": [0.8 - 0.3 * x for x in drift],
        "train/grad_norm": [1.0 for _ in done],
        "rollout/mean_tokens": [23 + 40 * x for x in drift],
        "rollout/truncated_fraction": drift,
        "rollout/repetition_3gram": [0.02 + 0.3 * x for x in drift],
    }
    columns: dict[str, list[Number | None]] = {"step": [*at]}
    columns |= {name: [float(f"{value:.4g}") for value in values] for name, values in curve.items()}
    return columns | {
        name: [None, *(float(f"{value:.4g}") for value in values[1:])]
        for name, values in training.items()
    }


def records(grid: Grid, ends: Ends = plausible, **selection: object) -> list[Record]:
    """Return records for all runs of a grid, or of a selection as `Grid.runs` takes it."""
    runs = grid.runs(**selection)  # type: ignore[arg-type]
    return [record(run, *ends(run.labels, run.seed)) for run in runs]
