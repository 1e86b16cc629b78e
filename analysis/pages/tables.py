"""Tables from evidence: final scores per cell, and settings next to the paper's."""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from analysis.claims.outcomes import by_base, interval_of, note_of
from analysis.evidence.definitions import BY_NAME
from analysis.evidence.frames import Evidence, arm_text
from analysis.evidence.revisions import older_text
from analysis.pages.render import Column, Table, Value
from study.errors import SpecError
from study.spec.grid.binding import base_of
from study.spec.grid.labelled import LabelledCell
from study.spec.recipe.model import DistilledModel, PretrainedLab
from study.spec.recipe.objective import bias_note
from study.spec.report.tables import Setting, TablePage
from study.stats.intervals import FRACTION, span_interval

MEASURES: tuple[Column, ...] = (
    Column("score", "Final accuracy [95% t-interval]", interval=True),
    Column("n", "n bases"),
    Column("before", "Before (step 0)"),
    Column("truncated_fraction", "Truncated"),
    Column("unparsed_fraction", "Unparsed"),
    Column("mean_tokens", "Tokens", 1),
    Column("reverse_kl", "Reverse KL, last step"),
)


def build(page: TablePage | None, evidence: Evidence) -> Table:
    """Build the table of a config; without one, the final scores of the grid."""
    if page is None:
        return final_scores(evidence, f"Final scores of grid {evidence.grid}", None, ())
    if page.kind == "settings":
        return settings(page, evidence)
    if page.kind == "outcomes":
        return outcomes(page, evidence)
    return final_scores(evidence, page.title, page.number, _page_notes(page))


def final_scores(
    evidence: Evidence, title: str, number: int | None, notes: tuple[str, ...]
) -> Table:
    """One row per cell in the order of the grid: mean over base students with its t-interval, and
    what goes with it.
    """
    labels = [Column(factor, factor.capitalize()) for factor in evidence.factors]
    rows = [
        tuple(cell.labels.get(factor, "-") for factor in evidence.factors)
        + _measures(evidence, cell)
        for cell in evidence.cells
    ]
    all_notes = (*notes, *_score_notes(evidence), *estimator_notes(evidence.cells))
    return Table(title, (*labels, *MEASURES), tuple(rows), all_notes, number)


