"""Load the problems of public benchmarks, from a local folder ($STUDY_DATA) or the hub at a pinned
revision, as `Problem`s with stable ids.

The folder has precedence: compute nodes without internet are common. The `source` of a task file
(`study/data/hub/tasks/*.yaml`) says what a task reads, and from where; the columns of a folder's
file and of the hub's may differ, so it names alternatives.

Multiple choice: the answer is a letter. GPQA's right answer comes first in the data, so its choices
are put into an order that depends only on the problem's id (a named random stream): the same for
every model, seed, machine and subset of problems. Held-out DAPO: a hash of the problem's text
decides, so no list is stored and copies of a problem are on the same side.
"""

import hashlib
import json
import logging
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from study.data.hub.errors import hub_errors
from study.data.lines import parse_object, split_lines, text_content
from study.data.problems import Problem
from study.data.texts import normal_form
from study.data.values import MISSING, cell_of, gold_of, id_of, prompt_of, value_at
from study.data.worlds.load import load_world
from study.errors import PrerequisiteError
from study.grading.math.extraction import reference
from study.spec.base import Spec
from study.spec.recipe.data import LabData

_BUCKETS = 2**32


class Benchmark(Spec):
    """files: names in $STUDY_DATA, the first that exists. hub:
    "" for problems that are not on a hub.

    Columns are dotted paths (`prompt.0.content`), the first that a row has. solution: the column of
    a worked solution; it may be absent. choices: one column that holds a list, or one column each;
    without `answer` the first choice is the right one and all are shuffled. unwrap: text before and
    after the problem that is not part of it. held_out: the share of problems that this task keeps.
    """

    kind: Literal["benchmark"] = "benchmark"
    files: list[str]
    hub: str = ""
    config: str | None = None
    split: str = ""
    revision: str | None = None
    gated: bool = False
    prompt: list[str]
    answer: list[str] = Field(default=[])
    solution: list[str] = Field(default=[])
    id: str | None = None
    choices: list[str] = Field(default=[])
    unwrap: list[str] = Field(default=["", ""], min_length=2, max_length=2)
    held_out: float | None = Field(default=None, gt=0, lt=1)


Source = Annotated[Benchmark | LabData, Field(discriminator="kind")]


@dataclass(frozen=True)
class Problems:
    """origin: where they were read, without a path of this machine; sha256: of ids, prompts,
    answers and choices.
    """

    problems: tuple[Problem, ...]
    origin: Mapping[str, str]

    @property
    def sha256(self) -> str:
        parts = [[p.id, p.prompt, p.answer, p.columns.get("choices", "")] for p in self.problems]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def first(self, limit: int | None) -> "Problems":
        return Problems(self.problems[:limit], self.origin)


