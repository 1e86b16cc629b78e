"""Calibrates the guard on the traces that finished runs left behind; nothing is trained.

    python -m benchmarks.guard_calibration RESULTS [RESULTS ...] [--grid math] [--scale lab] [--docs docs]

RESULTS are folders of `study run`: artifacts/distill-*/guard.json holds the trace of a run, runs/*/record.json its final score. Thresholds
are chosen on base 0 alone and printed; what is evaluated on the other bases are the thresholds of `study/train/guard.py` as it stands, and
where the two differ this says so. Writes guard_calibration.csv (one row a run), figures/guard_calibration.png and the numbers of guard.md,
between its two marks. The definitions are in `study/train/calibration.py`.
"""

import argparse
import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.guard_figure import draw, save
from study.record.store import iterate_records
from study.spec.grid import load_grid
from study.spec.identity import stage_id
from study.train.calibration import ANY, Alarms, Outcome, Share, Stopped, Watched, Worth, choose, stopped, worth
from study.train.guard import DETECTORS, Thresholds, first_alarm, replay

CHOSEN_ON = 0  # the base whose runs set the thresholds
BEGIN, END = "<!-- numbers:begin -->", "<!-- numbers:end -->"
OUTCOMES: tuple[Outcome, ...] = ("healthy", "dipped", "collapsed")
SETTINGS = {  # the thresholds that belong to a detector, for its row of the table
    "topk_drain": ("leak_ratio", "leak_floor"), "entropy": ("entropy_ratio", "entropy_floor"), "length": ("length_ratio",),
    "truncation": ("truncated_rise",), "repetition": ("repetition_ratio", "repetition_floor"), "overlap": ("overlap_ratio",),
    "divergence": ("divergence_ratio", "divergence_floor"), "zero_signal": ("zero_gradient",),
}  # fmt: skip
Seen = list[tuple[Watched, Alarms]]


def labels_of_stages(grid: str, scale: str) -> dict[str, tuple[str, int]]:
    """Stage id of a distillation -> (its labels, base)."""
    runs = load_grid(grid, scale).runs()
    return {stage_id(run.cell.model, run.seed): (" ".join(run.labels.values()), run.seed) for run in runs}


def watched(folder: Path, labels: dict[str, tuple[str, int]]) -> list[Watched]:
    """The finished runs below a results folder, in the order of the grid. A run without a record has no outcome yet and is left out."""
    scores = {record.stages["distill"]: next(iter(record.scores.values())).mean for record in iterate_records(folder / "runs")}
    found: list[Watched] = []
    for stage, (cell, base) in labels.items():
        path = folder / "artifacts" / stage / "guard.json"
        if stage in scores and path.is_file():
            guard = json.loads(path.read_text(encoding="utf-8"))
            if guard["policy"] == "observe":  # a stopped run does not show what would have become of it
                found.append(Watched(cell, base, guard["trace"], scores[stage]))
    return found


