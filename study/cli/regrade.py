"""`study regrade`: score stored generations with another grader or by a preference measure; nothing
is generated.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from study.cli import console
from study.cli.regrade_screen import show, show_lengths, show_rates
from study.errors import PrerequisiteError, SpecError
from study.evaluate import regrade as again
from study.evaluate import replies
from study.evaluate.generations import NAME, read
from study.evaluate.regrade import write
from study.grading.judge import Judge
from study.grading.preference import style_rule
from study.grading.registry import open_grader
from study.runner.verbs.verify import one_of

Preference = Literal["refusal", "style", "length", "judge"]


def regrade(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's id or its end, an evaluation's folder, a generations file."
        ),
    ],
    grader: Annotated[
        str | None, typer.Option(help="A grader: math-1, boxed-1 or choice-1.")
    ] = None,
    preference: Annotated[
        Preference | None,
        typer.Option(help="A property of the replies to measure, instead of a grader."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file to write; next to the generations by default."
        ),
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder, for run ids.")] = Path(
        "results"
    ),
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, or parallel requests; one per core by default."),
    ] = None,
    deadline: Annotated[
        float, typer.Option(min=1, help="Processor seconds for one symbolic comparison.")
    ] = 5.0,
    prompts: Annotated[
        Path | None,
        typer.Option(help="JSONL with id, prompt, and unsafe or label: which prompts are unsafe."),
    ] = None,
    style: Annotated[
        Path | None, typer.Option(help="A style rule of your own, for --preference style.")
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(help="OpenAI-compatible endpoint up to /v1, for --preference judge."),
    ] = None,
    judge_model: Annotated[
        str, typer.Option(help="The model's name at that endpoint.")
    ] = "default",
    judge_rules: Annotated[
        Path | None, typer.Option(help="A text file with the rules that the judge applies.")
    ] = None,
    judge_key: Annotated[
        str, typer.Option(help="Environment variable with the key.")
    ] = "OPENAI_API_KEY",
    judge_timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 60.0,
) -> None:
    """Score stored generations again; both scores are kept, with their versions, next to the
    record.
    """
    if (grader is None) == (preference is None):
        raise SpecError(
            "give either --grader or --preference",
            hint=f"study regrade {run} --grader math-1",
        )
    sources = _sources(run, results, lines=preference is not None)
    if output is not None and len(sources) > 1:
        raise SpecError(
            f"{run} holds {len(sources)} tasks and --output names one file",
            hint=f"study regrade {sources[0]} ...",
        )
    judge = (
        _judge(judge_url, judge_model, judge_rules, judge_key, judge_timeout, workers)
        if preference == "judge"
        else None
    )
    for source in sources:
        if grader is not None:
            _regrade(source, grader, workers or _cores(), deadline, output)
        else:
            _prefer(source, preference, prompts, style, judge, output)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sources(run: str, results: Path, lines: bool) -> list[Path]:
    """Resolve RUN to files of generations. lines: accept any JSON Lines file."""
    path = Path(run).expanduser()
    if path.is_file() and not lines and path.suffix != ".gz":
        hint = f"grade it: study grade {path}; study regrade reads {NAME}"
        raise PrerequisiteError(f"{path} holds no stored generations", hint=hint)
    if path.is_file():
        return [path]
    folder = path if path.is_dir() else results / "runs" / _run(run, results)
    found = sorted([*folder.glob(NAME), *folder.glob(f"*/{NAME}")])
    if not found:
        hint = (
            "this run is older than the storing of completions: evaluate it again, and they are"
            " stored"
        )
        raise PrerequisiteError(
            f"{folder} holds no {NAME}: the completions were not stored", hint=hint
        )
    return found


def _run(name: str, results: Path) -> str:
    """Resolve the id of a run made here; committed records have no generations."""
    made = sorted(path.parent.name for path in (results / "runs").glob("*/record.json"))
    committed = sorted(path.stem for path in (results / "records").glob("*.json"))
    kept = [each for each in committed if each.startswith(name) or each.endswith(name)]
    if kept and not any(each.startswith(name) or each.endswith(name) for each in made):
        what = (
            f"{kept[0]} is a committed record; its completions are only on the machine that made it"
        )
        raise PrerequisiteError(what, hint="run it here first: study run --grid GRID --only ...")
    if not made:
        hint = "--results FOLDER, or the path of a generations file"
        raise SpecError(f"{name!r} is neither a file or folder nor a run in {results}", hint=hint)
    return one_of(name, made)


def _regrade(source: Path, grader: str, workers: int, deadline: float, output: Path | None) -> None:
    with open_grader(grader, workers=workers, deadline_s=deadline) as judge:
        done = again.regrade(read(source), judge, _progress)
    place = output or source.with_name(f"regraded-{done.grader}.json")
    again.write(place, again.as_data(done, source))
    show(source, done)
    console.say(f"written: {place} (both scores and every outcome)", "dim")


def _progress(done: int, total: int) -> None:
    console.status(f"{done} of {total}")


def _judge(
    url: str | None, model: str, rules: Path | None, key: str, timeout: float, workers: int | None
) -> Judge:
    if url is None:
        hint = "--judge-url http://127.0.0.1:8000/v1 --judge-model NAME"
        raise SpecError("--preference judge needs the address of a language model", hint=hint)
    try:
        text = rules.read_text(encoding="utf-8") if rules else ""
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(
            f"could not read {rules}: {error}", hint="name a text file with the rules"
        ) from error
    return Judge(url, model, text, key, timeout, workers=workers or 4)


def _prefer(
    source: Path,
    preference: str | None,
    prompts: Path | None,
    style: Path | None,
    judge: Judge | None,
    output: Path | None,
) -> None:
    items = replies.items_of(source)
    items = replies.with_prompts(items, prompts) if prompts else items
    if preference == "length":
        show_lengths(source, items)
        return
    if judge is not None:
        found = replies.judged(items, judge, _progress)
    else:
        found = (
            replies.refusals(items)
            if preference == "refusal"
            else replies.styles(items, style_rule(style))
        )
    place = output or source.with_name(f"preference-{_file_name(found.version)}.json")
    write(place, replies.as_data(items, found, source))
    show_rates(source, items, found)
    console.say(f"written: {place} (every outcome)", "dim")


def _file_name(version: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in version)
