"""A user-supplied function, `{python: file.py:function}`: a loss, a grader or a reward without a
change to this package.

When a config is read, the file's sha256 is filled in: an edited file gives another experiment, a
moved one does not. The hash covers only that file, so it cannot import files next to it. The file
runs only when its function is loaded, after its hash was compared with the planned one. Preflight
checks what it computes (docs/extending.md).
"""

import ast
import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, cast

from pydantic import BeforeValidator

from study.errors import PrerequisiteError, RecordMismatch, SpecError
from study.spec.base import Spec
from study.spec.yaml.load import suggestion


class Code(Spec):
    """file: its path (no part of identity); sha256: of its bytes."""

    file: str
    function: str
    sha256: str

    @property
    def version(self) -> str:
        """Return its name in scores and records."""
        return f"{self.function}-{self.sha256[:8]}"

    @property
    def reference(self) -> str:
        """Return its whole value as one text, which `parsed` reads back."""
        return f"{self.file}:{self.function}@{self.sha256}"


def read(text: str) -> Code:
    """Return the code that `file.py:function` names, with its current hash.

    Errors: ValueError for a missing file or function.
    """
    file, colon, function = text.rpartition(":")
    if not colon or not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"expected file.py:function, found {text!r}")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {file} (looked for from {Path.cwd().name or '/'}/)")
    content = path.read_bytes()
    _refuse(content, path, function)
    return Code(
        file=str(path.resolve()), function=function, sha256=hashlib.sha256(content).hexdigest()
    )


def parsed(text: str) -> Code:
    """Read a `Code.reference`, or `file.py:function`."""
    named, at, digest = text.rpartition("@")
    if not at:
        return read(text)
    file, _, function = named.rpartition(":")
    return Code(file=file, function=function, sha256=digest)


def is_code(text: str) -> bool:
    return ".py:" in text


def _refuse(content: bytes, path: Path, function: str) -> None:
    try:
        tree = ast.parse(content)
    except SyntaxError as error:
        raise ValueError(f"{path.name}:{error.lineno}: {error.msg}") from error
    known = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if function not in known:
        raise ValueError(
            f"{path.name} has no function {function!r}{suggestion(function, known)} (it has:"
            f" {', '.join(known) or 'none'})"
        )
    beside = [
        name
        for name in _imported(tree)
        if (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file()
    ]
    if beside:
        raise ValueError(
            f"{path.name} imports {beside[0]!r}, which is next to it and not part of the hash;"
            " put it into the file"
        )


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "__init__" if node.level else (node.module or "").partition(".")[0]


def _from_page(value: Any) -> Any:
    return read(value) if isinstance(value, str) else value


CodeField = Annotated[Code, BeforeValidator(_from_page)]


class UserCode(Spec):
    """A user-supplied function in place of a name: `grader: {python: rules.py:grade}`."""

    python: CodeField

    @property
    def version(self) -> str:
        return self.python.version

    @property
    def reference(self) -> str:
        return self.python.reference


def reference(choice: str | UserCode) -> str:
    """Return the text with which `open_grader` finds it."""
    return choice.reference if isinstance(choice, UserCode) else choice


def version(choice: str | UserCode) -> str:
    """Return its name in records."""
    return choice.version if isinstance(choice, UserCode) else choice


def load_function(code: Code) -> Callable[..., Any]:
    """Run the file and return its function.

    Errors: PrerequisiteError for a missing file, RecordMismatch for one that changed, SpecError for
    one that cannot be imported.
    """
    return getattr(_load_module(code.file, code.sha256), code.function)


def load_cases(code: Code, name: str, shape: str) -> list[tuple[Any, ...]]:
    """Return the cases in the file, `NAME = [...]`. `shape` describes one of them in the error.

    Errors: SpecError if the file has none, and those of `load_function`.
    """
    cases = getattr(_load_module(code.file, code.sha256), name, None)
    if not isinstance(cases, list) or not cases:
        raise SpecError(
            f"{Path(code.file).name} has no cases to be checked on",
            hint=f"write {name} = [{shape}, ...] in that file",
        )
    return [tuple(case) for case in cast("list[Any]", cases)]


def load_name(code: Code, name: str) -> Any:
    """Return a constant or function of the file; None if it has no such name."""
    return getattr(_load_module(code.file, code.sha256), name, None)


@lru_cache(maxsize=16)
def _load_module(file: str, digest: str) -> ModuleType:
    path = Path(file)
    if not path.is_file():
        raise PrerequisiteError(
            f"there is no file {file}",
            hint="put it back, or correct `python` where the grid or the scale names it",
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise RecordMismatch(
            f"{file} changed after the grid was planned",
            hint="type the same command again: it is another experiment now",
        )
    made = spec_from_file_location(f"user_code_{digest[:8]}", path)
    assert made is not None, "a .py file has a loader"
    assert made.loader is not None
    module = module_from_spec(made)
    try:
        made.loader.exec_module(module)
    except Exception as error:  # user code may raise anything
        raise SpecError(
            f"{file} cannot be imported ({type(error).__name__}: {error})",
            hint="python FILE shows the traceback",
        ) from error
    return module
