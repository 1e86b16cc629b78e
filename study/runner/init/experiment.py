"""`study init`: make an experiment of a user's student, teacher and problems, checked before
anything starts.

    DIR/data/*.jsonl                                      the rows that will be used
    DIR/experiments/scales/<name>.yaml                    a short scale that extends another
    DIR/experiments/{grids,claims}/will-it-help.yaml      the question, and its claims

All of it is written at once, after it was bound in a temporary folder; if rows have faults, nothing
is written.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError, SpecError
from study.record.store import Results
from study.runner.init.findings import Finding, Place
from study.runner.init.models import OwnModel, own_model
from study.runner.init.prompts import Lengths, Prompts, read_prompts
from study.runner.init.repeats import shared_prompts
from study.runner.init.rows import Rows, read_rows, unreadable_answers
from study.runner.init.scale import (
    GRID,
    Size,
    claims_page,
    defaults,
    grid_page,
    laid_over,
    scale_page,
    sizes,
)
from study.spec.grid.grid import load_grid
from study.spec.grid.scale import Scale, load_scale
from study.spec.recipe.data import JsonlData
from study.spec.recipe.user_code import is_code

SELECTION = 64  # problems of the selection split, where there are enough
FILES = {
    "train": "data/train.jsonl",
    "held_out": "data/held-out.jsonl",
    "off_target": "data/off-target.jsonl",
}


@dataclass(frozen=True)
class Wanted:
    """The user's request.

    data            how rows are read; its file names are not used
    files           role -> where the rows are now
    keep_repeats    a problem that occurs twice counts twice
    """

    folder: Path
    name: str
    extends: str
    student: str
    teacher: str
    data: JsonlData
    files: Mapping[str, Path]
    grader: str
    size: Size
    keep_repeats: bool = False


@dataclass(frozen=True)
class Looked:
    """The result of `look`.

    rows: by role. lengths: of the models whose tokenizer is available. notes: what could not be
    checked, and what is not a fault but worth knowing.
    """

    rows: Mapping[str, Rows]
    models: Mapping[str, OwnModel]
    lengths: tuple[Lengths, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    scale: Scale

    @property
    def splits(self) -> dict[str, int]:
        return {role: len(rows.problems) for role, rows in self.rows.items()}


def look(wanted: Wanted, results: Results) -> Looked:
    """Read rows and tokenizers; write nothing.

    Errors: a file or a model that is not available, two models without common tokens.
    """
    scale = load_scale(wanted.extends)
    models = {
        role: own_model(name, results, scale)
        for role, name in (("student", wanted.student), ("teacher", wanted.teacher))
    }
    rows = {
        role: read_rows(
            path, wanted.data, label=_label(path, wanted), keep_repeats=wanted.keep_repeats
        )
        for role, path in wanted.files.items()
    }
    findings = [finding for each in rows.values() for finding in each.findings]
    if "held_out" in rows:
        train = rows["train"]
        findings += shared_prompts(train.problems, rows["held_out"].problems, train.file)
    for each in rows.values():
        findings += unreadable_answers(each, wanted.grader)
    prompts, notes = _prompts(models, list(rows.values()), scale, wanted.data)
    for each in prompts:
        findings += each.findings
        findings += each.lengths.too_long(_longest_completion(scale, wanted.size))
        notes += each.notes
    lengths = tuple(each.lengths for each in prompts)
    return Looked(rows, models, lengths, tuple(findings), notes, scale)


def _label(path: Path, wanted: Wanted) -> str:
    """Return the file's name for messages, with its folder if two files have one name."""
    names = [file.name for file in wanted.files.values()]
    return path.name if names.count(path.name) == 1 else str(path)


def _longest_completion(scale: Scale, size: Size) -> int:
    was = defaults(scale)
    return size.completion_tokens or max(was["tokens"], was["evaluated"])


def _prompts(
    models: Mapping[str, OwnModel], rows: Sequence[Rows], scale: Scale, data: JsonlData
) -> tuple[list[Prompts], tuple[str, ...]]:
    """Return (the prompts as each tokenizer reads them, what could not be measured)."""
    here = {role: model.folder for role, model in models.items() if model.folder is not None}
    absent = tuple(
        f"{m.name}: its tokenizer is not on this machine, so prompts were not measured"
        for m in models.values()
        if m.folder is None
    )
    if len(here) == len(models):
        _require_same_tokens(*here.values())
    if not any(each.problems for each in rows):
        return [], absent
    thinking = defaults(scale)["thinking"]
    found = [read_prompts(role, folder, rows, thinking, data) for role, folder in here.items()]
    return found, absent


def _require_same_tokens(student: Path, teacher: Path) -> None:
    # transformers takes seconds to import; only a model with a folder needs it.
    from study.models.loading import load_tokenizer, require_same_tokens

    require_same_tokens(load_tokenizer(student), load_tokenizer(teacher))


def require_free(wanted: Wanted, *, force: bool) -> None:
    """Raise SpecError, before rows are read, if a path cannot be written or (unless `force`) would
    be overwritten.
    """
    folder = wanted.folder.resolve()
    near = next(place for place in (folder, *folder.parents) if place.exists())
    if not near.is_dir() or not os.access(near, os.W_OK):
        problem = "cannot be written to" if near.is_dir() else "is a file"
        raise SpecError(f"{near} {problem}", hint="choose another folder for the new experiment")
    there = [] if force else [name for name in _names(wanted) if (folder / name).exists()]
    if there:
        hint = "choose another folder, or --force to overwrite them"
        raise SpecError(f"{wanted.folder} holds {', '.join(there)} already", hint=hint)


