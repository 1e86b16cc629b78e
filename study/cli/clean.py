"""`study clean`: list the files of a results folder that no run needs; remove them with --apply."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from study.cli import console
from study.errors import PrerequisiteError, StudyError
from study.record.store import Results
from study.runner.graph.lookup import known_grids
from study.runner.verbs.clean import Waste, references, remove, waste
from study.spec.grid.grid import load_grid
from study.spec.machine.profile import load_profile
from study.spec.yaml.load import names

_UNITS = ("B", "kB", "MB", "GB")


def clean(
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove it. Without this nothing is changed.")
    ] = False,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid", "-g", help="A grid page elsewhere that is still needed; repeatable."
        ),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="Only grids at these scales count as known; all by default."),
    ] = None,
    runs: Annotated[
        bool,
        typer.Option("--runs", help="Sealed runs in RESULTS/runs that no known grid plans, too."),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(help="The profile whose artifact and scratch folders are looked at."),
    ] = None,
    results: Annotated[
        Path, typer.Option(help="The results folder; its committed records are never touched.")
    ] = Path("results"),
) -> None:
    """List files that no sealed run, known grid or running process needs; --apply removes them.

    These are artifacts, checkpoints, logs and leftovers of killed processes.
    """
    folder, scales = Results.from_afar(results, load_profile(profile)), scale or names("scales")
    left_out: list[StudyError] = []
    named = [load_grid(page, one) for page in grid or [] for one in scale or ["lab"]]
    found = waste(
        folder,
        references(folder, [*named, *known_grids(scales, left_out)], sealed=not runs),
        runs=runs,
    )
    _show(found, results)
    for error in left_out if not all(item.sure for item in found) else ():
        console.warn(f"not planned here, so what it alone needs is listed too: {error.message}")
    if not found:
        console.say(f"nothing to clean in {results}")
    elif apply:
        _refuse_unsure(found, left_out)
        console.say(f"{_bytes(remove(folder, found))} freed")
    else:
        console.say(
            f"nothing was changed; to remove it: study clean --apply{' --runs' if runs else ''}"
        )


def _refuse_unsure(found: Sequence[Waste], left_out: Sequence[StudyError]) -> None:
    """Refuse to remove files that an unreadable grid may still need, unless its scale is left out
    by name.
    """
    unsure = [item for item in found if not item.sure]
    if unsure and left_out:
        what = f"{len(unsure)} of these may belong to a grid that cannot be planned here"
        hint = f"{left_out[0].hint}; or say which scales count: study clean --apply --scale lab"
        raise PrerequisiteError(what, hint=hint)


def _show(found: Sequence[Waste], results: Path) -> None:
    if not found:
        return
    places = [
        item.path.relative_to(results) if item.path.is_relative_to(results) else item.path
        for item in found
    ]
    rows = [
        (_bytes(item.size), item.what, item.why, place)
        for item, place in zip(found, places, strict=True)
    ]
    console.table(("size", "what", "why", "path"), rows, right=(0,))
    console.say(f"{len(found)} items, {_bytes(sum(item.size for item in found))}")


def _bytes(size: int) -> str:
    """Format bytes: 1234567 -> 1.2 MB."""
    number, unit = float(size), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{size} B"
