"""Compare the formulas of `study rehearse` with measurements: core seconds of records against the
same roofline.

ratio = measured core seconds / estimated, by stage kind; 1 = right, 2 = twice as long as estimated.
The sampled tokens are the records' own, so lengths are not part of the error. Tiny models on a CPU
say little about large ones on a GPU: the check finds a forgotten pass or a wrong factor, not the
utilisation of another machine.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from study.record.schema import Record
from study.runner.estimate import roofline, workload
from study.runner.estimate.memory import Settings
from study.runner.estimate.sizes import Sizes
from study.runner.estimate.workload import Lengths
from study.runner.graph.stages import Ready, StageNode, own_stage, run_graph
from study.spec.grid.cell import Cell
from study.spec.machine.hardware import Hardware
from study.spec.recipe.model import DistilledModel, GrpoModel

LAB = Lengths(prompt=12, solution=24)  # tokens of a problem and of a solution in the lab's worlds
EVALUATE = "evaluate"


@dataclass(frozen=True)
class Ratio:
    """Median and range of measured / estimated over `records` records."""

    kind: str
    records: int
    median: float
    low: float
    high: float


def ratios(records: Iterable[Record], hardware: Hardware) -> list[Ratio]:
    """Return the ratio of every kind that the records distinguish.

    If a run has several stages of a kind, their sum is compared, each sum once.
    """
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for record in records:
        cell = Cell.model_validate(record.spec)
        if isinstance(cell.model, Ready):
            continue
        for kind, (key, estimated) in _estimates(cell, record, hardware).items():
            if estimated > 0 and kind in record.cost:
                found[kind].setdefault(key, record.cost[kind].core_s / estimated)
    return [
        Ratio(kind, len(each), median(each.values()), min(each.values()), max(each.values()))
        for kind, each in sorted(found.items())
    ]


def _estimates(
    cell: Cell, record: Record, hardware: Hardware
) -> dict[str, tuple[tuple[str, ...], float]]:
    sizes, by_kind = Sizes(), defaultdict[str, list[StageNode]](list)
    for node in run_graph(cell, record.seed):
        by_kind[node.kind].append(node)
    sums: dict[str, tuple[tuple[str, ...], float]] = {}
    for kind, nodes in by_kind.items():
        lengths = _lengths(nodes, record)
        total = sum(
            _seconds(workload.of_stage(node.recipe, sizes, lengths), hardware) for node in nodes
        )
        sums[kind] = (tuple(node.id for node in nodes), total)
    own = own_stage(cell, record.seed)
    if own is not None and record.cost[EVALUATE].tokens_sampled:
        lengths = _filled(record.cost[EVALUATE].tokens_sampled, _drawn(cell))
        works = [
            workload.of_evaluation(one, cell.model, sizes, lengths) for one in cell.evaluations
        ]
        sums[EVALUATE] = ((record.run,), sum(_seconds(one, hardware) for one in works))
    return sums


def _seconds(work: workload.Workload, hardware: Hardware) -> float:
    return sum(roofline.seconds(work, hardware, Settings(), "float32").values())


def _lengths(nodes: Sequence[StageNode], record: Record) -> Lengths:
    """Return the assumed lengths with the mean length of the completions that these stages sampled,
    for kinds that sample.
    """
    limits = 0
    for node in nodes:
        if isinstance(node.recipe, DistilledModel | GrpoModel):
            training = node.recipe.training
            limits += (
                training.steps
                * training.prompts_per_step
                * training.rollouts_per_prompt
                * training.sampling.max_completion_length
            )
    return _filled(record.cost[nodes[0].kind].tokens_sampled, limits) if limits else LAB


def _drawn(cell: Cell) -> int:
    """Return the tokens of all evaluations if every completion ran to its limit."""
    return sum(
        workload.problems_of(one.data, one.problems)
        * (one.k + (one.privileged is None and one.prefix is None))
        * one.sampling.max_completion_length
        for one in cell.evaluations
    )


def _filled(tokens: int, limits: int) -> Lengths:
    return replace(LAB, filled=min(1.0, tokens / limits)) if tokens and limits else LAB
