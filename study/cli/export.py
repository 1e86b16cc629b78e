"""`study export`: write a trained model as a folder that transformers loads without this
package.
"""

from pathlib import Path
from typing import Annotated

import typer

from study.cli import console
from study.record.store import Results
from study.runner.verbs.export import export as write
from study.runner.verbs.export import find
from study.runner.work.artifacts import weights_digest
from study.spec.machine.profile import load_profile


def export(
    run: Annotated[
        str, typer.Argument(help="A run or stage id, or a unique beginning or end of one.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    step: Annotated[
        int | None,
        typer.Option(min=0, help="Weights of this step, where they were kept (profile: keep all)."),
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    profile: Annotated[
        str | None, typer.Option(help="The profile that says where artifacts lie.")
    ] = None,
) -> None:
    """Write the model of a finished run as a folder that transformers loads.

    It holds weights, tokenizer, chat template, generation settings and a model card.
    """
    source = find(run, Results.from_afar(results, load_profile(profile)), step)
    write(source, folder)
    console.say(
        f"{source.stage}{'' if step is None else f' at step {step}'} -> {folder} (digest"
        f" {weights_digest(folder)})"
    )
