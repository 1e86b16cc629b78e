"""A grid: one question as base settings x factors with named levels, minus exclusions, plus
inclusions, x seeds.

    name, question
    base: {student, teacher, pi, objective, length, data, evaluation, also, probes}
        names that the scale binds (objective and pi may be written out);
        model: a recipe of the scale, evaluated as it is, without the settings of a distillation
    factors: {key of base: {level label: value}}
        or a list, where the label is the value
        {any other name: {level label: {key of base: value, ...}}}
        levels that set several keys at once
    exclude, include: label combinations; a label may be a list of labels; an exclusion names some
        factors, an inclusion all of them
    repeat: 2       training seeds on each base, 1 by default; a stage that another cell starts from
        is shared by the repeats, and the core subset has one
    seeds: [0, 1, 2]                core: {select: label combinations, seeds: [0]}
    scales: [lab]   the scales that bind it, if not all do (study/spec/grid/unbound.py)
    compose: [{grid: name, core: true}, ...]
        instead of base and factors: the cells of other grids, each once

Labels are row names for people and never part of identity: two combinations that give one cell are
one cell.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path

from study.errors import SpecError
from study.spec.grid.binding import Binder
from study.spec.grid.cell import Cell, models_beside
from study.spec.grid.factors import (
    BasePage,
    GridPage,
    Labels,
    Member,
    levels,
)
from study.spec.grid.labelled import LabelledCell, LabelledRun, each_once
from study.spec.grid.patterns import label_words, matches, read_patterns, require_complete, selects
from study.spec.grid.scale import Scale, load_scale
from study.spec.grid.unbound import require_bound
from study.spec.identity import (
    Repeatable,
    canonical,
    cell_id,
    parents,
    repeat_of,
    repeated,
    run_name,
)
from study.spec.yaml.load import Located, find, load, suggestion
from study.spec.yaml.validation import located_error, validate

DEFAULT_SCALE = "lab"


def named(grid: str, scale: str) -> str:
    """Return how a suggested command names a grid: without its scale it would find the same grid of
    the lab.
    """
    return f"--grid {grid}" + ("" if scale == DEFAULT_SCALE else f" --scale {scale}")


class Grid:
    def __init__(
        self, page: Located, scale: Scale, members: "Sequence[tuple[Member, Grid]]" = ()
    ) -> None:
        self.page = page
        self.shape = validate(GridPage, page, "")
        self.scale = scale
        self.members = members
        self.name = self.shape.name
        self.question = self.shape.question
        self.seeds = tuple(self.shape.seeds)
        self.core = self.shape.core
        nodes = page.get("factors")
        self.factors = factors_of_members(members) | {
            name: levels(name, node) for name, node in (nodes.entries if nodes else {}).items()
        }

    @cached_property
    def cells(self) -> tuple[LabelledCell, ...]:
        """Return all cells, each once, in the order of the file."""
        return each_once(self._composed() if self.members else self._bound())

    def _composed(self) -> Iterator[LabelledCell]:
        for member, grid in self.members:
            for cell in grid.core_cells if member.core else grid.cells:
                yield replace(
                    cell,
                    labels=member_labels(grid, cell.labels),
                    also=tuple(member_labels(grid, ls) for ls in cell.also),
                )

    def _bound(self) -> Iterator[LabelledCell]:
        binder = Binder(self.scale)
        for labels in self._combinations():
            built = binder.cell(self._settings(labels))
            if repeat_of(built.spec):
                raise located_error(
                    built.node, "model.repeat", "is set by a grid: write `repeat: 2` there"
                )
            yield LabelledCell(built.spec, cell_id(built.spec), labels, built.node)

    def _combinations(self) -> list[Labels]:
        every = [
            dict(zip(self.factors, levels, strict=True))
            for levels in product(*self.factors.values())
        ]
        excluded = read_patterns(self.page.get("exclude"), "exclude", self.factors)
        kept = [
            labels for labels in every if not any(matches(labels, pattern) for pattern in excluded)
        ]
        included = read_patterns(self.page.get("include"), "include", self.factors)
        require_complete(self.page.get("include"), "include", self.factors)
        wanted = [labels for pattern in included for labels in every if matches(labels, pattern)]
        return kept + [labels for labels in wanted if labels not in kept]

    def _settings(self, labels: Mapping[str, str]) -> dict[str, Located]:
        base = self.page.get("base")
        settings = {"pi": Located("none", "default")} | (base.entries if base else {})
        for factor, level in labels.items():
            node = self.factors[factor][level]
            settings |= {factor: node} if factor in BasePage.model_fields else node.entries
        return settings

    @cached_property
    def core_cells(self) -> tuple[LabelledCell, ...]:
        """Return the small subset that the first command of a new user runs."""
        core = self.page.get("core")
        if core is None:
            raise SpecError(
                f"the grid {self.name!r} has no core subset",
                hint="add `core: {select: [...], seeds: [0]}` or run it whole",
            )
        patterns = read_patterns(core.entries["select"], "core.select", self.factors)
        return tuple(
            c
            for c in self.cells
            if any(matches(labels, p) for labels in (c.labels, *c.also) for p in patterns)
        )

    def runs(
        self, seeds: Sequence[int] | None = None, core: bool = False, only: str | None = None
    ) -> tuple[LabelledRun, ...]:
        """Return the runs, seed by seed within a cell, the repeats of a seed after each other. Ids
        are hashed once per cell.

        only: comma-separated globs that must all match: a level (`biased_*`), `factor=level`, a
        cell id or a run id.
        """
        cells = self.core_cells if core else self.cells
        chosen = (
            tuple(seeds)
            if seeds is not None
            else tuple(self.core.seeds)
            if core and self.core
            else self.seeds
        )
        runs = tuple(
            LabelledRun(run_name(c.cell_id, seed, repeat), cell, c.labels, seed, c.cell_id)
            for c in cells
            for repeats in [self._repeats(c.cell, core)]
            for seed in chosen
            for repeat, cell in enumerate(repeats)
        )
        return runs if only is None else self._selected(runs, only)

    def _repeats(self, cell: Cell, core: bool) -> list[Cell]:
        """Return a cell with each of its training seeds.

        Only a stage of its own is repeated: weights that are given, the bases, and a model that
        another cell of the grid starts from or looks at are the same for all repeats.
        """
        number = 1 if core else self.shape.repeat
        if number == 1 or not isinstance(cell.model, Repeatable):
            return [cell]
        if canonical(cell.model) in self._shared:
            return [cell]
        return [repeated(cell, repeat) for repeat in range(number)]

    @cached_property
    def _shared(self) -> set[str]:
        """Return the canonical text of every model that is behind or next to that of a cell."""
        found: set[str] = set()
        open_ = [
            model
            for labelled in self.cells
            for model in (*parents(labelled.cell.model).values(), *models_beside(labelled.cell))
        ]
        while open_:
            model = open_.pop()
            if canonical(model) not in found:
                found.add(canonical(model))
                open_ += parents(model).values()
        return found

    def _selected(
        self, runs: tuple[LabelledRun, ...], only: str, typed: str = "--only "
    ) -> tuple[LabelledRun, ...]:
        """Return the runs that `only` selects. typed: the option before it, for the message."""
        also = {c.cell_id: c.also for c in self.cells}
        terms = [term.strip() for term in only.split(",") if term.strip()]
        kept = tuple(
            r
            for r in runs
            if any(
                selects(terms, [r.cell_id, r.run_id, *label_words(ls)])
                for ls in (r.labels, *also[r.cell_id])
            )
        )
        if not kept:
            levels = [level for levels in self.factors.values() for level in levels]
            unknown = next(
                (t.rpartition("=")[2] for t in terms if t.rpartition("=")[2] not in levels), ""
            )
            hint = f"levels of {self.name}: {', '.join(levels)}"
            raise SpecError(
                f"{typed}{only!r} selects no {'run' if typed else 'cell'} of this"
                f" grid{suggestion(unknown, levels) if unknown else ''}",
                hint=hint,
            )
        return kept

    def find_cell(self, name: str) -> LabelledCell:
        """Return one cell by id, by its 8 hex digits, or by label globs as in `runs(only=...)`."""
        exact = [c for c in self.cells if name in (c.cell_id, c.cell_id.rpartition("-")[2])]
        if exact:
            return exact[0]
        first = self._selected(self.runs(seeds=self.seeds[:1]), name, typed="")
        ids = dict.fromkeys(run.cell_id for run in first)
        if len(ids) > 1:
            shown = "; ".join(c.text for c in self.cells if c.cell_id in ids)
            raise SpecError(f"{name!r} matches {len(ids)} cells", hint=f"name one of: {shown}")
        return next(c for c in self.cells if c.cell_id in ids)


def member_labels(grid: Grid, labels: Labels) -> Labels:
    """Return how a composed grid names a cell: the grid it comes from, and its levels there in one
    word.
    """
    return {"grid": grid.name, "cell": " ".join(labels.values())}


def factors_of_members(members: Sequence[tuple[Member, Grid]]) -> dict[str, dict[str, Located]]:
    """Return the two factors of a composed grid; none for a grid of its own."""
    if not members:
        return {}
    cells = {
        member_labels(grid, cell.labels)["cell"]: cell.node
        for _, grid in members
        for cell in grid.cells
    }
    return {"grid": {grid.name: grid.page for _, grid in members}, "cell": cells}


def load_grid(name: str, scale: Scale | str = "lab", root: Path | None = None) -> Grid:
    """Load a grid and bind it to a scale.

    Errors: `SpecError` with file and line, or the known grids and scales; `NotBound`.
    """
    page = load(find("grids", name, root))
    bound = scale if isinstance(scale, Scale) else load_scale(scale, root)
    shape = validate(GridPage, page, "")
    if shape.compose and (page.get("base") or page.get("factors")):
        raise located_error(
            page, "compose", "a grid is composed of others, or has base and factors of its own"
        )
    require_bound(page, bound)
    return Grid(
        page, bound, [(member, load_grid(member.grid, bound, root)) for member in shape.compose]
    )
