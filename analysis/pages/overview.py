"""`study report`: one report on all grids that have records - scorecard and claims first, then
settings, then provenance.

It is Markdown (results/report.md); the HTML is the same text with the figures inside
(analysis/pages/html.py). Everything is a function of the records and of the configs under
`experiments/`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from analysis.claims.decide import NOT_TESTABLE, Verdict
from analysis.claims.findings import findings_table
from analysis.claims.rules import SECOND
from analysis.claims.scorecard import Scored, Verdicts, by_claim, scorecard
from analysis.claims.scorecard_text import to_table
from analysis.claims.verdicts import changed, smallest_text
from analysis.claims.withdrawn import lines as withdrawn_lines
from analysis.pages.render import Column, Table, Value, number, to_markdown
from analysis.pages.report import DrawnPage, Part
from analysis.verdicts.facts import facts, p_text
from study.spec.report.claim import all_arms

COLUMNS = (
    Column("verdict", "Verdict"),
    Column("claim", "Claim"),
    Column("grid", "Grid"),
    Column("effect", "Effect [95% t-interval]", interval=True),
    Column("smallest", "Smallest effect that counts", 2),
    Column("n", "n bases"),
    Column("p_holm", "p (Holm)"),
    Column("declared", "Declared"),
)

CHANGED_PAGE = "verdicts_changed.md"  # written by `study report`
OUTCOME_KINDS = (
    "curves",
    "bars",
    "prefix",
    "pi_optimum",
    "mass_drain",
)  # figures that show what claims are about


def claims_table(made: Sequence[Part], primary: bool = False) -> Table:
    """One row per claim of every grid. primary: only those that Holm's adjustment runs over and
    that have a measurement.
    """
    every = [(verdict, part) for part in made for verdict in part.report.verdicts]
    chosen = [
        (verdict, part)
        for verdict, part in every
        if not primary or (verdict.claim.in_family and verdict.n)
    ]
    rows = tuple(_row(verdict, part.evidence.grid) for verdict, part in chosen)
    counts = Counter(verdict.word for verdict, _ in chosen)
    untested = counts.pop(NOT_TESTABLE, 0)
    tally = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    tally += f"; {untested} {NOT_TESTABLE}, which are no results" if untested else ""
    kind = "primary claims" if primary else "claims"
    notes = (f"Scale: {made[0].evidence.scale}. {len(rows)} {kind}: {tally}.",) if rows else ()
    return Table("Claims and verdicts", COLUMNS, rows, notes)


def _row(verdict: Verdict, grid: str) -> tuple[Value, ...]:
    claim = verdict.claim
    smallest = smallest_text(claim)
    effect = verdict.comparison.interval if verdict.comparison else "-"
    p = "-" if verdict.p_holm is None else p_text(verdict.p_holm)
    return verdict.label, claim.id, grid, effect, smallest, verdict.n, p, verdict.declared.word


def markdown(made: Sequence[Part]) -> str:
    """Write the whole report."""
    lines = ["# On-policy distillation: what was found", "", *_opening(made), ""]
    lines += _scorecard(made)
    if any(part.report.verdicts for part in made):
        found = findings_table(_verdicts(made), made[0].evidence.scale)
        lines += [to_markdown(found), ""] if found else []
        lines += [to_markdown(claims_table(made)), *_how_to_read(), *_by_chance(made)]
        lines += _withdrawn(made)
    for part in made:
        lines += _claims_of(part)
    lines += ["## Settings", ""]
    for part in made:
        lines += _settings_of(part)
    lines += ["## Provenance", "", *_provenance(made)]
    return "\n".join(lines).rstrip() + "\n"


def scored(made: Sequence[Part]) -> tuple[Scored, ...]:
    """The rows of the scorecard; none where no finding has a verdict."""
    return scorecard(_verdicts(made))


def _verdicts(made: Sequence[Part]) -> Verdicts:
    return {
        place: verdict
        for part in made
        for place, verdict in by_claim(part.evidence.grid, part.report.verdicts).items()
    }


def _scorecard(made: Sequence[Part]) -> list[str]:
    """The picture, then the same as a table."""
    rows = scored(made)
    if not rows:
        return []
    table = to_table(rows, made[0].evidence.scale)
    return [f"![{table.title}](figures/scorecard.png)", "", to_markdown(table), ""]


def _opening(made: Sequence[Part]) -> list[str]:
    runs = len({row["run"] for part in made for row in part.evidence.run_rows})  # grids share runs
    bases = {seed for part in made for seed in part.evidence.bases}
    missing = len({run.run_id for part in made for run in part.evidence.missing})
    gaps = (
        f" {missing} runs of these grids have no record yet; they are named, never counted."
        if missing
        else ""
    )
    listed = ", ".join(part.evidence.grid for part in made)
    return [
        "A student model learns from a teacher's probabilities on its own answers. Which losses and"
        " teachers make that work, and which make it collapse? First a row per finding: a dot is a"
        " base student, the line the interval of their mean, the shaded part where the whole"
        " interval must be for the finding to hold, and the word what follows. Then every claim"
        " with its controls, then settings and provenance. In words:"
        " [what was found](../docs/findings.md); how a verdict is drawn:"
        " [claims](../docs/claims.md).",
        "",
        f"Written from the records alone. {len(made)} grids ({listed}), {runs} runs, {len(bases)}"
        f" base students.{gaps}",
    ]


def _how_to_read() -> list[str]:
    return [
        (
            "A verdict is drawn over base students. REPRODUCED: the whole interval is beyond the"
            " smallest effect that counts, every control holds and every placebo is beaten."
            " CONTRADICTED: an effect of that size is excluded. UNDECIDED: neither. INVALID: a"
            " control failed. NOT TESTABLE HERE: the page declares that this lab cannot test the"
            " claim, and why; its effect is measured and is no result. Primary claims are decided"
            " at Holm's level, by an interval wider than the one shown. docs/records.md says how"
            " `declared` is derived."
        ),
        "",
    ]


def _by_chance(made: Sequence[Part]) -> list[str]:
    """How many words chance alone may give, and where the other rules' words are."""
    study, rules = made[0].study, made[0].rules
    if study is None:
        return []
    lines = [study.error_budget(rules).text, ""]
    if rules == SECOND:
        lines += [
            f"[{CHANGED_PAGE}]({CHANGED_PAGE}) lists every verdict that the first rules gave"
            " otherwise, with the rule that changed it.",
            "",
        ]
    return lines


