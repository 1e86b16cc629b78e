"""The output of `study grade`: columns, progress, measures, outcomes and rows to look at."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from study.cli import console
from study.cli.grade_rows import Graded, Survey
from study.data.completions import Fields
from study.evaluate.scores import Summary
from study.grading.boxed import Outcome
from study.grading.math.extraction import reference
from study.grading.second_opinion import MATH_VERIFY, Agreement, agreement, uncompared

HEARTBEAT_S = 30.0  # seconds between two lines of a log
REDRAWN_S = 0.2
LISTED = 100  # disagreements on the screen; --output has all of them


def columns_line(columns: Fields) -> str:
    named = {
        "completion": columns.completion,
        "answer": columns.answer,
        "id": columns.id,
        "truncated": columns.truncated,
    }
    shown = [
        f"{name} {path!r}{' (guessed)' if name in columns.guessed else ''}"
        for name, path in named.items()
        if path
    ]
    absent = [f"no {name}" for name in ("id", "truncated") if named[name] is None]
    question = [f"question {columns.question!r}"] if columns.question else []
    return f"columns: {', '.join([*shown, *absent, *question])}"


class Progress:
    """A line with the time left: replaced on a terminal, in a log a new one now and then.

    done: completions that an earlier run has graded; they do not count for the speed.
    """

    def __init__(self, total: int, done: int, now: Callable[[], float] = time.monotonic) -> None:
        self._total, self._before, self._done, self._now = total, done, done, now
        self._began = self._shown = now()

    def advance(self) -> None:
        self._done += 1
        pause = REDRAWN_S if console.is_terminal() else HEARTBEAT_S
        if self._now() - self._shown < pause:
            return
        self._shown = self._now()
        spent, fresh = self._shown - self._began, self._done - self._before
        left = console.duration(spent * (self._total - self._done) / fresh)
        text = f"{self._done} of {self._total} completions, about {left} left"
        (console.status if console.is_terminal() else console.say)(text)


def show(source: object, summary: Summary, version: str) -> None:
    console.say(
        f"{source}: {summary.problems} problems, k = {summary.k}, {summary.samples} completions,"
        f" grader {version}"
    )
    console.say()
    measures = [
        (measure.name, _percent(measure.strict), _percent(measure.relaxed))
        for measure in summary.measures
    ]
    console.table(("measure", "strict", "relaxed"), measures)
    console.say()
    rows = [
        (str(outcome), strict, relaxed) for outcome, (strict, relaxed) in summary.counts.items()
    ]
    console.table(("outcome", "strict", "relaxed"), rows, right=(1, 2))
    if summary.percent_only:
        console.say(
            f"{summary.percent_only} completions are strictly wrong only because the gold answer"
            " has % and theirs has not; relaxed accepts them"
        )
    _explain(summary)


def _explain(summary: Summary) -> None:
    console.say()
    tiers = ", ".join(f"{tier} {number}" for tier, number in sorted(summary.tiers.items()))
    console.say(f"decided by: {tiers or 'no comparison'}", "dim")
    if summary.most > 1:
        console.say(
            "maj: tied answers share the point; completions without an answer cast no vote", "dim"
        )
    if summary.problems > 1:
        console.say("[...]: 95% bootstrap over problems", "dim")
    if summary.disagreements:
        console.warn(
            f"{summary.disagreements} completions on which the tiers disagree: column disagreement"
            " of --output"
        )


def show_next(source: object, output: object | None) -> None:
    """Print the next command: keep the outcomes, or compare kept ones with those of another."""
    if output is None:
        console.say(f"next: study grade {source} --output outcomes.jsonl")
    else:
        console.say(f"next: study compare {output} OTHER_OUTCOMES.jsonl")


def explain_band(summary: Summary) -> None:
    """Explain the two ends of the band; user-supplied graders have none."""
    console.say(
        "strict: the last \\boxed{...}; relaxed: also answers stated without a box, and 50 for 50%",
        "dim",
    )
    silent = summary.counts[Outcome.unparsed][0]
    if 2 * silent > summary.samples:
        console.warn(
            f"{silent} of {summary.samples} completions have no \\boxed{{...}}: what they state"
            " without one is in the relaxed column"
        )


def show_notes(found: Survey, summary: Summary) -> None:
    """Print the findings of the survey that change the meaning of the numbers."""
    if found.floats:
        console.say(
            f"{found.floats} gold answers are JSON floats: they equal every value within 1e-12 of"
            " them, relatively",
            "dim",
        )
    if found.skipped:
        lowest = _with_skipped(summary, len(found.skipped))
        first = summary.measures[0]
        console.warn(
            f"{len(found.skipped)} malformed lines left out, the first: {found.skipped[0]}\n"
            f"  {first.name} leaves them out: {100 * first.strict.mean:.1f}% strict would be"
            f" {100 * lowest:.1f}% if they were problems without a right answer"
        )
    if found.suspects:
        console.warn(
            f"{len(found.suspects)} rows have control characters where LaTeX commands should"
            f" begin, the first: {found.suspects[0]}"
        )
    if found.long_answers:
        console.warn(
            f"{len(found.long_answers)} gold answers are longer than a sentence, the first at"
            f" {found.long_answers[0]}; name the column of the short answer: --answer-field NAME"
        )


def _with_skipped(summary: Summary, skipped: int) -> float:
    """Return the strict average if every malformed line were a problem without a right answer."""
    return summary.measures[0].strict.mean * summary.problems / (summary.problems + skipped)


def disagreements(graded: Iterable[Graded]) -> list[Graded]:
    return [
        each
        for each in graded
        if each.opinion and agreement(each.grade, each.opinion) is Agreement.disagree
    ]


def opinion_counts(graded: Iterable[Graded]) -> dict[str, int]:
    """Count how often each agreement occurs, including those that never do."""
    found = Counter(agreement(each.grade, each.opinion) for each in graded if each.opinion)
    return {str(each): found[each] for each in Agreement}


def reasons(graded: Sequence[Graded]) -> list[str]:
    """Say why completions have no comparison, with their numbers."""
    found = Counter(reason for each in graded if (reason := uncompared(each.grade, each.opinion)))
    return [f"{reason}: {number}" for reason, number in found.items()]


def show_opinions(graded: Sequence[Graded], version: str) -> None:
    """Print the counts, and every disagreement with both readings."""
    counts = ", ".join(f"{name} {number}" for name, number in opinion_counts(graded).items())
    differing = disagreements(graded)
    console.say()
    console.say(f"second opinion, {MATH_VERIFY} on the same completions: {counts}")
    for why in reasons(graded):
        console.say(f"  {why}")
    if not differing:
        return
    table = [
        (
            each.row.line,
            f"{each.row.id}[{each.number}]",
            _short(reference(each.row.answer)),
            f"{_ours(each)}",
            _short(_read(each)),
            _theirs(each),
            _short(each.opinion.reading if each.opinion else ""),
        )
        for each in differing[:LISTED]
    ]
    headers = ("line", "sample", "gold", version, "it read", MATH_VERIFY, "it read")
    console.table(headers, table)
    if len(differing) > LISTED:
        console.say(f"and {len(differing) - LISTED} more: column second_opinion of --output")


def _ours(each: Graded) -> Outcome:
    return each.grade.relaxed if each.grade.outcome is Outcome.unparsed else each.grade.outcome


def _read(each: Graded) -> str:
    grade = each.grade
    read = grade.extracted_relaxed if grade.outcome is Outcome.unparsed else grade.extracted
    return read or ""


def _theirs(each: Graded) -> str:
    return "correct" if each.opinion and each.opinion.equal else "wrong"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"


def _percent(interval: Any) -> str:
    """Format a mean with its interval.

    Problems with equal scores give an interval without width. This is not certainty, so none is
    shown.
    """
    mean = f"{100 * interval.mean:.1f}%"
    if interval.low == interval.high:
        return mean
    return f"{mean}  [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
