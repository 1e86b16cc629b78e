"""Define the record, the sealed evidence of one run: a strict, closed value of at most 12 kB.

Tables, figures and the MLflow mirror are functions of it.

seal = sha256 of the canonical JSON (sorted keys, no spaces, no NaN) of everything else. It detects
corruption, not forgery.

What may differ between two executions of one run (`content` leaves it out): `provenance` (code,
packages, platform, times), the seconds in `cost`, the seal over them and the schema version. All
the rest - spec, stages, scores with their per-problem counts, history, completions, token counts -
is compared byte for byte. What an older schema did not hold (guard, tokens of the evaluation), and
what one record left out to fit its size, is compared where both have it.

Schema 2 added `revisions`, `guard`, the status `collapsed` and the evaluation's tokens; schema 3
the machine (`provenance.machine`); schema 4 the states of the claims under which the stages were
started (`provenance.stage_claims`), the preregistration and `repeat`. `study/record/upgrade.py`
reads older records.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from study.record.shortened import shared_part

SCHEMA_VERSION = 4
MAX_RECORD_BYTES = 12_000

# JSON has no NaN; a diverged loss is a result and is written by name.
Number = int | float | Literal["nan", "inf", "-inf"]
Measured = Number | None  # null = not measured at this step
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]  # an id, which is one part of a path
Digits = Annotated[str, Field(pattern=r"^[0-9a-z]*$")]  # one base-36 digit per problem
Pair = Annotated[tuple[str, int], Strict(False)]  # a list of two in JSON

# Quotes inside a text are escaped, so this can only be a key.
_SEAL = re.compile(rb'"seal":"([0-9a-f]{64})",')


class Sealed(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", validate_by_name=True, serialize_by_alias=True
    )


class Machine(Sealed):
    """The processor and the build of torch behind a number; None = not recorded.

    vector: the processor's vector instructions, separated by spaces. capability: those that torch
    chose. threads: of torch. accelerator: the GPU that computed; None also where there was none.
    """

    processor: str | None = None
    vector: str | None = None
    torch: str | None = None
    capability: str | None = None
    blas: str | None = None
    threads: int | None = None
    accelerator: str | None = None


class Provenance(Sealed):
    """The code, packages, platform and times of a run. machine: that of the evaluation; None in
    records older than schema 3.

    stage_code, stage_machines: stages built by other code than `code` or on another kind of
    machine, with its hash or its description.

    claims: hash of the state of the claims when the run was started. stage_claims: stages that were
    started under another state, with its hash ("" = nothing was declared, None = not recorded);
    None in records older than schema 4: not recorded for any stage. preregistration: seal of the
    one that the run cites.
    """

    code: str
    stage_code: dict[str, str] = {}
    machine: Machine | None = None
    stage_machines: dict[str, Machine | None] = {}
    packages: dict[str, str]
    python: str
    platform: str
    claims: str | None = None
    stage_claims: dict[str, str | None] | None = None
    preregistration: str | None = None
    started: str
    finished: str


class Score(Sealed):
    """The grades of k samples on each of `num_problems` problems; `correct[i]` of the k samples of
    problem i are right (base 36), likewise `truncated`.

    mean = avg@k = sum(correct) / (k * num_problems). `problems` is the first 16 hex digits of
    sha256 of the problem ids, one per line.
    """

    k: int = Field(ge=1, le=35)
    num_problems: int = Field(ge=1)
    problems: str
    temperature: float
    top_p: float
    max_completion_length: int
    grader: str
    mean: float = Field(ge=0, le=1)
    greedy: float | None = None
    truncated_fraction: float = Field(ge=0, le=1)
    unparsed_fraction: float = Field(ge=0, le=1)
    mean_tokens: float = Field(ge=0)
    correct: Digits
    truncated: Digits

    @model_validator(mode="after")
    def _check_counts(self) -> "Score":
        for name, digits in (("correct", self.correct), ("truncated", self.truncated)):
            if len(digits) != self.num_problems:
                raise ValueError(f"{name}: {len(digits)} counts for {self.num_problems} problems")
            if any(int(digit, 36) > self.k for digit in set(digits)):
                raise ValueError(f"{name}: a count above k = {self.k}")
        return self


class Completion(Sealed):
    step: int
    prompt: str
    completion: str
    outcome: str


class Cost(Sealed):
    """What the stages of one kind in this run cost, shared ones included.

    core_s = user + system time of the worker.
    """

    wall_s: float = Field(ge=0)
    core_s: float = Field(ge=0)
    tokens_sampled: int = Field(default=0, ge=0)
    tokens_scored: int = Field(default=0, ge=0)


class Guard(Sealed):
    """Results of the online detectors. alarms: detector -> first step; fell_at: the step at which
    sampled accuracy fell.
    """

    policy: Literal["observe", "stop"]
    alarms: dict[str, int] = {}
    stopped_at: int | None = None
    fell_at: int | None = None


class Record(Sealed):
    """One run, finished.

    `trimmed` names the rules that shortened evidence to fit 12 kB (`study/record/assemble.py`).

    repeat: which training seed on this base; 0 is the first (study/spec/identity.py).

    revisions: stage kind -> revision of its code's numbers, `evaluate` included. collapsed_at: the
    step at which the guard stopped.
    """

    schema_version: Literal[4] = Field(default=SCHEMA_VERSION, alias="schema")
    run: Name
    cell: Name
    seed: int
    repeat: int = Field(default=0, ge=0)
    scale: str
    status: Literal["completed", "collapsed"] = "completed"
    collapsed_at: int | None = None
    spec: dict[str, Any]
    stages: dict[str, Name]
    revisions: dict[str, int]
    provenance: Provenance
    scores: dict[str, Score]
    probes: dict[str, dict[str, Number]] = {}
    history: dict[str, list[Measured]]
    completions: list[Completion] = []
    repeated_tokens: dict[str, list[Pair]] = {}
    log_ratio: dict[str, Any] = {}
    guard: Guard | None = None
    cost: dict[str, Cost]
    trimmed: list[str] = []
    seal: str = ""

    @model_validator(mode="after")
    def _check_status(self) -> "Record":
        if (self.status == "collapsed") != (self.collapsed_at is not None):
            raise ValueError("a collapsed run, and no other, says at which step (collapsed_at)")
        return self

    @model_validator(mode="after")
    def _check_history(self) -> "Record":
        steps = self.history.get("step", [])
        if self.history and not all(isinstance(step, int) for step in steps):
            raise ValueError("history needs a column 'step' of whole numbers")
        for name, column in self.history.items():
            if len(column) != len(steps):
                raise ValueError(
                    f"history column {name!r} has {len(column)} values for {len(steps)} steps"
                )
        return self

    def series(self, metric: str) -> tuple[list[int], list[float]]:
        """Return the measured points of one history column: (steps, values); an absent column has
        no points.
        """
        pairs = zip(self.history.get("step", []), self.history.get(metric, []), strict=False)
        points = [
            (step, float(value))
            for step, value in pairs
            if isinstance(step, int) and value is not None
        ]
        return [step for step, _ in points], [value for _, value in points]


def canonical_json(value: Any) -> str:
    """Return the one spelling of a value: sorted keys, no spaces, characters unescaped; NaN and
    infinity are refused.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def seal_of(content: dict[str, Any]) -> str:
    """Return the sha256 of the canonical JSON of a record's content, without its own `seal`."""
    return hashlib.sha256(
        canonical_json({key: value for key, value in content.items() if key != "seal"}).encode()
    ).hexdigest()


