"""`study rehearse`: estimate what a grid needs on a named machine, and measure a few steps of every
stage kind.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.console import duration, say, table
from study.cli.options import GridOption, ScaleOption, parse_seeds
from study.errors import PrerequisiteError
from study.record.store import Results, read_record
from study.runner.estimate.check import Ratio, ratios
from study.runner.estimate.grid import Estimated, Rehearsal
from study.runner.estimate.grid import rehearse as estimate
from study.runner.estimate.sizes import Sizes
from study.runner.estimate.workload import Lengths
from study.runner.work.execute import Work
from study.spec.grid.cell import Cell
from study.spec.grid.grid import load_grid
from study.spec.machine.profile import load_profile

if TYPE_CHECKING:
    from study.train.rehearsal.bench import Measured

GB = 1e9
PARTS = (
    "weights",
    "optimiser",
    "gradients",
    "teacher",
    "activations",
    "bfloat16 copies",
    "logits",
    "cache",
    "gathered weights",
)
CHECKED_WITH = "cpu-core"


def rehearse(
    grid: GridOption,
    scale: ScaleOption = "paper",
    profile: Annotated[
        str, typer.Option(help="The machine: a profile with `hardware`, a file or a name.")
    ] = "h200",
    seeds: Annotated[str | None, typer.Option(help="Only these seeds, e.g. 0,1 or 0-4.")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Only these cells: globs over levels, factor=level, ids; comma: and."),
    ] = None,
    core: Annotated[
        bool, typer.Option("--core", help="Only the grid's core cells and seeds.")
    ] = False,
    prompt: Annotated[int, typer.Option(min=1, help="Assumed tokens per problem.")] = 256,
    solution: Annotated[
        int, typer.Option(min=0, help="Assumed tokens per worked solution.")
    ] = 1024,
    filled: Annotated[
        float,
        typer.Option(
            min=0.01, max=1.0, help="Assumed mean completion length, as a share of its limit."
        ),
    ] = 0.35,
    configs: Annotated[
        Path | None, typer.Option(help="A folder with NAME/config.json of hub models.")
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            min=0, help="Steps to measure per stage kind, with small random models; 0: none."
        ),
    ] = 2,
) -> None:
    """Estimate time, GPU memory, disk and cost of a grid; measure a few steps of every stage kind;
    refuse what will not fit.
    """
    loaded = load_grid(grid, scale)
    runs = loaded.runs(seeds=parse_seeds(seeds), core=core, only=only)
    page, lengths = load_profile(profile), Lengths(prompt, solution, filled)
    found, longest = (
        estimate(runs, page, Sizes(configs), each) for each in (lengths, Lengths(prompt, solution))
    )
    say(
        f"{loaded.name} at scale {loaded.scale.name} on {page.profile}: AN ESTIMATE of {len(runs)}"
        " runs",
        "bold",
    )
    show(found, longest)
    show_check()
    if steps:
        show_measured(_measured([run.cell for run in runs], steps))
    _refuse(found)


def show(found: Rehearsal, longest: Rehearsal) -> None:
    hardware, lengths = found.hardware, found.lengths
    inputs = (
        f"{hardware.memory_gb:g} GB, {hardware.bandwidth_gb_s:g} GB/s, {hardware.matrix_tflops:g}"
        " TFLOP/s"
    )
    say(f"{hardware.devices} x {hardware.device}: {inputs}")
    say(
        f"assumed: {lengths.prompt} tokens per problem, {lengths.solution} per solution,"
        f" completions at {lengths.filled:.0%} of their limit",
        "dim",
    )
    say()
    rows = [[one.name, f"{one.shape.parameters / 1e9:.3f}", one.source] for one in found.models]
    table(["model", "parameters, 1e9", "shape from"], rows, right=(1,))
    say()
    _show_work(found.stages)
    say()
    _show_memory(found)
    say()
    price = (
        "no price in the profile"
        if found.cost is None
        else f"{found.cost:,.0f} {hardware.currency}"
    )
    say(
        f"total: {found.device_hours:,.0f} device-hours, {price}; {found.wall_hours:,.0f} h on the"
        f" clock; {found.disk_gb:,.0f} GB of disk",
        "bold",
    )
    say(
        f"at most, with every completion at its limit: {longest.device_hours:,.0f} device-hours,"
        f" {longest.wall_hours:,.0f} h on the clock",
        "dim",
    )


def _groups(stages: Sequence[Estimated]) -> list[list[Estimated]]:
    """Group stages of one kind, model, size and duration into one line."""
    groups: dict[tuple[str, str, int, int], list[Estimated]] = {}
    for one in stages:
        groups.setdefault(
            (one.kind, one.model, round(one.wall_s), round(one.memory.peak)), []
        ).append(one)
    return list(groups.values())


def _show_work(stages: Sequence[Estimated]) -> None:
    rows: list[list[object]] = []
    for group in _groups(stages):
        one, hours = group[0], sum(each.device_s for each in group) / 3600
        parts = [
            f"{one.seconds[name] / 3600:.1f}" for name in ("generation", "scoring", "training")
        ]
        rows.append(
            [
                one.kind,
                one.model,
                len(group),
                one.gpus,
                duration(one.wall_s),
                *parts,
                f"{hours:,.0f}",
            ]
        )
    headers = [
        "stage",
        "model",
        "number",
        "GPUs",
        "each",
        "generation h",
        "scoring h",
        "training h",
        "device-hours",
    ]
    table(headers, rows, right=range(2, len(headers)))


def _show_memory(found: Rehearsal) -> None:
    used = [name for name in PARTS if any(one.memory.parts.get(name) for one in found.stages)]
    rows: list[list[object]] = []
    seen: set[tuple[object, ...]] = set()
    for group in _groups(found.stages):
        one = group[0]
        parts = [
            f"{one.memory.parts[name] / GB:.1f}" if name in one.memory.parts else ""
            for name in used
        ]
        row = [
            one.kind,
            one.model,
            *parts,
            f"{one.memory.peak / GB:.0f}",
            "yes" if one.fits else "NO",
        ]
        if tuple(row) not in seen:
            seen.add(tuple(row))
            rows.append(list(row))
    table(["GB on one device", "model", *used, "peak", "fits"], rows, right=range(2, len(used) + 3))
    say(
        "peak: what is always in memory + the larger of training and generation;"
        f" {found.hardware.reserve_gb:g} GB are reserved",
        "dim",
    )


def show_check() -> None:
    """Compare the formulas with committed lab records, if there are any."""
    files = sorted(Results(Path("results")).records.glob("*.json"))
    hardware = load_profile(CHECKED_WITH).hardware
    found = ratios((read_record(file) for file in files), hardware) if hardware else []
    say()
    if not found:
        say("not checked: there are no committed lab records in results/records", "dim")
        return
    say(
        f"checked against {len(files)} lab records, profile {CHECKED_WITH}:"
        f" {'; '.join(map(_ratio, found))}"
    )
    say(
        "(measured core seconds / estimated, median and range; the same formulas, another machine:"
        " no GPU has been measured)",
        "dim",
    )


def _ratio(one: Ratio) -> str:
    return f"{one.kind} {one.median:.2f} ({one.low:.2f} to {one.high:.2f})"


def _measured(cells: Sequence[Cell], steps: int) -> "list[Measured]":
    Work().require_packages()
    # the training stack takes 14 CPU seconds to import; `--help` and `--steps 0` do without it
    from study.train.rehearsal.measure import measure

    return measure(cells, steps)


def show_measured(found: "Sequence[Measured]") -> None:
    say()
    say(
        "measured here: the real stages with small random models of the true vocabulary, short"
        " completions, stand-in problems",
        "bold",
    )
    rows = [
        [
            one.kind,
            one.what,
            f"{one.parameters / 1e6:.0f}",
            one.steps,
            f"{one.seconds:.1f}",
            one.tokens,
            f"{one.peak_mb:,.0f}",
        ]
        for one in found
    ]
    table(
        ["stage", "what", "parameters, 1e6", "steps", "seconds", "tokens sampled", "peak MB"],
        rows,
        right=range(2, 7),
    )


def _refuse(found: Rehearsal) -> None:
    """Raise PrerequisiteError with everything that does not fit and the settings that change it."""
    lines = list(
        dict.fromkeys(
            f"  {one.kind} of {one.model}: {one.memory.peak / GB:.0f} GB of"
            f" {found.hardware.memory_gb:g} -> {'; or '.join(one.knobs)}"
            for one in found.too_large
        )
    )
    if not found.disk_fits:
        lines.append(
            f"  disk: {found.disk_gb:,.0f} GB of {found.hardware.disk_gb:g} -> profile `keep:"
            " {distill: none, sft: none}`"
        )
    if lines:
        hint = "change the profile (ids stay) or the experiment (ids change), and rehearse again"
        raise PrerequisiteError("\n".join(["this plan does not fit:", *lines]), hint=hint)
