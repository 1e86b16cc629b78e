"""`study init`: an experiment of one's own - student, teacher, problems - in one command, every
fault told before anything is spent.
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
    "plan": "what will be made",
    "rehearse": "will it fit, and how long: an estimate; --profile names the machine",
    "preflight": "the contracts, which run asks too",
    "run": "everything; killed, the same command continues",
    "analyze": "table, figure and verdicts",
}
_MODEL = "organisation/model@commit, a model folder, or a run or stage id of --results"


def init(
    folder: Annotated[Path, typer.Argument(help="the folder of the new experiment")],
    student: Annotated[str, typer.Option(help=_MODEL)],
    teacher: Annotated[str, typer.Option(help=_MODEL)],
    data: Annotated[Path, typer.Option(help="problems with verifiable answers, JSON Lines")],
    prompt_field: Annotated[str, typer.Option(help="column of the problem")] = "question",
    answer_field: Annotated[str, typer.Option(help="column of the answer")] = "answer",
    solution_field: Annotated[str | None, typer.Option(help="column of a worked solution")] = None,
    id_field: Annotated[
        str | None, typer.Option(help="column of an id; else the line numbers")
    ] = None,
    answer_after: Annotated[
        str | None, typer.Option(help="the answer follows this marker in its column (GSM8K: ####)")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="problems to judge on; else a share of --data")
    ] = None,
    held_out_share: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="that share, by a hash of the prompt")
    ] = 0.1,
    split_seed: Annotated[int, typer.Option(help="another split of the same share")] = 0,
    off_target: Annotated[
        Path | None,
        typer.Option(help="problems of another kind, of the same columns: what is forgotten"),
    ] = None,
    extends: Annotated[
        str, typer.Option(help="the scale whose settings are taken: paper, lab, or one of your own")
    ] = "paper",
    name: Annotated[
        str | None, typer.Option(help="name of the new scale; the folder's by default")
    ] = None,
    grader: Annotated[
        str, typer.Option(help="boxed-1, math-1 or choice-1 (docs/graders.md), or file.py:function")
    ] = "math-1",
    steps: Annotated[
        int | None, typer.Option(min=1, help="steps of the distillation; the other arms follow")
    ] = None,
    prompts_per_step: Annotated[
        int | None, typer.Option(min=2, help="prompts of a step of the distillation")
    ] = None,
    completion_tokens: Annotated[
        int | None, typer.Option(min=1, help="longest completion, in training and evaluation")
    ] = None,
    problems: Annotated[
        int | None, typer.Option(min=1, help="held-out problems that are judged")
    ] = None,
    results: Annotated[Path, typer.Option(help="results folder of run ids")] = Path("results"),
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out", help="write the experiment without the rows that have a fault"),
    ] = False,
    keep_repeats: Annotated[
        bool,
        typer.Option("--keep-repeats", help="count a problem as often as the file has it"),
    ] = False,
    control_tokens: Annotated[
        bool,
        typer.Option("--control-tokens", help="allow tokens such as <|im_end|> in problems"),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="overwrite")] = False,
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
            f"prompts as the {lengths.model} reads them: up to {lengths.longest} tokens, of"
            f" {lengths.context or 'unknown'} positions"
        )
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
    """What mends the faults; leaving rows out is offered where rows are left."""
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
        say("what is forgotten is not measured: --off-target FILE adds problems of another kind")
    say("next:", "bold")
    say(f"  cd {wanted.folder}")
    for verb, what in NEXT.items():
        say(f"  study {verb} --grid {GRID} --scale {wanted.name}  # {what}")
