"""`study evaluate MODEL`: evaluate any model on benchmark tasks, with intervals; needs no grid."""

import re
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from study.cli import console
from study.errors import PrerequisiteError, SpecError
from study.evaluate.request import Request
from study.evaluate.standalone import evaluate_all, prepare
from study.record.store import Results
from study.runner.verbs.model_folder import find_model_folder
from study.runner.work.execute import LAB_PACKAGES

LOG_EVERY_S = 60.0


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model folder, organisation/model[@revision], or a run or stage id.",
        ),
    ],
    tasks: Annotated[
        str, typer.Option("--tasks", "-t", help="Names, commas between them: math500,aime24.")
    ],
    k: Annotated[
        int | None,
        typer.Option(
            "--k", "-k", min=1, help="Samples a problem; as the task declares by default."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The first N problems of each task only.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="As the task declares by default; 0 is greedy.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="As the task declares by default.")
    ] = None,
    max_completion_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens; as the task declares by default.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where TASK/ folders are written; evaluations/MODEL by default."
        ),
    ] = None,
    backend: Annotated[
        Literal["hf", "vllm"], typer.Option(help="transformers, or vLLM (extra: gpu).")
    ] = "hf",
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed and settings give the same completions.")
    ] = 0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Samples drawn together by the backend hf.")
    ] = 16,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="auto: float32 on a CPU, else as stored."),
    ] = "auto",
    chat_template: Annotated[
        bool, typer.Option(help="Prompts through the tokenizer's chat template, or as plain text.")
    ] = True,
    thinking: Annotated[
        bool,
        typer.Option(help="The chat template's argument enable_thinking; the paper: without."),
    ] = False,
    results: Annotated[
        Path,
        typer.Option(
            "--results", help="The results folder in which a run or stage id is looked up."
        ),
    ] = Path("results"),
) -> None:
    """Evaluate any model: k samples a problem, graded; avg@k, pass@k and maj@k with intervals;
    completions stored.
    """
    settings = {
        "k": k,
        "temperature": temperature,
        "top_p": top_p,
        "max_completion_length": max_completion_length,
    }
    prepared = prepare(
        [name.strip() for name in tasks.split(",") if name.strip()], limit=limit, **settings
    )
    if not prepared:
        raise SpecError("--tasks names no task", hint="e.g. --tasks math500,aime24")
    _require_packages(backend)
    source = find_model_folder(model, Results(results))
    request = Request(backend, seed, batch_size, chat_template, thinking, dtype)
    target = output or Path("evaluations") / re.sub(r"[^A-Za-z0-9._@-]+", "--", source.name)
    console.say(
        f"{source.name} (weights {source.digest}) with {backend}:"
        f" {', '.join(_planned(task) for task in prepared)}"
    )
    screen = _Screen()
    show(evaluate_all(prepared, source, request, target, screen))
    console.say(f"settings, counts and completions: {target}/TASK/")


def _require_packages(backend: str) -> None:
    wanted = [
        *(name for name in LAB_PACKAGES if name != "trl"),
        *(["vllm"] if backend == "vllm" else []),
    ]
    missing = [package for package in wanted if find_spec(package) is None]
    if missing:
        extra = "gpu" if "vllm" in missing else "lab"
        hint = f"install the extra {extra}: pip install 'opd-study[{extra}]'" + (
            "; or leave out --backend vllm" if extra == "gpu" else ""
        )
        raise PrerequisiteError(
            f"evaluating needs packages that are not installed: {', '.join(missing)}", hint=hint
        )


def _planned(task: Any) -> str:
    page, origin = task.page, task.data.origin
    source = {
        "file": origin.get("name"),
        "hub": f"{origin.get('name')}@{origin.get('revision', '')[:8]}",
    }.get(origin["kind"], "the arithmetic world")
    return f"{page.task} ({len(task.data.problems)} problems x {page.k}, from {source})"


class _Screen:
    """Progress: on a terminal a line that is replaced, in a log a finished line now and then."""

    def __init__(self) -> None:
        self._started = self._said = time.monotonic()

    def note(self, text: str) -> None:
        console.warn(text)

    def progress(self, task: str, samples: int, of: int, tokens: int) -> None:
        now = time.monotonic()
        if samples == 0:
            self._started = self._said = now
            console.status(f"{task}: 0 of {of} samples")
            return
        spent = now - self._started
        left = console.duration(spent * (of - samples) / samples)
        line = (
            f"{task}: {samples} of {of} samples, {tokens / max(spent, 1e-9):.0f} tokens/s, about"
            f" {left} left"
        )
        if console.is_terminal():
            console.status(line)
        elif now - self._said > LOG_EVERY_S:
            console.say(line)
            self._said = now


def show(evaluations: Sequence[dict[str, Any]]) -> None:
    """Print the scores with their intervals, then their settings."""
    console.say()
    rows = [
        [e["task"], m["name"], _percent(m["strict"]), _percent(m["relaxed"])]
        for e in evaluations
        for m in e["measures"]
    ]
    console.table(("task", "measure", "strict", "relaxed"), rows)
    console.say()
    names = (
        "task",
        "n",
        "k",
        "truncated",
        "unparsed",
        "timed out",
        "mean tokens",
        "T",
        "top-p",
        "max tokens",
        "seed",
        "grader",
        "version",
    )
    console.table(names, [_behind(e) for e in evaluations], right=range(1, 11))
    console.say()
    console.say(
        "strict: the answer in the last box; relaxed: also answers stated without a box",
        "dim",
    )
    console.say(
        "[...]: 95% bootstrap over problems; none where one problem, or every problem alike, says"
        " nothing of others",
        "dim",
    )
    for evaluation in evaluations:
        _advise(evaluation)


def _behind(evaluation: dict[str, Any]) -> list[object]:
    samples = evaluation["k"] * evaluation["n"]
    shares = [
        f"{sum(evaluation[f'{name}_counts']) / samples:.1%}"
        for name in ("truncated", "unparsed", "timed_out")
    ]
    drawn = [
        f"{evaluation['temperature']:g}",
        f"{evaluation['top_p']:g}",
        evaluation["max_completion_length"],
        evaluation["seed"],
    ]
    grader = [evaluation["grader"], evaluation["task_version"]]
    return [
        evaluation["task"],
        evaluation["n"],
        evaluation["k"],
        *shares,
        f"{evaluation['mean_tokens']:.1f}",
        *drawn,
        *grader,
    ]


def _advise(evaluation: dict[str, Any]) -> None:
    samples = evaluation["k"] * evaluation["n"]
    if 2 * sum(evaluation["truncated_counts"]) > samples:
        console.warn(
            f"{evaluation['task']}: more than half of the completions were cut off at"
            f" {evaluation['max_completion_length']} tokens"
        )
    if 2 * sum(evaluation["unparsed_counts"]) > samples:
        console.warn(
            f"{evaluation['task']}: more than half of the completions have no \\boxed{{...}}; what"
            " they state without one is relaxed"
        )


def _percent(interval: dict[str, Any]) -> str:
    """Format a percentage with its interval.

    A bootstrap over problems with equal scores has no width. This is not certainty, so no interval
    is shown.
    """
    limits = (
        ""
        if interval["low"] == interval["high"]
        else f"  [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"
    )
    return f"{100 * interval['mean']:.1f}%{limits}"