def _withdrawn(made: Sequence[Part]) -> list[str]:
    """The claims that were declared and withdrawn, where they count."""
    study, rules = made[0].study, made[0].rules
    if study is None or not rules.families:
        return []
    return withdrawn_lines(study.withdrawn, study.unstored)


def _claims_of(part: Part) -> Iterator[str]:
    if not part.report.verdicts:
        return
    yield from (f"## Claims on the grid {part.evidence.grid}", "", part.question, "")
    shown: set[str] = set()
    for verdict in part.report.verdicts:
        yield from _claim(verdict, part, shown)


def _claim(verdict: Verdict, part: Part, shown: set[str]) -> Iterator[str]:
    yield from (f"### {verdict.claim.id}: {verdict.label}", "", verdict.claim.text, "")
    figure = figure_of(verdict, part.report.figures)
    if figure is not None and figure.name in shown:
        yield from (f"Figure: {figure.page.title} (above).", "")
    elif figure is not None:
        shown.add(figure.name)
        yield from (f"![{figure.page.title}](figures/{figure.name}.png)", "")
    change = what_would_change(verdict)
    yield from (
        *facts(verdict, part.evidence),
        *([f"- What would change it: {change}."] if change else []),
        "",
        *changed(verdict.declared),
    )


def figure_of(verdict: Verdict, drawn: Sequence[DrawnPage]) -> DrawnPage | None:
    """The first figure of outcomes that shows every arm of the claim and names the fewest others;
    else the one of all final scores.
    """
    wanted = {frozenset(arm.items()) for arm in all_arms(verdict.claim)}
    of_outcomes = [figure for figure in drawn if figure.page.kind in OUTCOME_KINDS]
    holding = [
        figure
        for figure in of_outcomes
        if wanted <= {frozenset(arm.items()) for arm in figure.page.arms}
    ]
    whole = [figure for figure in drawn if figure.page.kind == "final_scores"]
    return min(
        holding, key=lambda figure: len(figure.page.arms), default=whole[0] if whole else None
    )


def what_would_change(verdict: Verdict) -> str:
    """What another result would have to look like, from the numbers; empty where `What would help`
    says it.
    """
    interval, bar = verdict.deciding, number(verdict.threshold, 3)
    match verdict.word:
        case "UNDECIDED":
            return "" if verdict.next_step else "a placebo that is told apart from the arm"
        case "INVALID":
            return "a control that holds; until then the comparison says nothing"
        case "REPORTED":
            return "nothing: no expectation was declared"
        case "NOT TESTABLE HERE":
            return "another world; no number of bases of this one"
    if interval is None or interval.low is None or interval.high is None:
        return "more bases"
    limits = [abs(limit - verdict.threshold) for limit in (interval.low, interval.high)]
    if verdict.placebos and verdict.word == "CONTRADICTED" and "but placebo" in verdict.reason:
        return "an excess over the placebo"
    moved = (
        f"other bases that move the mean by {number(min(limits), 3)} towards {bar} at this spread"
    )
    controls = (
        f", or one of its {len(verdict.gates) + len(verdict.placebos)} controls failing"
        if verdict.gates or verdict.placebos
        else ""
    )
    return f"{moved} (then UNDECIDED){controls}"


def _settings_of(part: Part) -> Iterator[str]:
    yield from (f"### Grid {part.evidence.grid}", "", part.question, "")
    for table in part.report.tables.values():
        yield to_markdown(table).replace("## ", "#### ", 1)
    shown = {
        found.name
        for verdict in part.report.verdicts
        if (found := figure_of(verdict, part.report.figures))
    }
    for figure in part.report.figures:
        if figure.name not in shown:
            yield from (f"![{figure.page.title}](figures/{figure.name}.png)", "")


def _provenance(made: Sequence[Part]) -> list[str]:
    lines: list[str] = []
    for part in made:
        rows = part.evidence.run_rows
        states = Counter(row["claims"][:16] for row in rows if isinstance(row["claims"], str))
        states_text = (
            ", ".join(f"`{name}` ({count} runs)" for name, count in sorted(states.items()))
            or "none"
        )
        lines += [
            f"### Records of the grid {part.evidence.grid}",
            "",
            f"Claims files when the runs started: {states_text}.",
            "",
        ]
        lines += [
            to_markdown(part.report.made).replace("## ", "#### ", 1),
            to_markdown(part.report.costs).replace("## ", "#### ", 1),
        ]
    return lines
