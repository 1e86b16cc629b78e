"""The command line: `study VERB`. Thin: a verb's module is cheap to import and loads what is heavy
when the verb runs.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer

from study import __version__
from study.cli.console import say, warn
from study.errors import StudyError

# verb -> module and function, in the order of `study --help`
VERBS: dict[str, str] = {
    "init": "study.cli.init:init",
    "run": "study.cli.run:run",
    "plan": "study.cli.plan:plan",
    "fetch": "study.cli.fetch:fetch",
    "preflight": "study.cli.preflight:preflight",
    "rehearse": "study.cli.rehearse:rehearse",
    "status": "study.cli.status:status",
    "logs": "study.cli.logs:logs",
    "show": "study.cli.plan:show",
    "diff": "study.cli.diff:diff",
    "losses": "study.cli.losses:losses",
    "evaluate": "study.cli.evaluate:evaluate",
    "grade": "study.cli.grade:grade",
    "compare": "study.cli.compare:compare",
    "power": "study.cli.power:power",
    "regrade": "study.cli.regrade:regrade",
    "analyze": "study.cli.analyze:analyze",
    "report": "study.cli.report:report",
    "explain": "study.cli.explain:explain",
    "table": "study.cli.analyze:table",
    "figure": "study.cli.analyze:figure",
    "reproduce": "study.cli.reproduce:reproduce",
    "verify": "study.cli.verify:verify",
    "publish": "study.cli.upkeep:publish",
    "export": "study.cli.export:export",
    "clean": "study.cli.clean:clean",
    "sync-mlflow": "study.cli.upkeep:sync_mlflow",
    "check": "study.cli.plan:check",
}


def _version(wanted: bool) -> None:
    if wanted:
        say(f"study {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """On-policy distillation under study: which teachers and losses work, and why.

    Start with `study plan --grid smoke`.
    """


def build_app() -> typer.Typer:
    app = typer.Typer(
        name="study",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for verb, place in VERBS.items():
        module, _, function = place.partition(":")
        command: Callable[..., Any] = getattr(import_module(module), function)
        app.command(verb)(command)
    return app


def main() -> None:
    """Entry point. A user's mistake is one message and an exit code, never a traceback; Ctrl-C is
    130.
    """
    try:
        code = build_app()(standalone_mode=False)
    except StudyError as error:
        warn(f"study: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        warn("study: interrupted")
        code = 130
    except BrokenPipeError:  # `study plan | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - told apart there: a usage error is shown, anything else raised again
        code = _usage_error(error)
    sys.exit(code)


def _usage_error(error: Exception) -> int:
    """A wrong option or argument is told as Typer tells it, with exit code 2; anything else is a
    defect and keeps its traceback.
    """
    show: Callable[[], None] | None = getattr(error, "show", None)
    if show is None:
        if type(error).__name__ == "Abort":  # how click hands on Ctrl-C
            warn("study: interrupted")
            return 130
        raise error
    show()
    return int(getattr(error, "exit_code", 2))


if __name__ == "__main__":
    main()
