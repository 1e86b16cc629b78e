"""Outcomes of claims, gates and figures: one number per base student of an arm, written as a short
text.

score                 avg@k of the final evaluation; `parsed_accuracy` = correct / samples with a
                      readable answer; greedy, truncated_fraction, unparsed_fraction, mean_tokens:
                      the other columns of a score
score:<task>          the same of a further task of the cell; every column takes `:<task>`
probe:<name>.<value>  a number of a probe
<metric>              a training curve (docs/metrics.md) at its last measured step: eval/avg@k
<metric>@<step>       at this step: eval/avg@k@40
auc:<metric>          the mean height of the curve: area by the trapezoid rule / steps between its
                      ends; the metric's unit
best:<metric>         the largest value of the curve. A best step is chosen by its result; tables
                      and figures say so
signal_gap            the teacher's signal |log p_S - log p_T| of sampled tokens at the start of
                      training: mean over wrong completions minus mean over correct ones, in nats
                      (signed means per bin of positions, pooled)
pass@<k>              unbiased pass@k of the final evaluation, from its samples; pass@<k>:<task> of
                      a further task
steps_to:<value>:<metric>
                      the first measured step at which the curve is at least this value; a run that
                      never is counts its last step (censored), one that the guard stopped all the
                      steps that were declared for it
collapse_step         optimiser steps until the run collapsed; a run that did not counts its last
                      step (censored)
collapsed             1 if the run collapsed, else 0
"""

import re
from dataclasses import dataclass
from typing import Literal

from study.errors import SpecError
from study.spec.yaml.load import suggestion

# An arm by factor -> level label; the labels must name exactly one cell of the grid.
ArmLabels = dict[str, str]

# Raised by hand when a change of code gives another number for the same outcome of the same
# records. Claims that were declared under another revision are labelled so (docs/claims.md).
REVISION = 1

COLUMNS = (
    "score",
    "parsed_accuracy",
    "greedy",
    "truncated_fraction",
    "unparsed_fraction",
    "mean_tokens",
)
COLLAPSE, COLLAPSED, SIGNAL_GAP = "collapse_step", "collapsed", "signal_gap"
_WORDS: dict[str, Literal["collapse", "collapsed", "signal_gap"]] = {
    COLLAPSE: "collapse",
    COLLAPSED: "collapsed",
    SIGNAL_GAP: "signal_gap",
}
# Which side of an outcome is better; `neither`: the outcome alone does not say.
Better = Literal["higher", "lower", "neither"]