def per_run(seen: Seen) -> str:
    """The CSV: one row a run. Empty = never. Steps but for the accuracies."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    names = [*DETECTORS]
    head = ["run", "base", "steps", "outcome", "accuracy_start", "accuracy_best", "accuracy_end", "score", "fell_from_start", "fell_from_best"]
    writer.writerow([*head, "first_alarm", *names])
    for run, alarms in seen:
        accuracies = [f"{value:.4f}" for value in (run.means[0], max(run.means), run.means[-1], run.score)]
        steps = [run.fell_from_start, run.fell_from_best, first_alarm(alarms), *(alarms.get(name) for name in names)]
        writer.writerow([run.cell, run.base, len(run.trace["step"]), run.outcome, *accuracies, *("" if s is None else s for s in steps)])
    return lines.getvalue()


def numbers(seen: Seen, chosen: Thresholds) -> str:
    """The part of guard.md between its marks."""
    first, others = [s for s in seen if s[0].base == CHOSEN_ON], [s for s in seen if s[0].base != CHOSEN_ON]
    bases = " and ".join(str(base) for base in sorted({run.base for run, _ in others}))
    differing = {name: value for name, value in asdict(chosen).items() if value != getattr(Thresholds(), name)}
    note = f"The rule would now choose other levels than those in force: {differing}." if differing else "The rule gives the levels in force."
    parts = [
        counts(seen), note, f"**Bases {bases}**, on which nothing was chosen:", table(others),
        f"**Base {CHOSEN_ON}**, on which the thresholds were chosen (no evidence of their worth):", table(first),
        "**Collapses, and what came first.** Steps; lead = fall - first alarm, against either fall.", collapses(seen),
        "**What `stop` would have done**, at the first alarm of any detector:", costs(stopped(seen)),
    ]  # fmt: skip
    return "\n\n".join(parts)


def counts(seen: Seen) -> str:
    tally = Counter((run.base, run.outcome) for run, _ in seen)
    rows = [[f"base {base}", *(tally[base, outcome] for outcome in OUTCOMES)] for base in sorted({run.base for run, _ in seen})]
    return markdown(["runs", *OUTCOMES], [*rows, ["all", *(sum(n for (_, of), n in tally.items() if of == o) for o in OUTCOMES)]])


def table(seen: Seen) -> str:
    head = ["detector", "threshold", "false alarms on healthy runs", "alarms on dips", "collapses seen", "before the fall", "lead: median (min to max)"]
    return markdown(head, [row(worth(name, seen)) for name in (*DETECTORS, ANY)])


def row(of: Worth) -> list[str]:
    limits = ", ".join(f"{name} {getattr(Thresholds(), name):g}" for name in SETTINGS.get(of.detector, ()))
    return [of.detector, limits, str(of.false_alarms), plain(of.on_dips), plain(of.seen), str(of.before), spread(of.leads)]


def plain(share: Share) -> str:
    return f"{share.k}/{share.n}"


def spread(steps: Sequence[int]) -> str:
    return f"{median(steps):+g} ({min(steps):+d} to {max(steps):+d})" if steps else "-"


def collapses(seen: Seen) -> str:
    rows = [_collapse(run, alarms) for run, alarms in seen if run.outcome == "collapsed"]
    head = ["run", "base", "start", "best", "score", "fell from start", "fell from best", "first alarm", "lead to start", "lead to best"]
    return markdown(head, rows)


def _collapse(run: Watched, alarms: Alarms) -> list[str]:
    at, falls = first_alarm(alarms), (run.fell_from_start, run.fell_from_best)
    leads = ["-" if at is None or fell is None else f"{fell - at:+d}" for fell in falls]
    return [
        run.cell, str(run.base), *(f"{a:.2f}" for a in (run.means[0], max(run.means), run.score)), *("-" if f is None else str(f) for f in falls),
        "none" if at is None else f"{at} ({first_names(alarms)})", *leads,
    ]  # fmt: skip


def first_names(alarms: Alarms) -> str:
    at = first_alarm(alarms)
    return ", ".join(name for name, step in alarms.items() if step == at)


def costs(found: Iterable[Stopped]) -> str:
    """One row for each outcome: runs stopped, steps not taken, accuracy at the stop against the final score."""
    by_outcome = {outcome: [stop for stop in found if stop.run.outcome == outcome] for outcome in OUTCOMES}
    rows = [
        [outcome, str(len(stops)), spread([s.steps for s in stops]), f"{median(s.gained for s in stops):+.2f} ({min(s.gained for s in stops):+.2f} to {max(s.gained for s in stops):+.2f})"]
        for outcome, stops in by_outcome.items() if stops
    ]  # fmt: skip
    return markdown(["outcome if left alone", "runs stopped", "steps not taken", "accuracy at the stop - final score"], rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def rewrite(page: Path, content: str) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{page} needs {BEGIN} and {END} on lines of their own")
    page.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}", encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--grid", default="math")
    parser.add_argument("--scale", default="lab")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    labels = labels_of_stages(options.grid, options.scale)
    runs = {(run.cell, run.base): run for folder in reversed(options.results) for run in watched(folder, labels)}
    ordered = [runs[place] for place in labels.values() if place in runs]
    if not ordered:
        sys.exit(f"no finished run of the grid {options.grid} with a guard.json below {', '.join(map(str, options.results))}")
    chosen = choose(run for run in ordered if run.base == CHOSEN_ON)
    seen = [(run, replay(run.trace)) for run in ordered]
    text = per_run(seen)
    (options.docs / "guard_calibration.csv").write_text(text, encoding="utf-8", newline="\n")
    save(draw([s for s in seen if s[0].base != CHOSEN_ON]), options.docs / "figures" / "guard_calibration.png", text)
    content = f"{len(ordered)} of the {len(labels)} runs of grid {options.grid}, scale {options.scale}.\n\n{numbers(seen, chosen)}"
    rewrite(options.docs / "guard.md", content)
    print(content)


if __name__ == "__main__":
    main()