def sealed(record: Record) -> Record:
    """Return the same record with its seal."""
    return record.model_copy(update={"seal": seal_of(record.model_dump(mode="json"))})


def record_bytes(record: Record) -> bytes:
    """Return the file of a record: canonical JSON and a newline."""
    return (canonical_json(record.model_dump(mode="json")) + "\n").encode()


def seal_matches(data: bytes) -> bool:
    """Whether the bytes of a record's file carry their own seal.

    A file is written in canonical JSON: without its seal and newline its bytes are the input of the
    seal, so nothing is parsed or serialised again. A file spelled in another way, by another tool,
    is compared by its value.
    """
    found = _SEAL.search(data)
    if (
        found
        and hashlib.sha256(data[: found.start()] + data[found.end() :].rstrip()).hexdigest()
        == found[1].decode()
    ):
        return True
    parsed: Any = json.loads(data)
    value = cast(dict[str, Any], parsed) if isinstance(parsed, dict) else {}
    return bool(value) and value.get("seal") == seal_of(value)


def content(record: Record, other: Record | None = None) -> bytes:
    """Return what two executions of one run must agree on, byte for byte; the module's docstring
    lists what is left out.

    other: the record it will be compared with; None = one of the same schema.
    """
    both = (record, record if other is None else other)
    left_out = {"provenance", "seal", "schema_version"}
    if any(one.guard is None for one in both):
        left_out.add("guard")
    value = record.model_dump(mode="json", exclude=left_out)
    value["cost"] = {
        kind: {k: v for k, v in cost.items() if not k.endswith("_s")}
        for kind, cost in value["cost"].items()
    }
    if any(not _evaluation_tokens(one) for one in both):
        value["cost"].get("evaluate", {}).pop("tokens_sampled", None)
    if other is not None and record.trimmed != other.trimmed:
        value = shared_part(value, other.model_dump(mode="json"))
    return canonical_json(value).encode()


def same_content(one: Record, other: Record) -> bool:
    """Whether two executions of one run agree in everything that both schemas hold."""
    return content(one, other) == content(other, one)


def _evaluation_tokens(record: Record) -> int:
    """Return the evaluation's tokens; 0 in records of schema 1, which did not count them."""
    return record.cost["evaluate"].tokens_sampled if "evaluate" in record.cost else 0
