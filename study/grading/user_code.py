"""Runs somebody's own file: its functions and the cases it brings, after its hash was compared with
the one of the plan.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from study.errors import PrerequisiteError, RecordMismatch, SpecError
from study.spec.recipe.user_code import Code


def function(code: Code) -> Callable[..., Any]:
    """Errors: PrerequisiteError for a file that is gone, RecordMismatch for one that changed,
    SpecError for one that cannot be run.
    """
    return getattr(_module(code.file, code.sha256), code.function)


def constant(code: Code, name: str, shape: str) -> list[tuple[Any, ...]]:
    """A list of cases that the file brings, as NAME = [...]. SpecError where it has none."""
    cases = getattr(_module(code.file, code.sha256), name, None)
    if not isinstance(cases, list) or not cases:
        raise SpecError(
            f"{Path(code.file).name} has no cases to be checked on",
            hint=f"write {name} = [{shape}, ...] into it",
        )
    return [tuple(case) for case in cases]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def optional(code: Code, name: str) -> Any:
    """A constant or function of the file; None where it has no such name."""
    return getattr(_module(code.file, code.sha256), name, None)


@lru_cache(maxsize=16)
def _module(file: str, digest: str) -> ModuleType:
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
    except Exception as error:  # whatever a file raises is told as a fault of that file
        raise SpecError(
            f"{file} cannot be imported ({type(error).__name__}: {error})",
            hint="python FILE shows the traceback",
        ) from error
    return module
