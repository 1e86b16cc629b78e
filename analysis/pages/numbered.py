"""The numbered tables and figures of `experiments/`, and what each one shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from study.errors import SpecError
from study.spec.report.claim import Claims
from study.spec.report.tables import FigurePage, TablePage
from study.spec.yaml.load import find, load, names
from study.spec.yaml.validation import validate

PageT = TypeVar("PageT", TablePage, FigurePage)
Kind = Literal["tables", "figures"]


def table_page(number: str, root: Path | None = None) -> TablePage:
    return _page(TablePage, "tables", number, root)


def figure_page(number: str, root: Path | None = None) -> FigurePage:
    return _page(FigurePage, "figures", number, root)


def table_pages(grid: str, root: Path | None = None) -> list[TablePage]:
    """Return every numbered table of a grid, by number."""
    return _of_grid(table_page, "tables", grid, root)


def figure_pages(grid: str, root: Path | None = None) -> list[FigurePage]:
    """Return every numbered figure of a grid, by number."""
    return _of_grid(figure_page, "figures", grid, root)


def claims_of(grid: str, root: Path | None = None) -> Claims | None:
    """Return the claims declared for a grid (`experiments/claims/<grid>.yaml`), if any."""
    if grid not in names("claims", root):
        return None
    page = validate(Claims, load(find("claims", grid, root)), "")
    if page.grid != grid:
        raise SpecError(
            f"claims/{grid}.yaml is about the grid {page.grid!r}",
            hint=f"name the page claims/{page.grid}.yaml",
        )
    return page


def _page(spec: type[PageT], kind: Kind, number: str, root: Path | None) -> PageT:
    known = names(kind, root)
    if number not in known:
        word = kind.removesuffix("s")
        shown = ", ".join(sorted(known, key=_order)) or "none"
        raise SpecError(
            f"there is no {word} {number}",
            hint=f"known {kind}: {shown} (below 20: the paper's numbers; from 20 on: our own)",
        )
    return validate(spec, load(find(kind, number, root)), "")


def _of_grid(
    read: Callable[[str, Path | None], PageT], kind: Kind, grid: str, root: Path | None
) -> list[PageT]:
    pages = [read(number, root) for number in sorted(names(kind, root), key=_order)]
    return [page for page in pages if page.grid == grid]


def _order(number: str) -> tuple[int, str]:
    return (int(number), "") if number.isdigit() else (10**6, number)
