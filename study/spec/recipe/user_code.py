"""Somebody's own function, `{python: file.py:function}`: a loss, a grader or a reward without a
change to this package.

When a page is read the file's sha256 is filled in: an edited file is another experiment, a moved
one is not. The hash covers that one file, so what lies beside it cannot be imported.
`study.grading.user_code` runs it; preflight checks what it computes (docs/extending.md).
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from study.spec.base import Spec
from study.spec.yaml.load import suggestion


class Code(Spec):
    """file: where it lies (no part of identity); sha256: of its bytes."""

    file: str
    function: str
    sha256: str

    @property
    def version(self) -> str:
        """How scores call it."""
        return f"{self.function}-{self.sha256[:8]}"

    @property
    def reference(self) -> str:
        """One text for it; `parsed` reads it back."""
        return f"{self.file}:{self.function}@{self.sha256}"


def read(text: str) -> Code:
    """The code that `file.py:function` names, as it is now.

    ValueError for a file or a function that is not there.
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
    """A `reference`, or `file.py:function`."""
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
            f"{path.name} imports {beside[0]!r}, which lies beside it and is not part of the hash;"
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
    """What stands where otherwise a name would: `grader: {python: rules.py:grade}`."""

    python: CodeField

    @property
    def version(self) -> str:
        return self.python.version

    @property
    def reference(self) -> str:
        return self.python.reference


def reference(choice: str | UserCode) -> str:
    """The text by which `open_grader` and its like find it."""
    return choice.reference if isinstance(choice, UserCode) else choice


def version(choice: str | UserCode) -> str:
    """What a record calls it."""
    return choice.version if isinstance(choice, UserCode) else choice
