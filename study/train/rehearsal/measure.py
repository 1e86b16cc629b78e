"""Measure what `study rehearse` extrapolates: each kind of stage, evaluation and probe of a grid
once, on the widest random models that fit into memory.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from study.spec.grid.cell import Cell
from study.spec.identity import parents
from study.spec.recipe.model import Model
from study.train.rehearsal.bench import Bench, Measured, moves_with_student

VOCABULARY = 151_936
HIDDEN = (1024, 512, 256, 128, 64)  # widths that are tried, from the widest; memory decides
# 4-byte values per weight: student and teacher, gradients, Adam, and what else a step holds
COPIES = 12
LARGEST = 300_000_000


def measure(
    cells: Sequence[Cell], steps: int, vocabulary: int = VOCABULARY, hidden: int | None = None
) -> list[Measured]:
    """Measure every stage kind of these cells once (distillation once per support), an evaluation
    and each probe kind.

    A failure of a stage is raised unchanged: a rehearsal that hides one is worth nothing.
    """
    torch.set_num_threads(1)  # as in a stage
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder), steps, vocabulary, hidden or width_that_fits(vocabulary, free_bytes())
        )
        found = [bench.stage(recipe) for recipe in distinct(cells)]
        found += [bench.evaluation(cells[0])]
        probes = {type(probe): (probe, cell) for cell in cells for probe in cell.probes}
        return found + [bench.probe(probe, cell) for probe, cell in probes.values()]


def distinct(cells: Sequence[Cell]) -> list[Model]:
    """Return the recipes that differ in code: kind, corpus, support and divergence of the
    objective, whether privileged information is seen.
    """
    found: dict[tuple[object, ...], Model] = {}
    for cell in cells:
        for recipe in _recipes(cell.model):
            objective, corpus = getattr(recipe, "objective", None), getattr(recipe, "corpus", None)
            key = (
                recipe.kind,
                getattr(corpus, "kind", ""),
                getattr(objective, "support", ""),
                getattr(recipe, "privileged", None) is not None,
                moves_with_student(recipe),
            )
            found.setdefault(key, recipe)
    return list(found.values())


def _recipes(model: Model) -> Iterator[Model]:
    for parent in parents(model).values():
        yield from _recipes(parent)
    if hasattr(model, "training"):
        yield model


def width_that_fits(vocabulary: int, free: float) -> int:
    """Return the widest of `HIDDEN` whose models, at most 0.3e9 weights each, fit for training in
    half of the free memory.
    """
    for hidden in HIDDEN:
        weights = weights_of(vocabulary, hidden)
        if weights <= LARGEST and COPIES * 4 * weights <= free / 2:
            return hidden
    return HIDDEN[-1]


def weights_of(vocabulary: int, hidden: int) -> int:
    """Count the weights of a tied head and two blocks with a feed-forward width of three times the
    hidden one.
    """
    return vocabulary * hidden + 2 * (12 * hidden * hidden)


def free_bytes() -> float:
    """Return the free memory of this machine in bytes, by the
    kernel's count; 4 GB where it gives none.
    """
    page = Path("/proc/meminfo")
    lines = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    return next(
        (float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 4e9
    )
