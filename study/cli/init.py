"""`study init`: write an experiment from a user's student, teacher and problems; every fault is
shown before anything is spent.
"""

import re
from pathlib import Path
from typing import Annotated

import typer

from study.cli.console import say, table
from study.errors import PrerequisiteError
from study.record.store import Results
from study.runner.init.experiment import Looked, Wanted, look, pages, require_free, write
from study.runner.init.scale import GRID, SUFFIX, Size
from study.spec.recipe.data import JsonlData

NEXT = {
    "plan": "shows what will be made",
    "rehearse": "estimates memory and time; --profile names the machine",
    "preflight": "checks the contracts; run checks them too",
    "run": "runs everything; after a kill the same command continues",
    "analyze": "builds the table, the figure and the verdicts",
}
_MODEL = "Organisation/model@commit, a model folder, or a run or stage id of --results."


def init(
    folder: Annotated[Path, typer.Argument(help="The folder of the new experiment.")],
    student: Annotated[str, typer.Option(help=_MODEL)],
    teacher: Annotated[str, typer.Option(help=_MODEL)],
    data: Annotated[
        Path, typer.Option(help="JSON Lines file (.gz too) of problems with verifiable answers.")
    ],
    prompt_field: Annotated[str, typer.Option(help="Column of the problem.")] = "question",
    answer_field: Annotated[str, typer.Option(help="Column of the answer.")] = "answer",
    solution_field: Annotated[str | None, typer.Option(help="Column of a worked solution.")] = None,
    id_field: Annotated[
        str | None, typer.Option(help="Column of an id; line numbers by default.")
    ] = None,
    answer_after: Annotated[
        str | None, typer.Option(help="The answer follows this marker in its column (GSM8K: ####).")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Problems to evaluate on; a share of --data by default.")
    ] = None,
    held_out_share: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="That share, chosen by a hash of the prompt.")
    ] = 0.1,
    split_seed: Annotated[int, typer.Option(help="Seed of that choice.")] = 0,
    off_target: Annotated[
        Path | None,
        typer.Option(
            help="Problems of another kind, with the same columns, to measure forgetting."
        ),
    ] = None,
    extends: Annotated[
        str, typer.Option(help="The scale to start from: paper, lab, or one of your own.")
    ] = "paper",
    name: Annotated[
        str | None, typer.Option(help="Name of the new scale; the folder's by default.")
    ] = None,
    grader: Annotated[
        str,
        typer.Option(
            help="A grader: math-1, boxed-1, choice-1 (docs/graders.md), or file.py:function."
        ),
    ] = "math-1",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the distillation; the other arms are scaled to match."),
    ] = None,
    prompts_per_step: Annotated[
        int | None, typer.Option(min=2, help="Prompts per step of the distillation.")
    ] = None,
    completion_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest completion, in training and in evaluation.")
    ] = None,
    problems: Annotated[
        int | None, typer.Option(min=1, help="Number of held-out problems to evaluate on.")
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder, for run ids.")] = Path(
        "results"
    ),
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out", help="Leave rows with a fault out."),
    ] = False,
    keep_repeats: Annotated[
        bool,
        typer.Option("--keep-repeats", help="Keep problems that occur several times."),
    ] = False,
    control_tokens: Annotated[
        bool,
        typer.Option("--control-tokens", help="Allow tokens such as <|im_end|> in problems."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an experiment that is there.")
    ] = False,
) -> None:
    """Ask of your own student, teacher and data whether distillation will help.

    Writes a short scale and the grid will-it-help.
    """
    share = None if held_out else held_out_share
    columns = JsonlData(
        train="", held_out="" if held_out else None, held_out_share=share, split_seed=split_seed,
        prompt_field=prompt_field,
        answer_field=answer_field, solution_field=solution_field, id_field=id_field,
        answer_after=answer_after,
        prompt_suffix=SUFFIX, control_tokens=control_tokens,
    )  # fmt: skip
    files = {
        role: path
        for role, path in (("train", data), ("held_out", held_out), ("off_target", off_target))
        if path
    }
    size = Size(steps, prompts_per_step, completion_tokens, problems)
    wanted = Wanted(
        folder, name or _name_of(folder), extends, student, teacher, columns, files, grader, size,
        keep_repeats,
    )  # fmt: skip
    require_free(wanted, force=force)
    looked = look(wanted, Results(results))
    _show(looked)
    if looked.findings and not leave_out:
        faults = sum(len(finding.places) for finding in looked.findings)
        raise PrerequisiteError(
            f"{faults} faults in the rows; nothing was written", hint=_mended(looked)
        )
    told = write(wanted, pages(wanted, looked, leave_out))
    _show_next(wanted, told)


def _name_of(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "mine"


def _show(looked: Looked) -> None:
    for role, model in looked.models.items():
        revision = model.entry.get("revision") or f"weights {model.entry['digest']}"
        say(f"{role}: {model.name} ({model.entry['kind']}, {revision[:24]})")
    for role, rows in looked.rows.items():
        columns = ", ".join(rows.columns) or "none"
        say(
            f"{role.replace('_', ' ')}: {rows.file}, {len(rows.lines)} rows, {len(rows.problems)}"
            f" problems; columns for PI: {columns}"
        )
    for lengths in looked.lengths:
        say(
            f"prompts in tokens of the {lengths.model}: at most {lengths.longest}; its context"
            f" has {lengths.context or 'an unknown number of'} positions"
        )
        if lengths.room:
            say(f"the largest that fits the {lengths.model}: --completion-tokens {lengths.room}")
    for note in looked.notes:
        say(note, "warn")
    if looked.findings:
        say()
        table(
            ["fault", "rows", "first"],
            [[finding.fault, len(finding.places), finding.first] for finding in looked.findings],
            right=(1,),
        )
        say()


def _mended(looked: Looked) -> str:
    """Say how to correct the faults; --leave-out is offered where good rows remain."""
    hints = list(dict.fromkeys(finding.hint for finding in looked.findings if finding.hint))
    bad = {place for finding in looked.findings for place in finding.places}
    some = all(set(rows.lines) - bad for rows in looked.rows.values())
    hints += ["--leave-out writes the experiment without these rows"] if some else []
    return "; ".join(hints) or "correct them"


def _show_next(wanted: Wanted, told: str) -> None:
    say(
        f"written: {wanted.folder}/experiments/scales/{wanted.name}.yaml (read it: it is short) and"
        f" the grid {GRID}: {told}",
        "good",
    )
    if "off_target" not in wanted.files:
        say("forgetting is not measured: --off-target FILE adds problems of another kind")
    say("next:", "bold")
    say(f"  cd {wanted.folder}")
    for verb, what in NEXT.items():
        say(f"  study {verb} --grid {GRID} --scale {wanted.name}  # {what}")
