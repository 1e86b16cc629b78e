"""Remove what dead processes left below a results folder, at the start and at the end of each
`study run`.

Files of another host are removed once nobody holds the lock on their task: their writer held one as
long as it used them. Files that vanish meanwhile are skipped.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from study.record.owner import alive, is_owner
from study.record.store import Results
from study.runner.work.artifacts import is_made
from study.runner.work.locks import holder, sweep_locks


def sweep(results: Results) -> None:
    """Remove partial folders, temporary files, locks and status files of dead processes, and the
    checkpoints of finished stages.
    """
    sweep_locks(results.locks, lambda task: _is_done(task, results))
    _sweep_former_locks(results.root / "claims")
    for path in _partials(results):
        task, _, name = path.name.rpartition(".partial-")
        if _abandoned(name, results, path.parent.name if task == "evaluation" else task):
            shutil.rmtree(path, ignore_errors=True)
    for path in _temporary(results):
        if _abandoned(path.name.split(".")[-2], results, path.parent.name):
            path.unlink(missing_ok=True)
    for place in _listed(results.root, "*"):
        for path in _listed(place, ".*.tmp"):
            known = _alive_or_unknown(path.name.split(".")[-2])
            # a session that cannot write its file goes on without it
            if known is False or (known is None and place.name == "present"):
                path.unlink(missing_ok=True)
    for path in _statuses(results):
        if _abandoned(_owner_in(path), results, path.parent.name):
            path.unlink(missing_ok=True)
    for path in _obsolete_copies(results.code):
        shutil.rmtree(path, ignore_errors=True)
    for path in _listed(results.root / "checkpoints", "*"):
        if is_made(results.artifact(path.name)) and holder(results.locks, path.name) is None:
            shutil.rmtree(path, ignore_errors=True)


def _is_done(task: str, results: Results) -> bool:
    return is_made(results.artifact(task)) or results.record(task).is_file()


def _abandoned(name: str, results: Results, task: str) -> bool:
    known = _alive_or_unknown(name)
    return known is False or (known is None and holder(results.locks, task) is None)


def _alive_or_unknown(name: str) -> bool | None:
    return alive(name) if is_owner(name) else None


def _partials(results: Results) -> Iterator[Path]:
    for place in sorted({results.artifacts, results.scratch or results.artifacts}):
        yield from _listed(place, "*.partial-*")
    for run in _listed(results.runs, "*"):
        yield from _listed(run, "evaluation.partial-*")


def _temporary(results: Results) -> Iterator[Path]:
    """Yield unfinished files in the folders of tasks."""
    for place in _listed(results.root, "*"):
        for folder in _listed(place, "*"):
            yield from _listed(folder, ".*.tmp")


def _statuses(results: Results) -> Iterator[Path]:
    for place in (results.root / "stages", results.runs):
        for folder in _listed(place, "*"):
            yield from _listed(folder, "status.json")


def _owner_in(status: Path) -> str:
    """Return the process that reports in a status file; an empty text if it is unreadable."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads(status.read_bytes()).get("owner", ""))
    return ""


def _obsolete_copies(code: Path) -> Iterator[Path]:
    """Yield unfinished copies of the code that a dead process
    left, or whose code was completed since.
    """
    for path in _listed(code, "*.partial-*"):
        whole, _, name = path.name.rpartition(".partial-")
        if _alive_or_unknown(name) is False or (code / whole).is_dir():
            yield path


def _sweep_former_locks(folder: Path) -> None:
    """Remove the folder of the locks of versions up to 0.1, once no running process uses it."""
    for path in _listed(folder, "*"):
        with contextlib.suppress(OSError):
            if _alive_or_unknown(path.read_text().strip()) is False:
                path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _listed(folder: Path, pattern: str) -> list[Path]:
    """Return what matches the pattern in a folder; nothing if
    the folder is missing or vanishes now.
    """
    try:
        return sorted(folder.glob(pattern))
    except (FileNotFoundError, NotADirectoryError):
        return []
