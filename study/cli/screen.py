"""`study screen`: go through the declared reserve seeds of a grid, and say what to run next."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.claims.screening import Screen, Screened, screening_gates
from analysis.claims.screening import screen as look
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.pages.render import number
from study.cli.console import say, table
from study.cli.evidence import RecordsOption
from study.cli.options import GridOption, ResultsOption, ScaleOption
from study.errors import SpecError
from study.record.store import atomic_write
from study.spec.grid.grid import load_grid
from study.spec.report.claim import Claims, all_arms, load_claims
from study.spec.yaml.load import names


def screen(
    grid: GridOption,
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    records: RecordsOption = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Write everything to this file.")
    ] = None,
) -> None:
    """Show which reserve seeds pass the screening gates, which are the bases, and what to run
    next.
    """
    name = load_grid(grid, scale).name
    page = _page(name)
    assert page.screening is not None
    source = records or results / "runs"
    evidence = load(source, grid=grid, scale=scale, seeds=page.screening.seeds)
    found = look(page, evidence)
    _show(page, found)
    commands = _commands(page, found, evidence)
    for command in commands:
        say(command)
    if output is not None:
        value = json.dumps(_as_data(found, commands), indent=1, allow_nan=False) + "\n"
        atomic_write(output, value.encode())
        say(f"written: {output}", "dim")


def _page(grid: str) -> Claims:
    page = load_claims(grid) if grid in names("claims") else None
    if page is None or page.screening is None:
        raise SpecError(
            f"claims/{grid}.yaml declares no screening",
            hint="screening: {gates: [GATE], seeds: [20, 21, ...], bases: 10}  (docs/claims.md)",
        )
    return page


def _show(page: Claims, found: Screen) -> None:
    gates = found.declared.gates
    rows = [
        [seed.seed, *(_value(seed, gate) for gate in gates), _state(found, seed)]
        for seed in found.seeds
    ]
    table(["seed", *gates, ""], rows, right=range(1, len(gates) + 1))
    say()
    assert page.screening is not None
    for gate in screening_gates(page, page.screening):
        limits = (("at least", gate.at_least), ("at most", gate.at_most))
        said = ", ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None)
        say(f"{gate.id}: {gate.text} ({said})", "dim")
    say(found.rate_text)
    bases = ", ".join(map(str, found.bases)) or "none yet"
    say(f"bases: {bases} ({len(found.bases)} of {found.declared.bases})")


def _value(seed: Screened, gate: str) -> str:
    value = seed.values[gate]
    if value is None:
        return "-"
    return number(value, 3) + (" fails" if gate in seed.failed else "")


def _state(found: Screen, seed: Screened) -> str:
    if seed.seed in found.bases:
        return "base"
    if seed.passes is False:
        return "fails"
    if seed.passes is None:
        return "not needed" if found.complete else "not run"
    return "not needed" if found.complete else "passes, after a seed that is not run"


def _commands(page: Claims, found: Screen, evidence: Evidence) -> list[str]:
    """Return what to type next: the arms of the gates for the next seeds, or the whole grid."""
    if found.complete:
        seeds = ",".join(map(str, found.bases))
        return [f"next: study run {evidence.named} --seeds {seeds}"]
    if found.exhausted:
        return ["all reserve seeds have been looked at: declare more at the end of the list"]
    seeds = ",".join(map(str, found.next_seeds))
    cells = dict.fromkeys(
        evidence.cell_of(arm).cell_id
        for gate in screening_gates(page, found.declared)
        for arm in all_arms(gate)
    )
    return [f"next: study run {evidence.named} --seeds {seeds} --only {cell}" for cell in cells]


def _as_data(found: Screen, commands: Sequence[str]) -> dict[str, Any]:
    return {
        "seeds": [
            {"seed": seed.seed, "values": seed.values, "failed": seed.failed, "passes": seed.passes}
            for seed in found.seeds
        ],
        "looked_at": len(found.looked_at),
        "bases": found.bases,
        "complete": found.complete,
        "rate": found.rate_text,
        "next": list(commands),
    }
