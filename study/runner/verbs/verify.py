"""Execute recorded runs again, shared stages included, in a folder of their own, and classify each.

bitwise equal            everything that two executions must agree on is the same
                         (`study.record.schema.content`)
statistically consistent the same status, and for every task the interval at 99 % of the mean paired
                         per-problem difference d_p = (c_p now - c_p then) / k of the final score
                         contains 0 (Student's t over problems)
not bitwise equal        statistically consistent, on a machine on which equal bytes were expected
                         (`study.runner.verbs.equality`): something changed the numbers
different                anything else: another status, other problems or another k, or an interval
                         without 0
older revision           not executed: today's code gives this run another id, so it would make
                         something else
failed                   its re-execution ended with an error

Only records are read from the results folder: its artifacts would only show that they were stored
without damage.
"""

import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from study.errors import IncompleteResults, SpecError
from study.record.machine import described
from study.record.revisions import recorded_under
from study.record.schema import Provenance, Record, Score, content, same_content
from study.record.store import read_record, record_paths
from study.runner.verbs.equality import expectation
from study.spec.grid.cell import Cell
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id, run_name
from study.stats.intervals import Interval, t_interval

CONFIDENCE = 0.99


class RerunResult(StrEnum):
    EQUAL = "bitwise equal"
    CONSISTENT = "statistically consistent"
    UNEQUAL = "not bitwise equal"
    DIFFERENT = "different"
    OLDER = "older revision"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """The outcome for one run. `elsewhere`: how machine,
    packages and code of the two executions differ.
    """

    run_id: str
    outcome: RerunResult
    detail: str = ""
    elsewhere: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the run counts as a success: one of an older revision says nothing about today's
        code and is not a failure.
        """
        return self.outcome not in (RerunResult.DIFFERENT, RerunResult.UNEQUAL, RerunResult.FAILED)


def choose(
    folder: Path, names: Sequence[str], sample: int, seed: int, of: Collection[str] | None = None
) -> list[Path]:
    """Return the records of the named runs (an id, or a unique beginning or end of one), else
    `sample` of them drawn at random.

    of: ids to choose from (those of a grid); None = all in the folder. Errors: IncompleteResults if
    there is no record, SpecError for a name that matches none or several.
    """
    found = {_run_of(path): path for path in record_paths(folder)}
    found = {run_id: path for run_id, path in found.items() if of is None or run_id in of}
    if not found:
        raise IncompleteResults(
            f"no record to verify in {folder}", hint="name a folder that holds some: --records DIR"
        )
    if names:
        return [found[one_of(name, list(found))] for name in names]
    return [
        found[run_id]
        for run_id in sorted(random.Random(seed).sample(sorted(found), min(sample, len(found))))
    ]


def one_of(name: str, ids: Sequence[str]) -> str:
    """Return the one id that is `name`, or begins or ends with it."""
    fitting = (
        [name]
        if name in ids
        else [run_id for run_id in ids if run_id.startswith(name) or run_id.endswith(name)]
    )
    if len(fitting) != 1:
        few = ", ".join(fitting[:4]) + (" ..." if len(fitting) > 4 else "")
        hint = f"there are {len(ids)}, for instance {ids[0]}" if ids else "there are no runs"
        if fitting:
            hint = f"type more of the id: {few}"
        runs = "runs" if len(fitting) > 1 else "run"
        raise SpecError(f"{name!r} fits {len(fitting) or 'no'} {runs}", hint=hint)
    return fitting[0]


def runs_of(
    records: Sequence[Record], grid: Mapping[str, LabelledRun]
) -> tuple[list[LabelledRun], list[Check]]:
    """Return (runs to execute, checks of those that cannot be executed).

    A run's cell is that of its grid, or else is read from its own record.
    """
    runs: list[LabelledRun] = []
    older: list[Check] = []
    for record in records:
        cell = grid[record.run].cell if record.run in grid else cell_of(record)
        name = cell_id(cell)
        if run_name(name, record.seed, record.repeat) == record.run:
            labels = grid[record.run].labels if record.run in grid else {"cell": name}
            runs.append(LabelledRun(record.run, cell, labels, record.seed, name))
        else:
            older.append(
                Check(
                    record.run,
                    RerunResult.OLDER,
                    recorded_under(record.run, record.revisions, cell),
                )
            )
    return runs, older


def compare_records(then: Record, now: Record) -> Check:
    """Compare two records by the rule at the top of this module."""
    elsewhere = tuple(provenance_differences(then.provenance, now.provenance))
    if same_content(then, now):
        return Check(then.run, RerunResult.EQUAL, _scores(then), elsewhere)
    if then.status != now.status:
        return Check(
            then.run, RerunResult.DIFFERENT, f"status {then.status} -> {now.status}", elsewhere
        )
    if then.scores.keys() != now.scores.keys():
        return Check(then.run, RerunResult.DIFFERENT, "evaluated on other tasks", elsewhere)
    judged = [
        _judge_score(task, then.scores[task], now.scores[task]) for task in sorted(then.scores)
    ]
    fields = f"not the same: {', '.join(differing_fields(then, now))}"
    detail = "; ".join([*(text for _, text in judged), fields])
    if not all(holds for holds, _ in judged):
        return Check(then.run, RerunResult.DIFFERENT, detail, elsewhere)
    made = now.provenance
    should = expectation(then.provenance, made.machine, made.packages)
    outcome = RerunResult.UNEQUAL if should.expected else RerunResult.CONSISTENT
    return Check(then.run, outcome, detail, elsewhere)


def differing_fields(then: Record, now: Record) -> list[str]:
    """Return the fields in which two executions should agree and do not: training that was
    reproduced with scores that were not is another fault than neither.
    """
    old, new = json.loads(content(then, now)), json.loads(content(now, then))
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _judge_score(task: str, then: Score, now: Score) -> tuple[bool, str]:
    shown = f"{task} avg@{then.k} {then.mean:.4f} -> {now.mean:.4f}"
    if (then.k, then.problems) != (now.k, now.problems):
        return False, f"{shown}, on other problems or with another k"
    interval = paired_interval(then, now)
    if interval.low is None or interval.high is None:
        return False, f"{shown}, one problem has no interval"
    limits = f"difference {interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] at 99 %"
    return interval.low <= 0.0 <= interval.high, f"{shown}, {limits}"


def paired_interval(then: Score, now: Score) -> Interval:
    """Return the mean over problems of (c_p now - c_p then) / k, with its t-interval at 99 %; both
    scores are of the same problems and k.
    """
    pairs = zip(now.correct, then.correct, strict=True)
    return t_interval([(int(b, 36) - int(a, 36)) / then.k for b, a in pairs], CONFIDENCE)


def provenance_differences(then: Provenance, now: Provenance) -> list[str]:
    """Return what may explain a difference: `torch 2.13.0 -> 2.13.1`."""
    old, new = _environment(then), _environment(now)
    names = sorted(old.keys() | new.keys())
    return [
        f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _environment(made: Provenance) -> dict[str, str]:
    stages = {f"code of {stage}": code for stage, code in made.stage_code.items()}
    return {
        **made.packages,
        **described(made.machine),
        "python": made.python,
        "platform": made.platform,
        "code": made.code,
        **stages,
    }


def _scores(record: Record) -> str:
    return "; ".join(
        f"{task} avg@{score.k} {score.mean:.4f}" for task, score in sorted(record.scores.items())
    )


def cell_of(record: Record) -> Cell:
    """Return the cell that a record's settings describe.

    Errors: SpecError if they do not suffice: a local model's folder is not part of them.
    """
    try:
        return Cell.model_validate_json(json.dumps(record.spec))
    except ValidationError as error:
        what = (
            f"{record.run}: its settings alone do not say how to make it again"
            f" ({error.errors()[0]['msg']})"
        )
        raise SpecError(
            what, hint="name the grid it belongs to: study verify --grid GRID"
        ) from error


def _run_of(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem


def read(paths: Sequence[Path]) -> list[Record]:
    """Read the chosen records; every seal is checked before anything is executed."""
    return [read_record(path) for path in paths]
