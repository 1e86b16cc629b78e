"""Resolve command-line selectors to arms.

a grid's name               every cell of it with a record, matched with the other side by cell id,
                            else by labels
a cell of --grid            its id, the last 8 characters of it, or globs over its levels; all its
                            recorded bases
a run                       its id, or its end from the hash on (7705ee10-s0): one base
a folder                    results, records, or what `study evaluate` wrote
joined by commas            files (graded completions, evaluations, generations) or folders of
                            evaluations: the bases of one arm
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from analysis.compare.arms import Arm, of_records
from analysis.compare.files import of_file
from study.errors import IncompleteResults, PrerequisiteError, SpecError
from study.record.schema import Record
from study.record.store import read_record, record_paths
from study.spec.grid.grid import Grid, load_grid, named
from study.spec.grid.labelled import LabelledCell
from study.spec.identity import parts_of_run
from study.spec.yaml.load import names


@dataclass(frozen=True)
class Place:
    """Where selectors are resolved."""

    grid: str = "math"
    scale: str = "lab"
    results: Path = Path("results")
    seeds: tuple[int, ...] | None = None
    relaxed: bool = False  # of graded files


def arms_of(text: str, place: Place) -> list[Arm]:
    """The arms of one side, of the wanted seeds.

    SpecError for a name that means nothing, IncompleteResults for one without records.
    """
    arms = _arms(text, place)
    if place.relaxed and any(scores.ids is None for arm in arms for scores in arm.bases):
        raise SpecError(
            f"{text}: records hold strict outcomes only",
            hint="leave --relaxed out, or compare graded files",
        )
    return arms


def _arms(text: str, place: Place) -> list[Arm]:
    parts = [Path(part).expanduser() for part in text.split(",")]
    if all(part.is_file() for part in parts):
        return [_joined([_file(part, text, place.relaxed) for part in parts], text)]
    if len(parts) == 1 and parts[0].is_dir():
        return _folder(parts[0], place)
    if all(part.is_dir() for part in parts):
        return _of_folders([_folder(part, place) for part in parts], text)
    if any(part.suffix in (".jsonl", ".json", ".csv", ".gz") for part in parts):
        gone = next(part for part in parts if not part.is_file())
        raise PrerequisiteError(
            f"{gone} is not a file",
            hint="several bases of one arm are joined by commas: a-s0.jsonl,a-s1.jsonl",
        )
    return _recorded(text, place)


def _of_folders(found: Sequence[Sequence[Arm]], name: str) -> list[Arm]:
    """Several evaluations of one arm: for each task its bases together."""
    tasks = [arm.task for arm in found[0]]
    if any([arm.task for arm in arms] != tasks for arms in found):
        raise SpecError(
            f"{name}: the folders do not hold the same tasks",
            hint="one model's evaluations, the same tasks in each",
        )
    return [_joined(arms, name) for arms in zip(*found, strict=True)]


def _file(path: Path, name: str, relaxed: bool) -> Arm:
    if path.name == "record.json" or (path.suffix == ".json" and path.parent.name == "records"):
        return of_records([read_record(path)], name=name)[0]
    return of_file(path, name, relaxed=relaxed)


def _joined(arms: Sequence[Arm], name: str) -> Arm:
    """Several files of one arm: their bases together.

    What they do not agree on is not known of the arm.
    """
    first = arms[0]
    tasks = {arm.task for arm in arms}
    if len(tasks) > 1:
        raise SpecError(
            f"{name}: files of several tasks ({', '.join(map(str, sorted(map(str, tasks))))})",
            hint="one task for an arm",
        )
    shared = {
        key: text
        for key, text in first.recipe.items()
        if all(arm.recipe.get(key) == text for arm in arms)
    }
    return replace(
        first, bases=tuple(scores for arm in arms for scores in arm.bases), recipe=shared
    )


def _folder(folder: Path, place: Place) -> list[Arm]:
    """Records, else evaluations, else nothing that can be compared."""
    records = _records(folder)
    if records:
        return _by_cell(_wanted(records, place))
    evaluations = sorted([*folder.glob("evaluation.json"), *folder.glob("*/evaluation.json")])
    if evaluations:
        return [_with_lengths(path, str(folder), place.relaxed) for path in evaluations]
    hint = "give a results folder, a folder of records, or what study evaluate wrote"
    raise PrerequisiteError(f"{folder} holds no records and no evaluations", hint=hint)


def _with_lengths(path: Path, name: str, relaxed: bool) -> Arm:
    """An evaluation, with the lengths of its correct completions where its generations are next to
    it.
    """
    arm, generations = of_file(path, name, relaxed=relaxed), path.with_name("generations.jsonl.gz")
    if not generations.is_file():
        return arm
    stored = of_file(generations, name).bases[0]
    return replace(
        arm, bases=tuple(replace(base, right_tokens_P=stored.right_tokens_P) for base in arm.bases)
    )


def _records(folder: Path) -> list[Record]:
    """A run made here replaces the committed one."""
    paths = [*record_paths(folder / "records"), *record_paths(folder / "runs")] or _plain(folder)
    found = {path.parent.name if path.name == "record.json" else path.stem: path for path in paths}
    return [read_record(found[name]) for name in sorted(found)]


def _plain(folder: Path) -> list[Path]:
    """Records in the folder itself; a folder of evaluations holds JSON of its own."""
    return [
        path
        for path in [*record_paths(folder), *folder.glob("record.json")]
        if parts_of_run(_run(path))
    ]


def _run(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem


def _by_cell(records: Sequence[Record]) -> list[Arm]:
    cells: dict[str, list[Record]] = {}
    for record in records:
        cells.setdefault(record.cell, []).append(record)
    return [arm for cell, rows in sorted(cells.items()) for arm in of_records(rows, name=cell)]


def _wanted(records: Sequence[Record], place: Place) -> list[Record]:
    kept = [record for record in records if place.seeds is None or record.seed in place.seeds]
    if not kept:
        there = sorted({record.seed for record in records})
        raise IncompleteResults(
            f"no record of the seeds {list(place.seeds or ())}",
            hint=f"there are: --seeds {','.join(map(str, there))}",
        )
    return kept


def _recorded(text: str, place: Place) -> list[Arm]:
    records = _records(place.results) if place.results.is_dir() else []
    if text in names("grids") and not _one_run(text, records):
        grid = load_grid(text, place.scale)
        arms = [arm for cell in grid.cells for arm in _cell(cell, _of_cell(cell, records, place))]
        return arms or _missing(text, grid, place)
    if run := _one_run(text, records):
        return of_records([run], name=text)
    found, grid = _named(text, place)
    return [
        replace(arm, name=text) for arm in _cell(found, _of_cell(found, records, place))
    ] or _missing(found.text, grid, place)


def records_of(text: str, place: Place) -> list[Record]:
    """The records of one cell or one run, by the names above."""
    records = _records(place.results) if place.results.is_dir() else []
    if run := _one_run(text, records):
        return [run]
    found, grid = _named(text, place)
    return _of_cell(found, records, place) or _missing(found.text, grid, place)


def _named(text: str, place: Place) -> tuple[LabelledCell, Grid]:
    grid = load_grid(place.grid, place.scale)
    try:
        return grid.find_cell(text), grid
    except SpecError as error:
        hint = (
            f"{error.hint}; or an existing file or folder, a run, a grid"
            f" ({', '.join(names('grids'))})"
        )
        what = error.message.replace("--only ", "").replace(
            "selects no run of this grid", "is no cell of it"
        )
        raise SpecError(
            f"{text!r} is not a file or folder here, nor one cell of grid {place.grid}: {what}",
            hint=hint,
        ) from error


def _one_run(text: str, records: Sequence[Record]) -> Record | None:
    fitting = [
        record
        for record in records
        if re.search(r"s[0-9]+(r[0-9]+)?$", text)
        and (record.run == text or record.run.endswith(f"-{text}"))
    ]
    return fitting[0] if len(fitting) == 1 else None


def _of_cell(cell: LabelledCell, records: Sequence[Record], place: Place) -> list[Record]:
    """The records of a cell, the first training seed of each base."""
    return [
        record
        for record in records
        if record.cell == cell.cell_id
        and (place.seeds is None or record.seed in place.seeds)
        and not record.repeat
    ]


def _cell(cell: LabelledCell, records: Sequence[Record]) -> list[Arm]:
    return (
        of_records(records, name=",".join(cell.labels.values()), labels=cell.text)
        if records
        else []
    )


def _missing(what: str, grid: Grid, place: Place) -> NoReturn:
    seeds = "" if place.seeds is None else f" --seeds {','.join(map(str, place.seeds))}"
    only = "" if "=" not in what else f' --only "{what}"'
    hint = (
        f"study run {named(grid.name, grid.scale.name)}{only}{seeds}; records elsewhere: --results"
        " FOLDER"
    )
    of = f" of the seeds {list(place.seeds)}" if place.seeds else ""
    raise IncompleteResults(f"{what}: no record in {place.results}{of}", hint=hint)