def estimator_notes(cells: Iterable[LabelledCell]) -> tuple[str, ...]:
    """One sentence for each way in which an estimator of these cells is biased, with the cells."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if isinstance(cell.cell.model, DistilledModel):
            note = bias_note(cell.cell.model.objective)
            if note is not None:
                found.setdefault(note, []).append(f"[{arm_text(cell.labels)}]")
    return tuple(
        f"Estimator of {', '.join(dict.fromkeys(arms))}: {note}." for note, arms in found.items()
    )


def _measures(evidence: Evidence, cell: LabelledCell) -> tuple[Value, ...]:
    scores = evidence.scores(cell.labels)
    if not scores:
        return (None, 0, None, None, None, None, None)
    interval = span_interval(list(scores.values()), span=FRACTION)
    means = [
        fmean(evidence.by_base(cell.labels, name).values())
        for name in ("truncated_fraction", "unparsed_fraction", "mean_tokens")
    ]
    before = mean_at(evidence, cell.labels, "eval/avg@k", "first")
    return (
        interval,
        interval.n,
        before,
        *means,
        mean_at(evidence, cell.labels, "train/reverse_kl", "last"),
    )


def mean_at(evidence: Evidence, arm: Mapping[str, str], metric: str, which: str) -> float | None:
    """Mean over bases of a history metric at its first or last measured step; None where it was
    never measured.
    """
    values = ends(evidence, arm, metric, which)
    return fmean(values.values()) if values else None


def ends(evidence: Evidence, arm: Mapping[str, str], metric: str, which: str) -> dict[int, float]:
    """A history metric by base: at step 0 (`first`) or at its last measured step (`last`).

    Bases without the measurement are left out.
    """
    found = {
        seed: curve.last if which == "last" else curve.first
        for seed, curve in evidence.ends(arm, metric).items()
    }
    return {seed: value for seed, value in found.items() if value is not None}


def _page_notes(page: TablePage) -> tuple[str, ...]:
    return (*((page.answers,) if page.answers else ()), *page.notes)


def scope_note(evidence: Evidence) -> str:
    """Scale, grid and bases: the sentence under every table."""
    bases = count(len(evidence.bases), "base student")
    if from_given_weights(evidence):
        bases = (
            f"{count(len(evidence.bases), 'seed')} from one set of given weights: here a base is a"
            " training seed, not another model"
        )
    missing = (
        f"; {len(evidence.missing)} runs are not there yet{older_text(evidence.older)}"
        if evidence.missing
        else ""
    )
    return (
        f"{scale_note(evidence)} Grid {evidence.grid}, {len(evidence.run_rows)} runs,"
        f" {bases}{missing}."
    )


def from_given_weights(evidence: Evidence) -> bool:
    """Whether the students start from weights that are given (a hub model, a folder): then no seed
    has a base of its own.
    """
    return any(
        not isinstance(base_of(labelled.cell.model), PretrainedLab) for labelled in evidence.cells
    )


def scale_note(evidence: Evidence) -> str:
    world = (
        " (tiny models trained from scratch on a synthetic arithmetic world)"
        if evidence.scale == "lab"
        else ""
    )
    return f"Scale: {evidence.scale}{world}."


def count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _score_notes(evidence: Evidence) -> tuple[str, ...]:
    sizes = sorted(
        {
            f"k = {row['k']} samples on each of {row['num_problems']} held-out problems"
            for row in evidence.run_rows
        }
    )
    size = "; ".join(sizes) or "no runs"
    unit = "A seed starts at pretraining; mean and interval are over base students."
    if from_given_weights(evidence):
        unit = "Mean and interval are over training seeds: they say nothing of another base model."
    return (
        scope_note(evidence),
        f"Final accuracy: {BY_NAME['score'].formula}; {size}. {unit}",
        (
            "An interval over few bases that differ is wide; its limits stay within 0 and 1 (on the"
            " logit scale, docs/claims.md). Within a base cells are paired, see the verdicts."
        ),
        (
            "Before, Truncated, Unparsed, Tokens, Reverse KL: means over base students; -: does not"
            " apply, or was not measured. Definitions: docs/metrics.md."
        ),
    )


def outcomes(page: TablePage, evidence: Evidence) -> Table:
    """Each measured outcome: mean over base students with its t-interval, next to the paper's value
    and its source.
    """
    columns = (
        Column("item", "Item"),
        Column("ours", f"Ours, scale {evidence.scale} [95% t-interval]", interval=True),
        Column("n", "n bases"),
        Column("paper", "Paper"),
        Column("source", "Source"),
    )
    found = [(row, by_base(evidence, row.arm, row.outcome)) for row in page.measured]
    rows = tuple(
        (row.name, interval_of(row.outcome, values), len(values), row.paper, row.source)
        for row, values in found
    )
    hidden = [(row.name, note_of(evidence, row.arm, row.outcome)) for row in page.measured]
    notes = (
        *_page_notes(page),
        *(f"{name}: {note}." for name, note in hidden if note),
        *_score_notes(evidence)[:1],
        *estimator_notes(evidence.cell_of(row.arm) for row in page.measured),
        "Values of the two columns are never mixed.",
    )
    return Table(page.title, columns, rows, notes, page.number)


def settings(page: TablePage, evidence: Evidence) -> Table:
    """The paper's settings with the tag of their source, next to ours as resolved in the config's
    cell.
    """
    cell = evidence.cell_of(page.cell).cell.model_dump(mode="json")
    columns = (
        Column("item", "Item"),
        Column("paper", "Paper"),
        Column("source", "Source"),
        Column("ours", f"Ours, scale {evidence.scale}"),
        Column("note", "Note"),
    )
    rows = tuple(
        (row.item, row.paper, row.source, _resolved(cell, row), row.note) for row in page.settings
    )
    notes = (
        *_page_notes(page),
        (
            f"Scale: {evidence.scale}. Cell: {arm_text(page.cell)}. Values of the two columns are"
            " never mixed."
        ),
    )
    return Table(page.title, columns, rows, notes, page.number)


def _resolved(cell: Mapping[str, Any], row: Setting) -> str:
    if row.ours is None:
        return "not used"
    value: Any = cell
    for part in row.ours.split("."):
        if not isinstance(value, dict) or part not in value:
            raise SpecError(f"setting {row.item!r}: the cell has no field {row.ours}")
        value = value[part]
    return "none" if value is None else str(value)
