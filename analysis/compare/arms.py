"""An arm: one side of a comparison, whatever it was read from - records, evaluations,
graded completions.

Scores = one base's counts on one task. Arm = its bases. Whatever the source does not know is
absent, never a default: a setting that is not in `settings` cannot be checked, and the comparison
says so.
    settings    decides whether two scores may be compared at all (CHECKED): the grader and how
                completions were drawn
    recipe      how the model was made and judged, one line per value; differences are listed
    made        packages, platform, code: listed apart
Axes: P problems, one count of correct samples and one of samples each.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pydantic import ValidationError

from study.errors import RecordMismatch
from study.record.machine import described
from study.record.schema import Record
from study.spec.grid.cell import Cell
from study.spec.yaml.origin import origined_values

CHECKED = ("task", "grader", "temperature", "top_p", "max_completion_length")
OWN_STAGES = (
    "distill",
    "evaluate",
)  # as in analysis/evidence/gather.py: the other stages are shared between the runs of a seed
Settings = Mapping[str, str]


@dataclass(frozen=True)
class Spent:
    """What a run took; None where the source does not say.

    Seconds of a core, own_s with evaluation_s; tokens sampled.
    """

    own_s: float | None = None
    shared_s: float | None = None
    trained_tokens: int | None = None
    sampled_tokens: int | None = None
    evaluation_s: float | None = None
    seconds: float | None = None  # of the clock, of an evaluation by itself


@dataclass(frozen=True)
class Scores:
    """seed: of the base, None where unknown.

    ids: None in a record, which keeps their hash alone (`problems`), their order with it.

    right_tokens_P: mean length of the correct completions of a problem, None where none is; the
    column is None where nothing knows lengths.
    collapsed_at: the step at which the guard stopped its training.
    """

    source: str
    seed: int | None
    correct_P: tuple[float, ...]
    samples_P: tuple[int, ...]
    problems: str
    ids: tuple[str, ...] | None = None
    settings: Settings = field(default_factory=dict[str, str])
    mean_tokens: float | None = None
    right_tokens_P: tuple[float | None, ...] | None = None
    spent: Spent = Spent()
    collapsed_at: int | None = None

    @property
    def share_P(self) -> list[float]:
        """avg@k of each problem."""
        return [
            correct / samples
            for correct, samples in zip(self.correct_P, self.samples_P, strict=True)
        ]

    @property
    def mean(self) -> float:
        return sum(self.share_P) / len(self.correct_P)

    @property
    def k(self) -> int | None:
        """Samples per problem, if that is one number."""
        return self.samples_P[0] if len(set(self.samples_P)) == 1 else None


@dataclass(frozen=True)
class Arm:
    """key: what it is matched by with an arm of the other side (a cell id). labels: its levels in a
    grid. external: not made here.
    """

    name: str
    key: str
    task: str | None
    bases: tuple[Scores, ...]
    recipe: Settings = field(default_factory=dict[str, str])
    made: Settings = field(default_factory=dict[str, str])
    labels: str = ""
    external: bool = False


def problems_hash(ids: Iterable[str]) -> str:
    """As in records: the first 16 hex digits of sha256 of the ids, one per line."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def of_records(records: Sequence[Record], *, name: str, labels: str = "") -> list[Arm]:
    """One arm per task of one cell's records. Errors: RecordMismatch for one seed recorded
    twice.
    """
    seeds = [record.seed for record in records]
    if len(set(seeds)) != len(seeds):
        raise RecordMismatch(
            f"{name}: a seed is recorded twice", hint="name one results folder: --results FOLDER"
        )
    first, tasks = records[0], sorted({task for record in records for task in record.scores})
    return [
        Arm(
            name,
            first.cell,
            task,
            tuple(_recorded(r, task) for r in records if task in r.scores),
            recipe(first),
            made(first),
            labels,
        )
        for task in tasks
    ]


def _recorded(record: Record, task: str) -> Scores:
    score = record.scores[task]
    settings = {
        "task": task, "grader": score.grader, "temperature": number(score.temperature),
        "top_p": number(score.top_p),
        "max_completion_length": number(score.max_completion_length),
    }  # fmt: skip
    counts = tuple(float(int(digit, 36)) for digit in score.correct)
    return Scores(
        record.run, record.seed, counts, (score.k,) * len(counts), score.problems,
        settings=settings, mean_tokens=score.mean_tokens, spent=_spent(record),
        collapsed_at=record.collapsed_at,
    )  # fmt: skip


def _spent(record: Record) -> Spent:
    own = [
        kind
        for kind in record.cost
        if kind in OWN_STAGES or kind == record.spec.get("model", {}).get("kind")
    ]
    shared = [kind for kind in record.cost if kind not in own]
    trained = sum(record.cost[kind].tokens_sampled for kind in own if kind != "evaluate")
    return Spent(
        sum(record.cost[kind].core_s for kind in own),
        sum(record.cost[kind].core_s for kind in shared),
        trained or None,
        (record.cost["evaluate"].tokens_sampled if "evaluate" in record.cost else 0) or None,
        record.cost["evaluate"].core_s if "evaluate" in record.cost else None,
    )


def recipe(record: Record) -> dict[str, str]:
    """Every value of the cell, dotted path -> text; of a cell that cannot be read today, what the
    record spells out.
    """
    try:
        cell = Cell.model_validate_json(json.dumps(record.spec))
    except ValidationError:
        return flat(record.spec)
    return {value.path: shown(value.value) for value in origined_values(cell, None)}


def made(record: Record) -> dict[str, str]:
    """Under what a record was made."""
    revisions = {f"{kind} revision": str(number) for kind, number in record.revisions.items()}
    provenance = record.provenance
    return {
        **revisions,
        **provenance.packages,
        **described(provenance.machine),
        "python": provenance.python,
        "platform": provenance.platform,
        "code": provenance.code,
    }


def flat(value: Any, path: str = "") -> dict[str, str]:
    """A nested JSON value as dotted path -> text; lists are one value."""
    if not isinstance(value, dict):
        return {path: shown(value)}
    items = cast(dict[str, Any], value).items()
    return {
        key: text
        for name, item in items
        for key, text in flat(item, f"{path}.{name}" if path else str(name)).items()
    }


def shown(value: Any) -> str:
    return "none" if value is None else number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """1.0 and 1 are the same setting."""
    return f"{value:g}" if abs(value) < 1e6 else str(value)


def labelled(arms: Sequence[Arm], label: str | None) -> list[Arm]:
    """The same arms under the name that the user gives them; only a single arm can have it."""
    return (
        [replace(arm, name=label) for arm in arms]
        if label and len({arm.key for arm in arms}) == 1
        else list(arms)
    )
