"""Write what spans all grids - the scorecard, `report.md`, `report.html` - with the tables and
figures of each grid, or compare what is written with the records.
"""

from collections.abc import Sequence
from pathlib import Path

from analysis import figures
from analysis.claims.rules import SECOND
from analysis.claims.scorecard import firmness, tally
from analysis.figures import scorecard as scorecard_figure
from analysis.pages import html, report, style
from analysis.pages.overview import CHANGED_PAGE, markdown, scored
from analysis.pages.report import Part
from analysis.pages.tables import count, scale_note
from analysis.verdicts import changes

SCORECARD = "scorecard"
TITLE = "On-policy distillation: the paper's findings at a small scale"


def write(made: Sequence[Part], target: Path) -> None:
    """Every file below `target`: the grids' own, then what spans them."""
    for part in made:
        report.write(part.report, part.evidence, target)
    _write_scorecard(made, target)
    for name, page in _changed(made).items():
        (target / name).write_text(page, encoding="utf-8", newline="\n")
    text = markdown(made)
    (target / "report.md").write_text(text, encoding="utf-8", newline="\n")
    digest = html.digest_of(text, _plotted(made))
    page = html.page(text, title=TITLE, folder=target, digest=digest)
    (target / "report.html").write_text(page, encoding="utf-8", newline="\n")


def differences(made: Sequence[Part], target: Path) -> list[str]:
    """One line per file that is not what the records give; the HTML is compared by what it was made
    from, a figure by its data.
    """
    found = [line for part in made for line in report.differences(part.report, target)]
    csv = _scorecard_csv(made)
    if csv:
        stem = target / "figures" / SCORECARD
        found += report.text_difference(stem.with_suffix(".csv"), csv)
        found += report.figure_difference(stem.with_suffix(".svg"), csv)
    for name, page in _changed(made).items():
        found += report.text_difference(target / name, page)
    text, whole = markdown(made), target / "report.html"
    found += report.text_difference(target / "report.md", text)
    if not whole.is_file() or html.made_from(whole) != html.digest_of(text, _plotted(made)):
        found.append(f"{whole}: made from other text or data than the records give")
    return sorted(set(found))


def _changed(made: Sequence[Part]) -> dict[str, str]:
    """The page of verdicts that the second rules changed; none under the first rules."""
    study = made[0].study
    if study is None or made[0].rules != SECOND or not study.evidence:
        return {}
    return {CHANGED_PAGE: changes.markdown(study)}


def _write_scorecard(made: Sequence[Part], target: Path) -> None:
    """PNG, SVG, PDF and CSV, where a finding has a verdict."""
    rows = scored(made)
    if not rows:
        return
    bases = {base for row in rows if row.verdict for base in row.verdict.differences}
    scope = f"{scale_note(made[0].evidence)} {count(len(bases), 'base student')}."
    note = f"{firmness(rows)} {scope}".strip()
    drawn = scorecard_figure.draw(scorecard_figure.plotted(rows), tally(rows), note)
    style.save(drawn, target / "figures" / SCORECARD, _scorecard_csv(made))


def _scorecard_csv(made: Sequence[Part]) -> str:
    rows = scored(made)
    if not rows:
        return ""
    return figures.csv_text(scorecard_figure.Point, scorecard_figure.plotted(rows))


def _plotted(made: Sequence[Part]) -> dict[str, str]:
    """Name of a figure -> the data it was drawn from."""
    drawn = {figure.name: figure.csv for part in made for figure in part.report.figures}
    csv = _scorecard_csv(made)
    return drawn | ({SCORECARD: csv} if csv else {})