def _names(wanted: Wanted) -> list[str]:
    """Return the paths below DIR that are written."""
    pages = (f"scales/{wanted.name}", f"grids/{GRID}", f"claims/{GRID}")
    return [
        *(FILES[role] for role in wanted.files),
        *(f"experiments/{page}.yaml" for page in pages),
    ]


def pages(wanted: Wanted, looked: Looked, leave_out: bool) -> dict[str, str]:
    """Return every file to write: path below DIR -> text.

    leave_out: skip the rows that have a fault.
    """
    bad = (
        {place for finding in looked.findings for place in finding.places}
        if leave_out
        else set[Place]()
    )
    kept = {
        role: [line for place, line in rows.lines.items() if place not in bad]
        for role, rows in looked.rows.items()
    }
    empty = next((looked.rows[role].file for role, lines in kept.items() if not lines), None)
    if empty:
        raise PrerequisiteError(
            f"{empty}: every row has a fault", hint="without --leave-out the faults are listed"
        )
    off_target = "off_target" in kept
    texts = {FILES[role]: "\n".join(lines) + "\n" for role, lines in kept.items()}
    texts[f"experiments/scales/{wanted.name}.yaml"] = _scale_text(
        wanted, looked, len(kept["train"])
    )
    texts[f"experiments/grids/{GRID}.yaml"] = grid_page(off_target)
    texts[f"experiments/claims/{GRID}.yaml"] = claims_page(off_target)
    return texts


def _scale_text(wanted: Wanted, looked: Looked, train: int) -> str:
    size = sizes(
        looked.scale, wanted.size, max((each.longest for each in looked.lengths), default=0)
    )
    grader = _grader_entry(wanted.grader)
    asked: dict[str, Any] = {"task": "boxed_math", "data": "math", "grader": grader}
    own: dict[str, dict[str, Any]] = {
        "data": {
            "math": _source(
                wanted.data,
                FILES["train"],
                FILES["held_out"] if "held_out" in wanted.files else None,
                train,
            )
        },
        "models": {
            "student": looked.models["student"].entry,
            "rlvr": looked.models["teacher"].entry,
        },
        "evaluations": {"math": asked},
        "grpo": {"grader": grader},
    }
    # The curve's own rule requires a box, which an answer by another rule may not have.
    if is_code(wanted.grader):
        own |= {
            "grpo": {"grader": grader, "curve": {"grader": grader}},
            "distill": {"curve": {"grader": grader}},
        }
    if "off_target" in wanted.files:
        own["data"]["off_target"] = _source(
            wanted.data, FILES["off_target"], FILES["off_target"], train
        )
        own["evaluations"]["off_target"] = asked | {"data": "off_target", "privileged": "none"}
    notes = {
        "data.math": "its files are looked for below STUDY_DATA, then below the working folder",
        "models.student": looked.models["student"].name,
        "models.rlvr": (
            f"the teacher, by the name that the grid has for it: {looked.models['teacher'].name}"
        ),
    }
    return scale_page(wanted.name, wanted.extends, laid_over(own, size), notes)


def _grader_entry(grader: str) -> str | dict[str, str]:
    """Return a grader's name, or a user's file by its absolute path, because the experiment's
    folder is another working folder.
    """
    if not is_code(grader):
        return grader
    file, _, function = grader.rpartition(":")
    return {"python": f"{Path(file).expanduser().resolve()}:{function}"}


def _source(data: JsonlData, train: str, held_out: str | None, rows: int) -> dict[str, Any]:
    said = data.model_dump(
        exclude_defaults=True,
        exclude={"train", "held_out", "held_out_share", "kind", "selection_size"},
    )
    split = {"held_out": held_out} if held_out else {"held_out_share": data.held_out_share}
    return {
        "kind": "jsonl",
        "train": train,
        **split,
        **said,
        "selection_size": min(SELECTION, max(1, rows // 10)),
    }


def write(wanted: Wanted, texts: Mapping[str, str]) -> str:
    """Write all files or none, and return a text that describes the grid.

    Errors: SpecError if the files do not bind.
    """
    wanted.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".init-", dir=wanted.folder) as draft:
        for name, text in texts.items():
            (Path(draft) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(draft) / name).write_text(text, encoding="utf-8")
        told = _bound(Path(draft), wanted)
        for name in texts:
            (wanted.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(draft) / name).replace(wanted.folder / name)
    return told


def _bound(draft: Path, wanted: Wanted) -> str:
    """Describe the grid, read from the draft as it will be read in the folder."""
    before = os.environ.get("STUDY_DATA")
    os.environ["STUDY_DATA"] = str(draft.resolve())
    try:
        grid = load_grid(GRID, load_scale(wanted.name, draft), draft)
        return f"{len(grid.cells)} cells, {len(grid.runs())} runs"
    finally:
        if before is None:
            del os.environ["STUDY_DATA"]
        else:
            os.environ["STUDY_DATA"] = before
