"""Build what `study analyze` writes - tables, figures and verdicts of one grid - and check
committed files.

Texts (CSV, Markdown, LaTeX, JSON) are compared byte for byte. A figure is compared by the data it
was drawn from: the CSV next to it, and the hash of that CSV inside its SVG.
"""

from dataclasses import dataclass
from pathlib import Path

from analysis import figures
from analysis.claims.rules import SECOND, Rules
from analysis.claims.scorecard import Scored, scorecard_of
from analysis.claims.scorecard_text import to_table
from analysis.claims.verdicts import to_markdown
from analysis.claims.withdrawn import lines as withdrawn_lines
from analysis.evidence.estimates import estimated_hours
from analysis.evidence.frames import Evidence
from analysis.evidence.ledger import costs
from analysis.pages import style, tables
from analysis.pages.numbered import claims_of, figure_pages, table_pages
from analysis.pages.render import Column, Table, spellings, to_csv
from analysis.pages.render import to_markdown as to_table_markdown
from analysis.verdicts.data import to_json
from analysis.verdicts.study import Study, study_of
from analysis.verdicts.verdict import Verdict
from study.spec.report.tables import FigurePage, Row
from study.spec.yaml.load import names

MOST_CELLS = 60  # of a default figure


@dataclass(frozen=True)
class DrawnPage:
    name: str  # file name without suffix
    page: FigurePage
    rows: figures.Rows
    csv: str


@dataclass(frozen=True)
class Report:
    """texts: path below the output folder -> content, the figures' CSV included."""

    tables: dict[str, Table]
    figures: tuple[DrawnPage, ...]
    verdicts: tuple[Verdict, ...]
    scorecard: tuple[Scored, ...]  # the findings that claims of this grid decide
    costs: Table
    texts: dict[str, str]
    made: Table


@dataclass(frozen=True)
class Part:
    """A grid of the report over all grids. study: all claims with their evidence, the same for each
    part.
    """

    evidence: Evidence
    report: Report
    question: str
    study: Study | None = None
    rules: Rules = SECOND


def build(
    evidence: Evidence,
    root: Path | None = None,
    rules: Rules = SECOND,
    study: Study | None = None,
) -> Report:
    """Build tables, figures and verdicts of a grid; one without numbered tables and figures gets
    scores-GRID and, if it is not too large, curves-GRID.

    study: where it is there already; else the records of the grids that share a family of claims
    with this one are read from the same folder.
    """
    made = {
        str(page.number): tables.build(page, evidence) for page in table_pages(evidence.grid, root)
    } or {f"scores-{evidence.grid}": tables.build(None, evidence)}
    pages = {
        str(page.number): page for page in figure_pages(evidence.grid, root)
    } or _default_pages(evidence)
    drawn = tuple(draw_page(name, page, evidence) for name, page in pages.items())
    claims = claims_of(evidence.grid, root)
    around = (study or study_of(evidence, root)) if claims else None
    verdicts = around.verdicts(rules, [evidence.grid])[evidence.grid] if around else ()
    scored = scorecard_of(evidence.grid, verdicts, root)
    texts = {
        f"tables/{name}.{suffix}": text
        for name, table in made.items()
        for suffix, text in spellings(table).items()
    }
    texts |= {f"figures/{figure.name}.csv": figure.csv for figure in drawn}
    spent = costs(evidence.ledger, evidence.grid, evidence.scale, estimated_hours(evidence))
    texts |= {
        f"costs/{evidence.grid}.md": to_table_markdown(spent),
        f"costs/{evidence.grid}.csv": to_csv(spent),
    }
    if claims:
        gone = around.withdrawn_beside(evidence.grid) if around and rules.families else ()
        lost = around.unstored if around and rules.families else ()
        opening = to_table_markdown(to_table(scored, evidence.scale)) + "\n" if scored else ""
        texts |= {
            f"verdicts/{evidence.grid}.md": (
                opening + to_markdown(verdicts, evidence) + "\n".join(withdrawn_lines(gone, lost))
            ),
            f"verdicts/{evidence.grid}.json": to_json(verdicts, evidence, gone),
        }
    return Report(made, drawn, verdicts, scored, spent, texts, provenance(evidence))


