"""The command line: `study VERB`. Only the module of the verb in use is imported."""

import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from study import __version__
from study.cli.console import is_terminal, say, warn
from study.cli.verbs import VERBS, by_panel
from study.errors import StudyError

_OF_THE_USER = {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOSPC,
    errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip


class VerbCommand(TyperCommand):
    """A verb whose help ends with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        examples = VERBS[str(self.name)].examples
        formatter.write_paragraph()
        formatter.write("Examples:\n" if len(examples) > 1 else "Example:\n")
        # not write_text, because a wrapped command cannot be pasted
        formatter.write("".join(f"  {example}\n" for example in examples))


class VerbGroup(TyperGroup):
    """All verbs by name and short help; `resolve_command` imports the one that is used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name: TyperCommand(name, help=verb.help, rich_help_panel=verb.panel)
            for name, verb in VERBS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in VERBS else command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        del ctx  # Typer's signature
        widest = max(map(len, VERBS))
        for panel, verbs in by_panel().items():
            rows = [(name.ljust(widest), verb.help) for name, verb in verbs.items()]
            with formatter.section(panel):
                formatter.write_dl(rows)


def load(name: str) -> TyperCommand:
    """Import the module of a verb and build its command."""
    verb = VERBS[name]
    function: Callable[..., Any] = getattr(import_module(verb.module), verb.function)
    # plain text: at 80 columns Typer's panels leave 30 of them to the help of an option
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=VerbCommand, context_settings={"max_content_width": 100})(function)
    command = get_command(app)
    assert isinstance(command, TyperCommand)
    return command


def _version(wanted: bool) -> None:
    if wanted:
        say(f"study {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Study on-policy distillation: which teachers and losses work, and why.

    Start with `study plan --grid smoke`; each command has its own --help with an example.
    """


def build_app() -> typer.Typer:
    app = typer.Typer(
        name="study",
        cls=VerbGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if is_terminal() else None,  # panels on a terminal
    )
    app.callback()(_root)
    return app


def main() -> None:
    """Run the command line and exit.

    A user's mistake is one message and an exit code, never a traceback; Ctrl-C is 130.
    """
    try:
        code = build_app()(standalone_mode=False)
    except StudyError as error:
        warn(f"study: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        warn("study: interrupted")
        code = 130
    except BrokenPipeError:  # `study plan | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        code = _refused_by_system(error)
    except Exception as error:  # noqa: BLE001 - usage errors are shown, all others raised again
        code = _usage_error(error)
    sys.exit(code)


def _refused_by_system(error: OSError) -> int:
    """Say which file or folder cannot be written or read, for the reasons that a user can mend.

    Any other error of the system is a defect and keeps its traceback.
    """
    if error.errno not in _OF_THE_USER or error.filename is None:
        raise error
    hint = "name another folder, or make room and allow writing there"
    warn(f"study: {error.filename}: {error.strerror}\n  -> {hint}")
    return 1


def _usage_error(error: Exception) -> int:
    """Show a wrong option or argument as Typer does, with exit code 2.

    Anything else is a defect and keeps its traceback.
    """
    show: Callable[[], None] | None = getattr(error, "show", None)
    if show is None:
        if type(error).__name__ == "Abort":  # click raises it on Ctrl-C
            warn("study: interrupted")
            return 130
        raise error
    show()
    verb = VERBS.get(str(getattr(getattr(error, "ctx", None), "info_name", "")))
    if verb is not None:
        warn(f"For example: {verb.examples[0]}")
    return int(getattr(error, "exit_code", 2))


if __name__ == "__main__":
    main()
