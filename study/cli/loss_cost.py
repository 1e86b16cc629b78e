"""The output of `study losses --cost`: what every preset costs on this machine at a vocabulary."""

import os

import torch

from study.cli.console import say, table
from study.models.chunked.cost import Inputs, Row, Sizes, cost_rows

HEADERS = ("loss", "head", "needed", "taken", "MB")
LEGEND = (
    "needed   products of [N, H] with [H, V] that value and gradient need",
    "taken    CPU seconds, as a multiple of one such product measured just before",
    "MB       largest extra memory; a trained head's own gradient is {head} MB of it",
    "Without diagnostics, which need up to two products for each measured token",
    "(`measure_every` of a training). How the numbers are derived: docs/benchmarks.md",
)


def show_cost(sizes: Sizes) -> None:
    """Measure every preset, head frozen and trained, on one thread."""
    torch.set_num_threads(1)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    say(
        f"N = {sizes.tokens} tokens, H = {sizes.hidden}, V = {sizes.vocabulary:,}, K = {sizes.k},"
        f" float32, one thread{load}",
        "bold",
    )
    rows = [_cells(row) for row in cost_rows(Inputs(sizes))]
    table(HEADERS, rows, right=range(2, len(HEADERS)))
    say()
    for line in LEGEND:
        say(line.format(head=round(4 * sizes.hidden * sizes.vocabulary / 1e6)), "dim")


def _cells(row: Row) -> tuple[str, ...]:
    extra = "-" if row.extra_bytes is None else f"{row.extra_bytes / 1e6:.0f}"
    head = "trained" if row.trained else "frozen"
    return row.preset, head, str(row.needed), f"{row.taken:.2f}", extra