def provenance(evidence: Evidence) -> Table:
    """What the runs were made with, each way once."""
    columns = (
        Column("runs", "Runs"),
        Column("code", "Code"),
        Column("packages", "Packages"),
        Column("python", "Python"),
    )
    rows = [
        (count, made.code[:16], made.packages or "-", made.python, made.platform)
        for made, count in sorted(evidence.made.items())
    ]
    note = (
        "Code: hash of the package `study`. What two executions of a run must agree on:"
        " docs/records.md."
    )
    return Table(
        f"What the runs of grid {evidence.grid} were made with",
        (*columns, Column("platform", "Platform")),
        tuple(rows),
        (note,),
    )


def draw_page(name: str, page: FigurePage, evidence: Evidence) -> DrawnPage:
    """A figure with the numbers it plots."""
    rows = figures.plotted(page, evidence)
    return DrawnPage(name, page, rows, figures.to_csv(page, rows))


def _default_pages(evidence: Evidence) -> dict[str, FigurePage]:
    """The curves of all cells, unless they are too many to tell the lines apart: then a figure
    config has to choose some.
    """
    return (
        {f"curves-{evidence.grid}": default_curves(evidence)}
        if len(evidence.cells) <= MOST_CELLS
        else {}
    )


def default_curves(evidence: Evidence) -> FigurePage:
    """One row of panels per combination of the factors other than the objective."""
    rows: dict[str, list[dict[str, str]]] = {}
    for cell in evidence.cells:
        title = (
            ", ".join(level for factor, level in cell.labels.items() if factor != "objective")
            or evidence.grid
        )
        rows.setdefault(title, []).append(cell.labels)
    made = tuple(Row(title=title, arms=tuple(arms)) for title, arms in rows.items())
    return FigurePage(
        title=f"Training curves of grid {evidence.grid}",
        grid=evidence.grid,
        scale=evidence.scale,
        kind="curves",
        rows=made,
    )


def write(report: Report, evidence: Evidence, out: Path) -> list[Path]:
    """Write every file below `out`; return them in order."""
    written = [path for figure in report.figures for path in write_figure(figure, evidence, out)]
    for name, text in report.texts.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return sorted(set(written))


def write_figure(figure: DrawnPage, evidence: Evidence, out: Path) -> list[Path]:
    """PNG, SVG, PDF and CSV of one figure below `out`/figures."""
    return style.save(
        figures.draw(figure.page, evidence, figure.rows), out / "figures" / figure.name, figure.csv
    )


def differences(report: Report, out: Path) -> list[str]:
    """List the committed files that differ from what the records give: one line each, none when all
    agree.
    """
    found = [
        line for name, text in report.texts.items() for line in text_difference(out / name, text)
    ]
    found += [
        line
        for figure in report.figures
        for line in figure_difference(out / "figures" / f"{figure.name}.svg", figure.csv)
    ]
    return found + stale(out)


def stale(out: Path, root: Path | None = None) -> list[str]:
    """Figures that no config names."""
    curves = (f"curves-{grid}" for grid in names("grids", root))
    asked = {"scorecard", *names("figures", root), *curves}
    return [
        f"figures/{path.name}: no figure config names it"
        for path in sorted((out / "figures").glob("*.csv"))
        if path.stem not in asked
    ]


def text_difference(path: Path, text: str) -> list[str]:
    """No line where the file holds this text."""
    if not path.is_file():
        return [f"{path}: missing"]
    if path.read_bytes() == text.encode():
        return []
    ours, theirs = text.splitlines(), path.read_text(encoding="utf-8").splitlines()
    shared = min(len(ours), len(theirs))
    line = next((i for i in range(shared) if ours[i] != theirs[i]), shared) + 1
    return [f"{path}:{line}: differs from what the records give"]


def figure_difference(svg: Path, csv_text: str) -> list[str]:
    """No line where the figure is there in every format and was drawn from this data."""
    if not all(svg.with_suffix(suffix).is_file() for suffix in (".svg", ".png", ".pdf")):
        return [f"{svg}: the figure is missing"]
    if style.drawn_from(svg) != style.data_hash(csv_text):
        return [f"{svg}: drawn from other data than the records give"]
    return []
