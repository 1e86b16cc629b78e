"""Grade stored generations with another grader: both scores and every completion whose outcome
changed; nothing is generated.

    after  = grader(completion, answer, truncated)
    before = the outcome that was stored

The result is regraded-<grader>.json next to the generations, and the record does not change:

    {"format", "source_sha256", "head", "was", "grader", "before", "after",
     "transitions": [[before, after, completions], ...],
     "problems": [{"id", "before", "after", "relaxed", "tokens"}, ...]}

The same generations and grader give the same bytes. Completions that were cut for storage kept
their end, where the answer is.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError
from study.evaluate.generations import NAME, Generations, Problem
from study.grading.boxed import Outcome
from study.grading.registry import Grade, Grader, Sample
from study.record.store import atomic_write
from study.stats.estimators import pass_at_k_P
from study.stats.intervals import Interval, bootstrap_interval

FORMAT = "regraded-1"
SEED = 0
CHUNK = 256  # completions graded together


@dataclass(frozen=True)
class Change:
    """One completion whose outcome changed. extracted: what the new grader read."""

    id: str
    sample: int
    before: str
    after: str
    extracted: str | None
    answer: str


@dataclass(frozen=True)
class Regraded:
    """Outcomes of [P][k] completions before and after."""

    generations: Generations
    grader: str
    after: tuple[tuple[Grade, ...], ...]

    @property
    def changes(self) -> list[Change]:
        return [
            Change(problem.id, i, before, str(now.outcome), now.extracted, problem.answer)
            for problem, row in zip(self.generations.problems, self.after, strict=True)
            for i, (before, now) in enumerate(zip(problem.outcomes, row, strict=True))
            if before != str(now.outcome)
        ]

    @property
    def transitions(self) -> list[tuple[str, str, int]]:
        """Return (before, after, completions) of those that changed, the most frequent first."""
        found = Counter((change.before, change.after) for change in self.changes)
        return [
            (before, after, count)
            for (before, after), count in sorted(
                found.items(), key=lambda item: (-item[1], item[0])
            )
        ]

    def scores(self) -> dict[str, dict[str, Interval]]:
        """Return before, after, relaxed: avg@k and pass@k, intervals over problems; change: after -
        before, of avg@k.
        """
        right = str(Outcome.correct)
        before = [
            [each == right for each in problem.outcomes] for problem in self.generations.problems
        ]
        after = [[each.outcome is Outcome.correct for each in row] for row in self.after]
        relaxed = [[each.relaxed is Outcome.correct for each in row] for row in self.after]
        k = self.generations.header.k
        gaps = [(sum(now) - sum(then)) / k for now, then in zip(after, before, strict=True)]
        change = {f"avg@{k}": bootstrap_interval(gaps, seed=SEED)}
        return {
            "before": _measures(before, k),
            "after": _measures(after, k),
            "relaxed": _measures(relaxed, k),
            "change": change,
        }


def _measures(right_PS: Sequence[Sequence[bool]], k: int) -> dict[str, Interval]:
    counts = [sum(row) for row in right_PS]
    found = {f"avg@{k}": bootstrap_interval([count / k for count in counts], seed=SEED)}
    if k > 1:
        found[f"pass@{k}"] = bootstrap_interval(pass_at_k_P(counts, k, k).tolist(), seed=SEED)
    return found


def regrade(
    generations: Generations, judge: Grader, report: Callable[[int, int], None] | None = None
) -> Regraded:
    """Grade the generations again. Errors: PrerequisiteError naming the problem whose gold answer
    the grader cannot read.
    """
    problems, after = generations.problems, list[tuple[Grade, ...]]()
    if not problems:
        raise PrerequisiteError("the stored generations hold no problem", hint="evaluate again")
    for chunk in _chunks(problems):
        after += _grade(judge, chunk)
        if report is not None:
            report(len(after), len(problems))
    return Regraded(generations, judge.version, tuple(after))


def _chunks(problems: Sequence[Problem]) -> Iterator[Sequence[Problem]]:
    size = max(1, CHUNK // max(1, len(problems[0].completions)))
    return (problems[start : start + size] for start in range(0, len(problems), size))


def _grade(judge: Grader, chunk: Sequence[Problem]) -> list[tuple[Grade, ...]]:
    samples = [
        Sample(text, p.answer, cut, gold_is_float=p.gold_is_float)
        for p in chunk
        for text, cut in zip(p.completions, p.truncated, strict=True)
    ]
    try:
        results = iter(judge.grade_many(samples))
    except ValueError as error:
        what = (
            f"{judge.version} cannot grade against the stored answers of {chunk[0].id} to"
            f" {chunk[-1].id}: {error}"
        )
        raise PrerequisiteError(what, hint="another grader: --grader NAME") from error
    return [tuple(next(results) for _ in problem.completions) for problem in chunk]


def as_data(regraded: Regraded, source: Path) -> dict[str, Any]:
    """Return the file's content."""
    rows = [
        _row(problem, row)
        for problem, row in zip(regraded.generations.problems, regraded.after, strict=True)
    ]
    scores = {
        name: {measure: asdict(interval) for measure, interval in found.items()}
        for name, found in regraded.scores().items()
    }
    head = regraded.generations.header
    return {
        "format": FORMAT, "source": NAME,
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "head": asdict(head),
        "was": head.grader, "grader": regraded.grader, **scores,
        "transitions": regraded.transitions, "problems": rows,
    }  # fmt: skip


def _row(problem: Problem, after: Sequence[Grade]) -> dict[str, Any]:
    outcomes = {
        "before": list(problem.outcomes),
        "after": [str(r.outcome) for r in after],
        "relaxed": [str(r.relaxed) for r in after],
    }
    return {"id": problem.id, **outcomes, "tokens": list(problem.tokens)}


def write(path: Path, page: dict[str, Any]) -> None:
    atomic_write(
        path,
        (json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(
            "utf-8", "backslashreplace"
        ),
    )
