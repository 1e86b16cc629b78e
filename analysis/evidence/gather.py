"""One pass over records: of each its row, the ends of its curves and its revisions are kept, the
rest is dropped before the next is read.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from analysis.evidence.curves import Curves
from analysis.evidence.ledger import Ledger
from study.record.revisions import slug_and_seed
from study.record.schema import Record
from study.spec.grid.cell import Cell
from study.spec.grid.labelled import LabelledCell
from study.spec.identity import objective_name
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.objective import Objective

OWN_STAGES = (
    "distill",
    "evaluate",
)  # the stages that belong to one run; the others are shared between the runs of a seed


class Made(NamedTuple):
    """Under what a run was made."""

    code: str
    packages: str
    python: str
    platform: str


@dataclass(frozen=True)
class Origin:
    """Under which states of the claims a run and its stages were started, as its record says
    (`study/record/schema.py`). stages: role -> stage id.
    """

    claims: str | None
    stage_claims: Mapping[str, str | None] | None
    stages: Mapping[str, str]
    preregistration: str | None


@dataclass(frozen=True)
class Kept:
    """What stays of a record to judge its revisions. spec: of a record of another revision only."""

    run: str
    seed: int
    revisions: Mapping[str, int]
    spec: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Gathered:
    """rows: a row of the frame `runs` per wanted run. earlier: records with the slug and seed of a
    wanted run but another id. origins: of each wanted run. states: of every record, wanted or not,
    the states it names -> the first start under each (UTC). recorded: cell -> seeds of every
    record.
    """

    curves: Curves
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    present: list[Kept] = field(default_factory=list[Kept])
    earlier: list[Kept] = field(default_factory=list[Kept])
    curve_sizes: set[int] = field(default_factory=set[int])
    ledger: Ledger = field(default_factory=Ledger)
    made: Counter[Made] = field(default_factory=Counter[Made])
    origins: dict[str, Origin] = field(default_factory=dict[str, Origin])
    states: dict[str, str] = field(default_factory=dict[str, str])
    recorded: dict[str, set[int]] = field(default_factory=dict[str, set[int]])

    @property
    def curve_k(self) -> int | None:
        """Samples per problem of the in-training curve, if that is one number."""
        return next(iter(self.curve_sizes)) if len(self.curve_sizes) == 1 else None


def gather(
    records: Iterable[Record],
    cells: Mapping[str, LabelledCell],
    read: Callable[[str], Record] | None = None,
) -> Gathered:
    """cells: the cell of every wanted run id. read: gets a record again; None = hold the wanted
    ones, which are in memory anyway.
    """
    held: dict[str, Record] = {}
    gathered = Gathered(Curves(read or held.__getitem__))
    names = {slug_and_seed(run_id) for run_id in cells}
    revisions: dict[tuple[tuple[str, int], ...], Mapping[str, int]] = {}
    for record in records:
        _take_states(gathered, record)
        same = revisions.setdefault(tuple(record.revisions.items()), record.revisions)
        if record.run in cells:
            if read is None:
                held[record.run] = record
            _take(gathered, record, cells[record.run], same)
        elif slug_and_seed(record.run) in names:
            gathered.earlier.append(Kept(record.run, record.seed, same, record.spec))
    gathered.rows.sort(key=lambda row: row["run"])
    gathered.present.sort(key=lambda kept: kept.run)
    return gathered


def _take_states(gathered: Gathered, record: Record) -> None:
    """Keep what every record says about the states of the claims."""
    made = record.provenance
    gathered.recorded.setdefault(record.cell, set()).add(record.seed)
    for state in {made.claims, *(made.stage_claims or {}).values()}:
        if state:
            known = gathered.states.get(state, made.started)
            gathered.states[state] = min(known, made.started)


def _take(
    gathered: Gathered, record: Record, labelled: LabelledCell, revisions: Mapping[str, int]
) -> None:
    gathered.rows.append(_run_row(record, labelled))
    gathered.present.append(Kept(record.run, record.seed, revisions))
    gathered.curves.add(record)
    gathered.ledger.add(record)
    found = record.provenance
    gathered.origins[record.run] = Origin(
        found.claims, found.stage_claims, record.stages, found.preregistration
    )
    packages = ", ".join(
        f"{name} {found.packages[name]}"
        for name in ("torch", "transformers", "trl")
        if name in found.packages
    )
    gathered.made[Made(found.code, packages, found.python, found.platform)] += 1
    gathered.curve_sizes |= {
        int(column.partition("@")[2]) for column in record.history if column.startswith("eval/avg@")
    }


def objective_family(objective: Objective) -> str:
    """The family that colours are keyed by, from the loss tuple itself."""
    if objective.divergence != "reverse_kl" or objective.python is not None:
        return "other"
    if objective.advantage is not None:
        return "other"
    if objective.support == "sampled":
        return "sampled_pg" if objective.gradient == "score_function" else "sampled_plain"
    if objective.support == "full":
        return "full"
    by_normalisation = {"renormalised": "renormalised", "tail_bucket": "tail_bucket"}
    return by_normalisation.get(
        objective.normalisation,
        "stop_gradient" if objective.gradient == "stop_gradient" else "biased",
    )


def _run_row(record: Record, labelled: LabelledCell) -> dict[str, Any]:
    score = record.scores[labelled.cell.evaluation.score_name]
    minutes = {kind: cost.core_s / 60.0 for kind, cost in record.cost.items()}
    return {
        "run": record.run,
        "cell": labelled.cell_id,
        "arm": labelled.text,
        "seed": record.seed,
        "repeat": record.repeat,
        "scale": record.scale,
        **_objective_columns(labelled.cell),
        "task": labelled.cell.evaluation.score_name,
        "score": score.mean,
        "k": score.k,
        "num_problems": score.num_problems,
        "truncated_fraction": score.truncated_fraction,
        "unparsed_fraction": score.unparsed_fraction,
        "mean_tokens": score.mean_tokens,
        "own_minutes": sum(value for kind, value in minutes.items() if kind in OWN_STAGES),
        "claims": record.provenance.claims,
        "shared_minutes": sum(value for kind, value in minutes.items() if kind not in OWN_STAGES),
        **{f"label.{factor}": level for factor, level in labelled.labels.items()},
    }


def _objective_columns(cell: Cell) -> dict[str, Any]:
    model = cell.model
    if not isinstance(model, DistilledModel):
        return {
            "objective.family": "other",
            "objective.preset": model.kind,
            "objective.k": None,
            "steps": None,
        }
    return {
        "objective.family": objective_family(model.objective),
        "objective.preset": objective_name(model.objective),
        "objective.k": model.objective.k,
        "steps": model.training.steps,
    }
