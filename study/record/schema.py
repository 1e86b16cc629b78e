"""The sealed evidence of one run: a strict, closed value of at most 12 kB. Tables, figures and the MLflow mirror are functions of it.

seal = sha256 of the canonical JSON (sorted keys, no spaces, no NaN) of everything else. It detects corruption, not forgery.

What may differ between two executions of one run (`content` leaves it out): `provenance` (code, packages, platform, times), the seconds in
`cost` and the seal over them. All the rest - spec, stages, scores with their per-problem counts, history, completions, token counts - is
compared byte for byte.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
MAX_RECORD_BYTES = 12_000

Number = int | float | Literal["nan", "inf", "-inf"]  # JSON has no NaN; a diverged loss is an outcome and keeps its name
Measured = Number | None  # null = not measured at this step
Digits = Annotated[str, Field(pattern=r"^[0-9a-z]*$")]  # one base-36 digit per problem


class Sealed(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)


class Provenance(Sealed):
    """Where and with what a run was made. `stage_code`: stages built by other code than `code`, with its hash."""

    code: str
    stage_code: dict[str, str] = {}
    packages: dict[str, str]
    python: str
    platform: str
    claims: str | None = None
    started: str
    finished: str


class Score(Sealed):
    """k samples on each of `num_problems` problems; `correct[i]` of the k samples of problem i are right (base 36), likewise `truncated`.

    mean = avg@k = sum(correct) / (k * num_problems). `problems` is the first 16 hex digits of sha256 of the problem ids, one a line.
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
            if any(int(digit, 36) > self.k for digit in digits):
                raise ValueError(f"{name}: a count above k = {self.k}")
        return self


class Completion(Sealed):
    step: int
    prompt: str
    completion: str
    outcome: str


class Cost(Sealed):
    """What the stages of one kind behind this run took, shared ones included. core_s = user + system time of the worker."""

    wall_s: float = Field(ge=0)
    core_s: float = Field(ge=0)
    tokens_sampled: int = Field(default=0, ge=0)
    tokens_scored: int = Field(default=0, ge=0)


class Record(Sealed):
    """One run, finished. `trimmed` names the rules that shortened evidence to fit 12 kB (`study/record/assemble.py`)."""

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    run: str
    cell: str
    seed: int
    scale: str
    status: Literal["completed"] = "completed"
    spec: dict[str, Any]
    stages: dict[str, str]
    provenance: Provenance
    scores: dict[str, Score]
    history: dict[str, list[Measured]]
    completions: list[Completion] = []
    repeated_tokens: dict[str, list[tuple[str, int]]] = {}
    log_ratio: dict[str, Any] = {}
    cost: dict[str, Cost]
    trimmed: list[str] = []
    seal: str = ""

    @model_validator(mode="after")
    def _check_history(self) -> "Record":
        steps = self.history.get("step", [])
        if self.history and not all(isinstance(step, int) for step in steps):
            raise ValueError("history needs a column 'step' of whole numbers")
        for name, column in self.history.items():
            if len(column) != len(steps):
                raise ValueError(f"history column {name!r} has {len(column)} values for {len(steps)} steps")
        return self

    def series(self, metric: str) -> tuple[list[int], list[float]]:
        """The measured points of one history column: (steps, values); a column that is absent has no points."""
        pairs = zip(self.history.get("step", []), self.history.get(metric, []), strict=False)
        points = [(step, float(value)) for step, value in pairs if isinstance(step, int) and value is not None]
        return [step for step, _ in points], [value for _, value in points]


def canonical_json(value: Any) -> str:
    """One spelling for one value: sorted keys, no spaces, characters as they are; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def seal_of(content: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of a record's content, its own `seal` left out."""
    return hashlib.sha256(canonical_json({key: value for key, value in content.items() if key != "seal"}).encode()).hexdigest()


def sealed(record: Record) -> Record:
    """The same record with its seal."""
    return record.model_copy(update={"seal": seal_of(record.model_dump(mode="json"))})


def record_bytes(record: Record) -> bytes:
    """The file of a record: canonical JSON and a newline."""
    return (canonical_json(record.model_dump(mode="json")) + "\n").encode()


def content(record: Record) -> bytes:
    """What two executions of one run must agree on, byte for byte: all but `provenance`, `seal` and the seconds in `cost`."""
    value = record.model_dump(mode="json", exclude={"provenance", "seal"})
    value["cost"] = {kind: {k: v for k, v in cost.items() if not k.endswith("_s")} for kind, cost in value["cost"].items()}
    return canonical_json(value).encode()
