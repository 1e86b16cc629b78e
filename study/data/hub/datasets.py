"""Load the problems of a hub data set (`study.spec.recipe.hub_data.HubData`): rows -> problems,
each once -> splits, with a count of everything left out.

The order of the steps is fixed: `where`, answer, repeats, balance, the held-out share, benchmarks
(`avoid`). The last `selection_size` of the remaining problems are the selection split. The result
depends only on the spec and the rows, on no global state.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from study.data.hub.benchmarks import is_held_out
from study.data.hub.contamination import Benchmarks
from study.data.hub.errors import hub_errors
from study.data.hub.eval_tasks import render_prompts, task_problems
from study.data.hub.rows import problem_of, wanted
from study.data.lines import parse_object, split_lines, text_content
from study.data.problems import Problem, Split
from study.data.texts import control_tokens
from study.errors import PrerequisiteError, RecordMismatch
from study.spec.recipe.hub_data import BenchmarkData, HubData
from study.spec.yaml.files import fingerprint, local_files


@dataclass(frozen=True)
class Drawn:
    """counts: rows read, and rows or problems left out for each reason, by name."""

    splits: Mapping[Split, tuple[Problem, ...]]
    counts: Mapping[str, int]


def problems(data: HubData, split: Split) -> tuple[Problem, ...]:
    """Return the problems of one split.

    Errors: PrerequisiteError if neither files nor hub have the rows, or a column is missing;
    RecordMismatch if files changed.
    """
    return draw(data).splits[split]


def draw(data: HubData) -> Drawn:
    """Return all splits and the counts; they are read once per process."""
    return _draw(data.model_dump_json())


def benchmark_problems(data: BenchmarkData, split: Split) -> tuple[Problem, ...]:
    """Return the problems as they are in the data; the task
    file adds its own words to the prompt.
    """
    if split != "held_out":
        raise PrerequisiteError(
            f"the benchmark {data.task} has no {split} split",
            hint="train on other data: a benchmark is for evaluation only",
        )
    found = task_problems(data.task)
    if data.sha256 not in (None, found.sha256):
        what = (
            f"the problems of {data.task} have the fingerprint {found.sha256},"
            f" the scale file says {data.sha256}"
        )
        raise RecordMismatch(
            what,
            hint="use the intended data, or write today's fingerprint into the scale file",
        )
    return found.problems


@lru_cache(maxsize=4)
def _draw(spec: str) -> Drawn:
    data = HubData.model_validate_json(spec)
    counts: Counter[str] = Counter()
    kept = _balanced(data, list(_distinct(data, _rows(data), counts)), counts)
    held = [p for p in kept if is_held_out(p.columns["problem"], data.held_out_share)]
    ours = _uncontaminated(
        data,
        [p for p in kept if not is_held_out(p.columns["problem"], data.held_out_share)],
        counts,
    )
    if data.selection_size >= len(ours):
        what = (
            f"{data.hub}: {len(ours)} problems leave none for training after selection_size"
            f" {data.selection_size} ({counts_text(counts)})"
        )
        raise PrerequisiteError(
            what,
            hint=(
                "are these the right rows? See `where` and"
                " `answer_rule` of the data in the scale file"
            ),
        )
    cut = len(ours) - data.selection_size
    train, selection = ours[:cut][: data.train_size], ours[cut:]
    judged = tuple(held) if data.held_out_task is None else _judged(data.held_out_task)
    counts.update(held_out=len(held), selection=len(selection), train=len(train))
    return Drawn(
        {
            "train": tuple(train),
            "selection": tuple(selection),
            "held_out": judged[: data.held_out_size],
        },
        dict(counts),
    )


def counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _judged(task: str) -> tuple[Problem, ...]:
    return render_prompts(task, task_problems(task).problems)


def _distinct(data: HubData, rows: Iterable[Any], counts: Counter[str]) -> Iterator[Problem]:
    """Yield the problems of the wanted rows that have an answer, each text once."""
    seen: set[str] = set()
    held: list[str] = []  # control tokens, each with its place
    for number, row in enumerate(rows, start=1):
        where = f"{data.hub}:{number}"
        counts["rows"] += 1
        if not wanted(data, row, where):
            counts["not_wanted"] += 1
            continue
        problem = problem_of(data, row, where)
        if problem is None:
            counts["no_answer"] += 1
        elif problem.id in seen:
            counts["repeats"] += 1
        else:
            seen.add(problem.id)
            if not data.control_tokens:
                texts = (problem.columns["problem"], problem.solution)
                tokens = [token for text in texts for token in control_tokens(text)]
                held += [f"{where} holds {tokens[0]}"] if tokens else []
            yield problem
    if held:
        raise PrerequisiteError(
            f"{data.hub}: control tokens of a chat template in {len(held)} of {len(seen)} problems,"
            f" the first: {held[0]}",
            hint="a chat template would end or open a turn there: leave such rows out with `where`,"
            " or keep them with control_tokens: true in the scale file",
        )


def _balanced(data: HubData, found: list[Problem], counts: Counter[str]) -> list[Problem]:
    if (rule := data.balance) is None:
        return found
    draw = random.Random(rule.seed)
    many = [p for p in found if p.answer == rule.many]
    kept = draw.sample(
        many, min(len(many), int(rule.times * sum(p.answer == rule.few for p in found)))
    )
    left = [p for p in found if p.answer != rule.many] + kept
    counts["unbalanced"] = len(found) - len(left)
    draw.shuffle(left)
    return left


def _uncontaminated(data: HubData, found: list[Problem], counts: Counter[str]) -> list[Problem]:
    if not data.avoid:
        return found
    benchmarks = Benchmarks()
    for task in data.avoid:
        benchmarks.add(task, (p.prompt for p in task_problems(task).problems))
    kept: list[Problem] = []
    for problem in found:
        stands_in = benchmarks.holding(problem.columns["problem"])
        if stands_in is None:
            kept.append(problem)
        else:
            counts[f"in_{stands_in}"] += 1
    return kept


def _rows(data: HubData) -> Iterable[Any]:
    """Return the rows of the local files if the data has a fingerprint, else of the hub at the
    pinned commit: a worker never reads another source than was planned.
    """
    if data.sha256 is None:
        return _hub_rows(data)
    found = local_files(data.files)
    if not found or fingerprint(found) != data.sha256:
        what = (
            f"the files {' or '.join(data.files)} in STUDY_DATA"
            " are not those that were planned with"
        )
        raise RecordMismatch(what, hint="run the same command again, with the same STUDY_DATA")
    return (row for path in found for row in _file_rows(path, _top_columns(data)))


def _top_columns(data: HubData) -> list[str]:
    paths = [*data.prompt, *data.answer, *data.solution, *data.columns.values(), *data.where]
    return list(dict.fromkeys(path.partition(".")[0] for path in paths))


def _file_rows(path: Path, columns: list[str]) -> Iterator[Any]:
    if path.suffix != ".parquet":
        for number, line in split_lines(text_content(path.read_bytes(), path)):
            yield parse_object(line, f"{path}:{number}")
        return
    from pyarrow import parquet  # comes with datasets; only this format needs it

    file = parquet.ParquetFile(path)
    for batch in file.iter_batches(
        columns=[name for name in columns if name in file.schema_arrow.names]
    ):
        yield from batch.to_pylist()


def _hub_rows(data: HubData) -> Iterable[Any]:
    from datasets import load_dataset  # heavy, and local files do not need it

    try:
        rows: Any = load_dataset(data.hub, data.config, split=data.split, revision=data.revision)
        return rows.select_columns(
            [name for name in _top_columns(data) if name in rows.column_names]
        )
    except hub_errors() as error:
        reason = (
            f"{type(error).__name__}:"
            f" {(str(error).strip() or 'no reason given').splitlines()[0][:120]}"
        )
        terms = (
            f". {data.hub} is gated: accept its terms on its page, then: hf auth login"
            if data.gated
            else ""
        )
        name = (
            f"STUDY_DATA=FOLDER with {data.files[0]} in it"
            if data.files
            else "no local file can replace it: `files` names none"
        )
        hint = f"where the hub can be reached: study fetch --scale NAME; or {name}{terms}"
        raise PrerequisiteError(
            f"{data.hub} at {data.revision[:12]} is not available ({reason})", hint=hint
        ) from error
