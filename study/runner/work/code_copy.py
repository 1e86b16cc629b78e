"""Copy the code that a run starts from: <results>/code/<code hash>/study/.

Workers, servers, launchers and Slurm jobs start later than `study run`. If the checkout is edited
meanwhile, they would import other code than the record names. So the files of the package are
copied once per code hash, and every process that does the work finds the copy first on its path.
`study clean` removes copies that no run needs.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from study.errors import PrerequisiteError
from study.record.owner import owner
from study.record.provenance import code_hash, file_hash, hash_of_code
from study.record.store import Results

_PACKAGE = Path(__file__).resolve().parents[2]
_CACHE = "__pycache__"


def copy_code(results: Results) -> Path:
    """Return the folder with a complete copy of the running code; make it if it is missing.

    Errors: PrerequisiteError if the files of the package were changed since this process started,
    or if there is no room for the copy.
    """
    target = results.code.absolute() / code_hash()
    if target.is_dir():
        if _is_whole(target):
            return target
        _remove(target)
    partial = target.with_name(f"{target.name}.partial-{owner()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(_PACKAGE, partial / _PACKAGE.name, ignore=shutil.ignore_patterns("*.pyc.*"))
        same = hash_of_code(partial / _PACKAGE.name) == code_hash()
        if not same and not target.is_dir():
            raise PrerequisiteError(
                "the code of study/ was changed while this command was starting",
                hint="type the same command again",
            )
        if same:
            with suppress(OSError):  # another process was first
                partial.rename(target)
    except OSError as error:
        if target.is_dir():  # another process was first, and has removed this unfinished copy
            return target
        raise PrerequisiteError(
            f"the code could not be copied to {results.code}: {_reason(error)}",
            hint="free some space (study clean shows what is not needed): a copy takes about 5 MB",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _reason(error: OSError) -> str:
    """Return the first error: copytree collects the errors of all files."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return error.strerror or str(error)


def environment(copy: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables with which a Python process imports the copy.

    Without PYTHONSAFEPATH `python -m` would search the working folder first, which may be the
    checkout. If this process itself searches there, the others still do, after the copy.
    """
    here = str(Path.cwd())
    before = base.get("PYTHONPATH")
    places = [str(copy), *([before] if before else [])]
    if {"", here} & {*sys.path}:
        places.append(here)
    return {"PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1"}


@contextmanager
def imported_first(copy: Path) -> Iterator[None]:
    """Make processes that are started in the block import the copy."""
    chosen = environment(copy)
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _is_whole(copy: Path) -> bool:
    """Whether a copy holds the files of the package and nothing else that could be imported."""
    if [path.name for path in copy.iterdir()] != [_PACKAGE.name]:
        return False
    package = copy / _PACKAGE.name
    if _files(package) != _files(_PACKAGE):
        return False
    _remove_foreign_bytecode(package)
    return True


def _remove_foreign_bytecode(package: Path) -> None:
    """Remove bytecode that Python would run in place of the sources, because nothing proves that it
    belongs to them.
    """
    for compiled in package.rglob("*.pyc"):
        own = _PACKAGE / compiled.relative_to(package)
        with suppress(FileNotFoundError):
            if not own.is_file() or own.read_bytes() != compiled.read_bytes():
                compiled.unlink()


def _files(folder: Path) -> dict[str, str] | None:
    """Return name -> sha256 of every file but compiled ones; None if there is a link."""
    found: dict[str, str] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            return None
        if path.is_file() and _CACHE not in path.parts and path.suffix != ".pyc":
            found[path.relative_to(folder).as_posix()] = file_hash(path)
    return found


def _remove(copy: Path) -> None:
    """Remove a copy. It is renamed first, so that half a copy never has its name."""
    aside = copy.with_name(f"{copy.name}.partial-{owner()}")
    with suppress(FileNotFoundError):
        copy.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