def read(task: str, source: Benchmark | LabData) -> Problems:
    """Return all problems of a task in their order.

    Errors: PrerequisiteError if neither folder nor hub has them, or a row is wrong.
    """
    if not isinstance(source, Benchmark):
        return Problems(load_world(source, "held_out"), {"kind": source.kind})
    path = _local(source)
    if path is not None:
        origin = {
            "kind": "file",
            "name": path.name,
            "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        }
        return Problems(_problems(task, _file_rows(path), source, path.name), origin)
    origin = {
        "kind": "hub",
        "name": source.hub,
        "config": source.config or "",
        "split": source.split,
        "revision": source.revision or "",
    }
    return Problems(_problems(task, _hub_rows(task, source), source, source.hub), origin)


def choice_order(key: str, number: int) -> list[int]:
    """Return the positions of the choices as shown, from the problem's id alone."""
    seed = int.from_bytes(hashlib.sha256(f"choices/{key}".encode()).digest()[:8], "big")
    return random.Random(seed).sample(range(number), number)


def is_held_out(problem: str, share: float) -> bool:
    """Whether a hash of the problem's normal form falls into the held-out share."""
    digest = hashlib.sha256(normal_form(problem).encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * _BUCKETS


def _local(source: Benchmark) -> Path | None:
    folder = os.environ.get("STUDY_DATA")
    candidates = [Path(folder).expanduser() / name for name in source.files] if folder else []
    return next((path for path in candidates if path.is_file()), None)


def _file_rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        from pyarrow import parquet  # comes with datasets; only this format needs it

        yield from parquet.read_table(path).to_pylist()
        return
    for number, line in split_lines(text_content(path.read_bytes(), path)):
        yield parse_object(line, f"{path}:{number}")


def _hub_rows(task: str, source: Benchmark) -> Iterable[Any]:
    looked = (
        f"no file {' or '.join(source.files)} in STUDY_DATA"
        f" ({os.environ.get('STUDY_DATA', 'not set')})"
    )
    columns = ", ".join(
        [
            source.prompt[0],
            *(source.answer[:1]),
            *source.choices,
            *([source.id] if source.id else []),
        ]
    )
    hint = (
        f"put {source.files[0]} (columns {columns}) into a folder and name it: STUDY_DATA=FOLDER;"
        " or run where the hub can be reached"
    )
    if not source.hub:
        raise PrerequisiteError(f"task {task}: {looked}", hint=hint)
    if source.gated:
        hint += f". {source.hub} is gated: accept its terms on its page, then: hf auth login"
    if source.revision is None:
        raise PrerequisiteError(
            f"task {task}: {looked}, and its page pins no revision of {source.hub}", hint=hint
        )
    try:
        from datasets import load_dataset  # a heavy import that local files do not need

        # An unreachable hub is reported once, below.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        rows: Any = load_dataset(
            source.hub, source.config, split=source.split, revision=source.revision
        )
        return rows
    except hub_errors() as error:
        what = (
            f"{source.hub} at {source.revision[:12]} is not available ({type(error).__name__}:"
            f" {str(error).splitlines()[0][:120]})"
        )
        raise PrerequisiteError(f"task {task}: {looked}, and {what}", hint=hint) from error


def _problems(task: str, rows: Iterable[Any], source: Benchmark, where: str) -> tuple[Problem, ...]:
    """Return every problem once: a repeated text is left out;
    two texts with one id are an error.
    """
    found: dict[str, Problem] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        text = _problem_text(row, source, f"{where}:{number}")
        if text in seen or (source.held_out and not is_held_out(text, source.held_out)):
            continue
        seen.add(text)
        problem = _problem(row, text, source, f"{where}:{number}")
        if problem.id in found:
            raise PrerequisiteError(
                f"task {task}: {where}:{number}: id {problem.id!r} appears twice"
            )
        found[problem.id] = problem
    if not found:
        raise PrerequisiteError(f"task {task}: {where} has no problems")
    return tuple(found.values())


def _problem_text(row: Any, source: Benchmark, where: str) -> str:
    before, after = source.unwrap
    column, value = _first(row, source.prompt, where)
    text = prompt_of(value, where, column, published=True)
    return text.removeprefix(before).removesuffix(after).strip()


def _problem(row: Any, text: str, source: Benchmark, where: str) -> Problem:
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    if source.id:
        column, value = _first(row, [source.id], where)
        key = id_of(value, where, column)
    if source.choices:
        return _with_choices(row, key, text, source, where)
    column, value = _first(row, source.answer, where)
    try:
        gold = gold_of(value, where, column, unwrap=True)
        answer = reference(gold.text)
    except ValueError as error:
        raise PrerequisiteError(f"{where}: {error}") from error
    return Problem(key, text, answer, _solution(row, source), gold_is_float=gold.is_float)


def _solution(row: Any, source: Benchmark) -> str:
    """Return the solution, empty if the row has none: only privileged information needs it, and
    refuses an empty one.
    """
    found = (value_at(row, column) for column in source.solution)
    return next((value for value in found if isinstance(value, str) and value), "")


def _with_choices(row: Any, key: str, text: str, source: Benchmark, where: str) -> Problem:
    texts = _choices(row, source, where)
    if source.answer:
        column, value = _first(row, source.answer, where)
        answer = gold_of(value, where, column).text.strip().upper()
        order = list(range(len(texts)))
    else:
        order = choice_order(key, len(texts))
        answer = ascii_uppercase[order.index(0)]
    letters = ascii_uppercase[: len(texts)]
    if not 2 <= len(texts) <= len(ascii_uppercase) or len(answer) != 1 or answer not in letters:
        raise PrerequisiteError(
            f"{where}: {answer!r} is not the letter of one of {len(texts)} choices"
        )
    shown = "\n".join(
        f"{letter}) {texts[position]}"
        for letter, position in zip(ascii_uppercase, order, strict=False)
    )
    return Problem(key, text, answer, columns={"choices": shown})


def _choices(row: Any, source: Benchmark, where: str) -> list[str]:
    """Return the texts of the choices: of one column that holds a list, or of one column each."""
    found = [_first(row, [column], where) for column in source.choices]
    if len(found) == 1 and isinstance(found[0][1], list):
        column, values = found[0][0], cast("list[Any]", found[0][1])
        found = [(f"{column}.{number}", value) for number, value in enumerate(values)]
    return [cell_of(value, where, column).strip() for column, value in found]


def _first(row: Any, columns: Sequence[str], where: str) -> tuple[str, Any]:
    """Return (name, value) of the first column that the row has and that is not empty."""
    for column in columns:
        value = value_at(row, column)
        if value is not MISSING and value is not None and value != "":
            return column, value
    have = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
    raise PrerequisiteError(
        f"{where}: no column {' or '.join(columns)}; there is {have}",
        hint="docs/evaluation.md lists each task's columns",
    )
