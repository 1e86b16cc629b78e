"""Definitions by name, and what an outcome is called and cannot leave.

Figures take their labels from here; `analysis/evidence/metrics_page.py` writes docs/metrics.md.
"""

from analysis.evidence.curve_definitions import CURVES
from analysis.evidence.definition import Definition
from analysis.evidence.outcome_definitions import OUTCOMES
from study.spec.report.outcome import ReportOutcome, outcome

DEFINITIONS: tuple[Definition, ...] = (*OUTCOMES, *CURVES)
BY_NAME: dict[str, Definition] = {definition.name: definition for definition in DEFINITIONS}


# Metrics that are 1 - a column of the records.
COMPLEMENTS: dict[str, str] = {"train/student_tail_mass": "train/student_topk_mass"}


def canonical_metric(column: str) -> str:
    """A history column's name without the number of its samples: eval/avg@2 -> eval/avg@k."""
    head, at, tail = column.partition("@")
    return f"{head}@k" if at and tail.isdigit() else column


def outcome_words(text: str) -> tuple[str, str]:
    """Title and unit of an outcome (study/spec/report/outcome.py), for an axis."""
    wanted = outcome(text)
    task = f", {wanted.task}" if wanted.task else ""
    if wanted.kind == "probe":
        return f"{wanted.probe} {wanted.column}", "probe"
    found = BY_NAME[_defined(wanted)]
    if wanted.kind == "pass":
        return f"pass@{wanted.k}{task}", found.unit
    if wanted.kind == "steps_to":
        metric = BY_NAME[canonical_metric(wanted.column)]
        return f"Steps to {metric.title.lower()} {wanted.reached:g}", found.unit
    how = {"step": f", step {wanted.step}", "auc": ", mean over steps", "best": ", best step"}.get(
        wanted.kind, ""
    )
    return f"{found.title}{task}{how}", found.unit


def outcome_bounds(text: str) -> tuple[float | None, float | None]:
    """The values that an outcome cannot leave (None = open); a probe's are not known."""
    wanted = outcome(text)
    if wanted.kind == "probe":
        return None, None
    name = _defined(wanted)
    return BY_NAME[name].bounds if name in BY_NAME else (None, None)


def _defined(wanted: ReportOutcome) -> str:
    """The name under which an outcome is defined; a curve's is its metric, whose values `auc`,
    `best` and a step share.
    """
    match wanted.kind:
        case "collapse":
            return "collapse_step"
        case "collapsed" | "signal_gap" | "steps_to":
            return wanted.kind
        case "pass":
            return "score/pass@k"
        case "score":
            return "score" if wanted.column == "score" else f"score/{wanted.column}"
        case _:
            return canonical_metric(wanted.column)
