"""Assemble a run's record, within 12 kB, from the files that its stages left.

What is shortened is declared here and named in the record's `trimmed`: a ladder of (history rows,
characters per completion, repeated tokens per point, completions per step), of which the first rung
that fits is taken. Scores, per-problem counts, spec and provenance are never shortened; if the last
rung does not fit, that is an error. History keeps its first and last step and every step where
anything under eval/ was measured.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from study.errors import RecordMismatch
from study.record.schema import (
    MAX_RECORD_BYTES,
    Measured,
    Number,
    Record,
    Score,
    record_bytes,
    sealed,
)
from study.record.shortened import CUT

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LADDER = (
    (48, 320, 8, 8), (40, 200, 8, 8), (32, 160, 6, 8), (24, 120, 5, 8), (20, 80, 5, 8),
    (16, 60, 3, 8), (16, 60, 3, 4), (12, 60, 3, 2),
)  # fmt: skip


def rounded(value: float, digits: int = 4) -> Number:
    """Round `value` to 4 significant digits, whole numbers as int (3.0 -> 3), not-a-number and
    infinities by name.
    """
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    short = float(f"{value:.{digits}g}")
    if math.isinf(short):  # 1.7975e308 would round above the largest number
        return value
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def rounded_tree(value: Any) -> Any:
    """Round every float in a JSON value; whole numbers, text and null are unchanged."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            return rounded(value)
        case dict():
            items = cast(dict[str, Any], value).items()
            return {key: rounded_tree(item) for key, item in items}
        case _:
            return [rounded_tree(item) for item in value]


def base36(counts: Sequence[int]) -> str:
    """Write one base-36 digit per problem; a count above 35
    does not fit and is an error, not a wrap.
    """
    if any(not 0 <= count < len(_DIGITS) for count in counts):
        raise ValueError(f"counts must be in 0..35 to be one base-36 digit: {max(counts, key=abs)}")
    return "".join(_DIGITS[count] for count in counts)


def score(evaluation: Mapping[str, Any]) -> Score:
    """Turn evaluation.json into a Score: means from the counts
    themselves, so that they always agree.
    """
    k, correct, ids = evaluation["k"], evaluation["correct_counts"], evaluation["problem_ids"]
    samples = k * len(ids)
    greedy = evaluation.get("avg@1_greedy")
    return Score(
        k=k,
        num_problems=len(ids),
        problems=hashlib.sha256("\n".join(map(str, ids)).encode()).hexdigest()[:16],
        temperature=float(evaluation["temperature"]),
        top_p=float(evaluation["top_p"]),
        max_completion_length=evaluation["max_completion_length"],
        grader=evaluation["grader"],
        mean=round(sum(correct) / samples, 6),
        greedy=None if greedy is None else round(float(greedy), 6),
        truncated_fraction=round(sum(evaluation["truncated_counts"]) / samples, 6),
        unparsed_fraction=round(sum(evaluation["unparsed_counts"]) / samples, 6),
        mean_tokens=round(float(evaluation["mean_tokens"]), 3),
        correct=base36(correct),
        truncated=base36(evaluation["truncated_counts"]),
    )


def thinned(
    columns: Mapping[str, Sequence[float | None]], max_rows: int
) -> dict[str, list[Measured]]:
    """Return history with at most about `max_rows` rows, rounded: the smallest stride of 1, 2, 5,
    10, 20, 50 ... that fits.
    """
    steps = columns.get("step", [])
    evaluated = [
        any(
            name.startswith("eval/") and column[row] is not None for name, column in columns.items()
        )
        for row in range(len(steps))
    ]
    keep = _rows(steps, evaluated, max_rows)
    return {
        name: [_rounded_or_none(column[row]) for row in keep] for name, column in columns.items()
    }


def _rounded_or_none(value: float | None) -> Number | None:
    return None if value is None else rounded(value)


def _rows(steps: Sequence[float | None], evaluated: Sequence[bool], max_rows: int) -> list[int]:
    always = {row for row, held in enumerate(evaluated) if held or row in (0, len(steps) - 1)}
    for stride in (base * 10**power for power in range(9) for base in (1, 2, 5)):
        keep = always | {
            row for row, step in enumerate(steps) if step is not None and step % stride == 0
        }
        if len(keep) <= max(max_rows, len(always)):
            return sorted(keep)
    return sorted(always)


def assemble(
    fields: Mapping[str, Any],
    history: Mapping[str, Sequence[float | None]],
    evidence: Mapping[str, Any],
) -> Record:
    """Assemble the sealed record of a run.

    fields: run, cell, seed, scale, spec, stages, provenance, scores, cost as `Record` has them.
    history: columns of history.json. evidence: evidence.json (completions, repeated_tokens,
    log_ratio) or empty. Raises RecordMismatch above 12 kB.
    """
    size, repeated = 0, evidence.get("repeated_tokens", {})
    for rung, (rows, characters, tokens, kept) in enumerate(_LADDER):
        trimmed: list[str] = []
        short = thinned(history, rows)
        value: dict[str, Any] = {
            **fields,
            "history": short,
            "completions": _cut_completions(
                evidence.get("completions", []), kept, characters, trimmed
            ),
            "repeated_tokens": {
                step: [tuple(pair) for pair in pairs[:tokens]] for step, pairs in repeated.items()
            },
            "log_ratio": rounded_tree(evidence.get("log_ratio", {})),
        }
        if len(short.get("step", [])) < len(history.get("step", [])):
            trimmed.append(f"history to {rows} rows")
        if rung and value["repeated_tokens"]:
            trimmed.append(f"repeated tokens to {tokens} a point")
        record = sealed(Record.model_validate({**value, "trimmed": trimmed}))
        size = len(record_bytes(record))
        if size <= MAX_RECORD_BYTES:
            return record
    raise RecordMismatch(
        f"run {fields['run']}: its record has {size} bytes after every declared cut; at most"
        f" {MAX_RECORD_BYTES} are allowed",
        hint=(
            "evaluate at fewer steps (curve.every) or on fewer problems (evaluation.problems), or"
            " keep fewer completions"
        ),
    )


def _cut_completions(
    completions: Sequence[Mapping[str, Any]], kept: int, characters: int, trimmed: list[str]
) -> list[dict[str, Any]]:
    """Keep the first `kept` of every step, each cut to `characters`."""
    seen: Counter[int] = Counter()
    first: list[Mapping[str, Any]] = []
    for item in completions:
        seen[item["step"]] += 1
        first += [item] if seen[item["step"]] <= kept else []
    if len(first) < len(completions):
        trimmed.append(f"completions to {kept} a step")
    if any(
        len(item["completion"]) > characters or len(item["prompt"]) > characters for item in first
    ):
        trimmed.append(f"completions to {characters} characters")
    return [
        {
            **item,
            "completion": _cut(item["completion"], characters),
            "prompt": _cut(item["prompt"], characters),
        }
        for item in first
    ]


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + CUT
