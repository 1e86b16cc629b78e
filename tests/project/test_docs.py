"""The front door: the README is short and leads to everything, and every page of `docs/` is reached
from its list in reading order.
"""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
MOST_LINES = 150
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    """Targets within the repository, without their anchors."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [target.partition("#")[0] for target in found if not target.startswith(("http", "#"))]


def test_every_page_is_reached_from_the_list_in_reading_order() -> None:
    listed = links(ROOT / "docs" / "README.md")
    others = [page.name for page in PAGES if page.name != "README.md"]
    assert [name for name in others if listed.count(name) != 1] == []


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_every_link_leads_somewhere(page: Path) -> None:
    gone = [target for target in links(page) if not (page.parent / target).exists()]
    assert gone == []


def test_the_readme_leads_in_a_few_lines() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert {"docs/README.md", "results/report.md", "docs/findings.md"} <= set(
        links(ROOT / "README.md")
    )
    doors = text.partition("## I want to ...")[2].partition("\n## ")[0]
    rows = [line for line in doors.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 6
    for row in rows:
        assert re.search(r"`(study|make) [\w-]+", row), row
        assert LINK.search(row), row
