"""Sum what the evidence cost, by stage kind: every stage counted once however many runs share it.

A record holds sums: what all stages of one kind behind its run took. The cost of one stage follows
from the sums of different runs (student and teacher together, the student alone); where they do not
tell it, the rest is shared out evenly among the stages in question. The seconds are of processor
cores: user and system time of the processes that did the work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.pages.render import Column, Table, Value
from study.record.schema import Cost, Record

EVALUATE = "evaluate"
COLUMNS = (
    Column("kind", "Stage kind"),
    Column("made", "Made"),
    Column("used", "Runs that use one"),
    Column("estimated_hours", "Core hours, estimated", 2),
    Column("core_hours", "Core hours", 2),
    Column("tokens_sampled", "Tokens sampled"),
    Column("tokens_scored", "Tokens scored"),
)

Stages = frozenset[str]


@dataclass(frozen=True)
class Sums:
    """Core seconds and tokens; `records` that were added up."""

    core_s: float = 0.0
    tokens_sampled: float = 0.0
    tokens_scored: float = 0.0
    records: int = 0

    def plus(self, other: "Sums") -> "Sums":
        return self._with(other, 1)

    def minus(self, other: "Sums") -> "Sums":
        """What is left, never below zero: two executions of one stage do not take the same time."""
        return self._with(other, -1)

    def _with(self, other: "Sums", sign: int) -> "Sums":
        return Sums(
            max(0.0, self.core_s + sign * other.core_s),
            max(0.0, self.tokens_sampled + sign * other.tokens_sampled),
            max(0.0, self.tokens_scored + sign * other.tokens_scored),
            self.records + other.records,
        )

    def over(self, number: int) -> "Sums":
        return Sums(
            self.core_s / number,
            self.tokens_sampled / number,
            self.tokens_scored / number,
            self.records,
        )


def _sums(cost: Cost) -> Sums:
    return Sums(cost.core_s, cost.tokens_sampled, cost.tokens_scored, 1)


@dataclass
class Ledger:
    """sets: stage kind -> the stages of that kind behind a run -> what records say of them
    together. uncounted: see `costs`.
    """

    sets: dict[str, dict[Stages, Sums]] = field(default_factory=dict[str, dict[Stages, Sums]])
    evaluations: Sums = field(default_factory=Sums)
    uncounted: int = 0

    def add(self, record: Record) -> None:
        """A record's costs; every run is added once."""
        for kind, cost in record.cost.items():
            if kind == EVALUATE:
                self.evaluations = self.evaluations.plus(_sums(cost))
                self.uncounted += cost.tokens_sampled == 0
                continue
            stages = frozenset(
                stage for stage in record.stages.values() if stage.rpartition("-")[0] == kind
            )
            known = self.sets.setdefault(kind, {})
            known[stages] = known.get(stages, Sums()).plus(_sums(cost))

    def kinds(self) -> dict[str, tuple[int, int, Sums]]:
        """Stage kind -> (stages made, runs that use one, their cost), each stage once; the
        evaluations last.
        """
        found: dict[str, tuple[int, int, Sums]] = {}
        for kind, sets in sorted(self.sets.items()):
            each = per_stage({stages: sums.over(sums.records) for stages, sums in sets.items()})
            total = Sums()
            for sums in each.values():
                total = total.plus(sums)
            found[kind] = (len(each), sum(sums.records for sums in sets.values()), total)
        if self.evaluations.records:
            found[EVALUATE] = (self.evaluations.records, self.evaluations.records, self.evaluations)
        return found


def per_stage(sets: Mapping[Stages, Sums]) -> dict[str, Sums]:
    """The cost of every stage from the costs of sets of them: what is known is taken off, smallest
    set first, the rest shared evenly.

    Limit: sets of one stage each are themselves. A set without a named stage (records of tests)
    counts as one stage of its own.
    """
    each: dict[str, Sums] = {}
    left = sorted(sets, key=lambda stages: (len(stages), sorted(stages)))
    while left:
        stages = left.pop(
            next((i for i, some in enumerate(left) if len(_unknown(some, each)) <= 1), 0)
        )
        new = _unknown(stages, each) if stages else [""]
        rest = sets[stages]
        for stage in stages:
            rest = rest.minus(each[stage]) if stage in each else rest
        each.update({stage: rest.over(len(new)) for stage in new})
    return each


def _unknown(stages: Stages, each: Mapping[str, Sums]) -> list[str]:
    return sorted(stage for stage in stages if stage not in each)


def costs(
    ledger: Ledger, grid: str, scale: str, estimated: Mapping[str, float] | None = None
) -> Table:
    """One row per stage kind and the total. estimated: core hours that were expected of the same
    stages before anything ran.
    """
    kinds, guess = ledger.kinds(), estimated or {}
    rows = [_row(kind, *found, guess.get(kind)) for kind, found in kinds.items()]
    if ledger.uncounted and ledger.uncounted == ledger.evaluations.records:
        rows[-1] = (*rows[-1][:5], "not counted", 0)
    total = Sums()
    for _, _, sums in kinds.values():
        total = total.plus(sums)
    expected = sum(guess.get(kind, 0.0) for kind in kinds) if guess else None
    rows.append(
        (
            "total",
            "",
            "",
            _hours(expected),
            total.core_s / 3600,
            round(total.tokens_sampled),
            round(total.tokens_scored),
        )
    )
    notes = [f"Grid {grid} at scale {scale}. A stage that several runs share is counted once."]
    if guess:
        notes.append(
            "Estimated: the scale's own seconds per step and evaluation, before anything was"
            " measured, for the same stages."
        )
    if ledger.uncounted:
        notes.append(
            f"{ledger.uncounted} records do not hold the tokens of their final evaluation (schema"
            " 1): those are not in the sum."
        )
    return Table(f"What the evidence of grid {grid} cost", COLUMNS, tuple(rows), tuple(notes))


def _row(kind: str, made: int, used: int, sums: Sums, expected: float | None) -> tuple[Value, ...]:
    return (
        kind,
        made,
        used,
        _hours(expected),
        sums.core_s / 3600,
        round(sums.tokens_sampled),
        round(sums.tokens_scored),
    )


def _hours(expected: float | None) -> Value:
    return "-" if expected is None else expected