# How near a student is to its teacher is neither: a bad teacher can be copied well.
_HIGHER = frozenset({"accuracy", "greedy", "teacher_coverage", "teacher_coverage_mass"})
_LOWER = frozenset(
    {"truncated_fraction", "unparsed_fraction", "repetition_3gram", "teacher_cut_mass"}
)
# Curves that are fractions, next to all names in `avg@`, `_fraction` and `_mass`.
_FRACTIONS = frozenset(
    {"accuracy", "greedy", "repetition_3gram", "topk_overlap", "teacher_coverage"}
)
_METRIC = re.compile(r"eval/avg@(?:k|\d+)|(?:train|eval|rollout)/[a-z0-9_/]+")
_PROBE = re.compile(r"probe:([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_PASS = re.compile(r"pass@([1-9]\d*)(?::(.+))?")
_STEPS_TO = re.compile(r"steps_to:(-?\d+(?:\.\d+)?):(.+)")


@dataclass(frozen=True)
class ReportOutcome:
    """A parsed outcome.

    column: of a score, or the metric of a curve. task: None = the cell's own. step: of a curve.
    probe: its name. k: of pass@k. reached: the value of steps_to.
    """

    kind: Literal[
        "score",
        "pass",
        "last",
        "step",
        "auc",
        "best",
        "steps_to",
        "probe",
        "collapse",
        "collapsed",
        "signal_gap",
    ]
    column: str = ""
    task: str | None = None
    step: int | None = None
    probe: str = ""
    k: int = 0
    reached: float = 0.0


def outcome(text: str) -> ReportOutcome:
    """Parse an outcome. Errors: SpecError with the nearest known word."""
    if text in _WORDS:
        return ReportOutcome(_WORDS[text])
    if found := _PROBE.fullmatch(text):
        return ReportOutcome("probe", found[2], probe=found[1])
    if found := _PASS.fullmatch(text):
        return ReportOutcome("pass", task=found[2], k=int(found[1]))
    found = _STEPS_TO.fullmatch(text)
    if found and _METRIC.fullmatch(found[2]):
        return ReportOutcome("steps_to", found[2], reached=float(found[1]))
    head, colon, tail = text.partition(":")
    if head in COLUMNS and (tail or not colon):
        return ReportOutcome("score", head, task=tail or None)
    if head in ("auc", "best") and _METRIC.fullmatch(tail):
        return ReportOutcome("auc" if head == "auc" else "best", tail)
    if _METRIC.fullmatch(text):
        return ReportOutcome("last", text)
    metric, _, step = text.rpartition("@")
    if step.isdigit() and _METRIC.fullmatch(metric):
        return ReportOutcome("step", metric, step=int(step))
    known = [*COLUMNS, *_WORDS, "auc:", "best:", "probe:", "pass@", "steps_to:"]
    fixed = ", ".join((*COLUMNS, *_WORDS))
    hint = (
        f"one of {fixed}, a metric of docs/metrics.md, METRIC@STEP, auc:METRIC, best:METRIC,"
        " pass@K, steps_to:VALUE:METRIC, probe:NAME.VALUE"
    )
    raise SpecError(f"{text!r} is no outcome{suggestion(text, known)}", hint=hint)


def refuse_unknown(text: str) -> str:
    """Return the text for the validation of a file. Errors: ValueError."""
    try:
        outcome(text)
    except SpecError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error
    return text


def is_curve(text: str) -> bool:
    """Whether an outcome is the last value of a training curve, which also has a first one."""
    return outcome(text).kind == "last"


def bounds(text: str) -> tuple[float | None, float | None]:
    """Return the values that an outcome cannot leave; None = no limit on this side.

    A number of a probe has none unless its name says that it is a fraction.
    """
    wanted = outcome(text)
    match wanted.kind:
        case "collapse" | "steps_to":
            return 0.0, None
        case "collapsed" | "pass":
            return 0.0, 1.0
        case "signal_gap":
            return None, None
        case "score":
            return (0.0, None) if wanted.column == "mean_tokens" else (0.0, 1.0)
        case "probe":
            is_fraction = wanted.column.endswith("_fraction") or wanted.column == "accuracy"
            return (0.0, 1.0) if is_fraction else (None, None)
        case _:
            return _curve_bounds(wanted.column)


def better(text: str) -> Better:
    """Return which side of an outcome is better.

    `auc` and `best` are as their curve. Few steps to a value are better where high values of the
    curve are, and worse where low ones are. Of a probe only an accuracy says it.
    """
    wanted = outcome(text)
    match wanted.kind:
        case "collapse" | "pass":
            return "higher"
        case "collapsed":
            return "lower"
        case "signal_gap":
            return "neither"
        case "score" if wanted.column in ("score", "parsed_accuracy"):
            return "higher"
        case "probe":
            return "higher" if wanted.column == "accuracy" else "neither"
        case "steps_to":
            turned: dict[Better, Better] = {"higher": "lower", "lower": "higher"}
            return turned.get(_curve_better(wanted.column), "neither")
        case _:
            return _curve_better(wanted.column)


def _curve_better(metric: str) -> Better:
    name = metric.rpartition("/")[2]
    if name.startswith("avg@") or name in _HIGHER:
        return "higher"
    return "lower" if name in _LOWER else "neither"


def _curve_bounds(metric: str) -> tuple[float | None, float | None]:
    name = metric.rpartition("/")[2]
    if name == "loss":
        return None, None
    if name.startswith("avg@") or name in _FRACTIONS or name.endswith(("_fraction", "_mass")):
        return 0.0, 1.0
    return 0.0, None
