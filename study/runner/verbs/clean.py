"""Find the files of a results folder that no sealed run, known grid or running `study run` needs.

Known grids: every file of grids/ at every scale, at its own seeds and at every seed found in the
folder, plus the files that are named. Never listed: what a running process has locked, what a
process on another host may be writing, results/records, tables and figures. Sealed records in runs/
are listed only on request; then a sealed run that no grid plans does not protect its files either.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.record.owner import alive, is_owner
from study.record.store import Results, record_paths
from study.runner.engines.launcher import read_page
from study.runner.engines.task_main import has_outcome
from study.runner.graph.stages import run_graph
from study.runner.work.artifacts import MANIFEST, is_made
from study.runner.work.locks import holder
from study.runner.work.sessions import sessions
from study.spec.grid.grid import Grid
from study.spec.identity import parts_of_run

_OWNED = re.compile(r"\.partial-(?P<owner>[^/]+)$|^\.(?P<file>.+)\.(?P<writer>[^.]+)\.tmp$")


@dataclass(frozen=True)
class Waste:
    """A file or folder that can be removed.

    what: its kind, for the table; why: the reason in a few words; size: bytes. sure: whether it can
    be removed whatever is planned; else it can be removed because no known plan needs it.
    """

    path: Path
    what: str
    why: str
    size: int
    sure: bool


@dataclass(frozen=True)
class References:
    """Ids that are needed."""

    runs: frozenset[str]
    stages: frozenset[str]


def references(results: Results, grids: Iterable[Grid], *, sealed: bool = True) -> References:
    """Return the ids that grids plan, that sealed runs name (unless sealed is False), and that
    running sessions work on.
    """
    runs: set[str] = set()
    stages: set[str] = set()
    found = _seeds(results)
    for grid in grids:
        for run in grid.runs(seeds=sorted({*grid.seeds, *found})):
            runs.add(run.run_id)
            stages |= {node.id for node in run_graph(run.cell, run.seed)}
    for session in sessions(results):
        if session.alive is not False:
            runs |= set(session.runs)
            stages |= set(session.stages)
    for path in record_paths(results.runs):
        if sealed or path.parent.name in runs:
            stages |= _stages_of(path)
    for path in record_paths(results.records):
        stages |= _stages_of(path)
    return References(frozenset(runs), frozenset(stages))


def waste(results: Results, needed: References, *, runs: bool = False) -> list[Waste]:
    """Return everything that can be removed, largest first. runs: include sealed runs that no known
    grid plans.
    """
    found = [
        *_unfinished(results),
        *_stages(results, needed),
        *_runs(results, needed, runs),
        *_quarantined(results),
        *_code(results),
    ]
    return sorted(found, key=lambda item: (-item.size, str(item.path)))


def remove(results: Results, items: Iterable[Waste]) -> int:
    """Remove what is still unlocked now; return the number of bytes removed.

    A link is removed, never its target.
    """
    freed = 0
    for item in items:
        if _locked(results, _task_of(item.path)):
            continue
        if item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path, ignore_errors=True)
        else:
            item.path.unlink(missing_ok=True)
        freed += item.size
    return freed


def _unfinished(results: Results) -> Iterator[Waste]:
    """Yield partial folders and temporary files of dead processes; those of another host if nobody
    holds the lock on their task.
    """
    places = {results.artifacts, results.scratch or results.artifacts}
    partial = [path for place in sorted(places) for path in place.glob("*.partial-*")]
    for path in [
        *partial,
        *results.runs.glob("*/*.partial-*"),
        *results.root.glob("*/*/.*.tmp"),
        *results.root.glob("*/.*.tmp"),
    ]:
        match = _OWNED.search(path.name)
        name = (match["owner"] or match["writer"]) if match else ""
        lives = alive(name) if is_owner(name) else None
        if lives is False or (
            lives is None and not _locked(results, _task_of(path)) and path.is_dir()
        ):
            yield _waste(path, "unfinished", "its process is gone")


def _stages(results: Results, needed: References) -> Iterator[Waste]:
    """Yield artifacts, checkpoints and logs of stages that nothing references, and checkpoints of
    finished stages.
    """
    for place, what in (
        (results.artifacts, "artifact"),
        (results.root / "checkpoints", "checkpoints"),
        (results.root / "stages", "logs"),
    ):
        for path in sorted(place.glob("*")):
            if not path.is_dir() or ".partial-" in path.name or _locked(results, path.name):
                continue
            if path.name not in needed.stages:
                yield _waste(path, what, "no sealed or planned run uses it", sure=False)
            elif what == "checkpoints" and is_made(results.artifact(path.name)):
                yield _waste(path, what, "its stage is made")


def _runs(results: Results, needed: References, sealed_too: bool) -> Iterator[Waste]:
    for path in sorted(results.runs.glob("*")):
        if not path.is_dir() or path.name in needed.runs or _locked(results, path.name):
            continue
        if not (path / "record.json").is_file():
            yield _waste(path, "run", "not sealed, and no known grid plans it", sure=False)
        elif sealed_too:
            yield _waste(path, "sealed run", "no known grid plans it", sure=False)


def _quarantined(results: Results) -> Iterator[Waste]:
    for path in sorted(results.quarantine.glob("*")):
        yield _waste(path, "quarantine", "it was damaged, and made again")


def _code(results: Results) -> Iterator[Waste]:
    """Yield copies of the code that no running session and no waiting job uses."""
    if any(session.alive is not False for session in sessions(results)):
        return
    waiting = {note.get("code") for note in _unfinished_jobs(results)}
    for path in sorted(results.code.glob("*")):
        if path.is_dir() and path.name not in waiting:
            yield _waste(path, "code", "no run that is at work started from it")


def _unfinished_jobs(results: Results) -> Iterator[dict[str, Any]]:
    """Yield the notes on Slurm jobs that have not reported how their task ended."""
    for path in (results.root / "jobs").glob("*.json"):
        note = read_page(path)
        if note and not has_outcome(path.with_suffix(""), str(note.get("job"))):
            yield note


def _waste(path: Path, what: str, why: str, *, sure: bool = True) -> Waste:
    return Waste(path, what, why, size(path), sure)


def size(path: Path) -> int:
    """Return the bytes of the files in a folder, or of a file; a link counts its own size."""
    total = 0
    for file in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
        with suppress(OSError):  # it can vanish meanwhile
            total += file.lstat().st_size if not file.is_dir() or file.is_symlink() else 0
    return total


def _task_of(path: Path) -> str:
    """Return the stage or run that a path belongs to."""
    if path.name.startswith((".", "evaluation.partial-")):
        return path.parent.name
    return path.name.partition(".partial-")[0]


def _locked(results: Results, task: str) -> bool:
    """Whether a process that may be running holds the lock on the task."""
    found = holder(results.locks, task)
    return found is not None and not (is_owner(found.owner) and alive(found.owner) is False)


def _seeds(results: Results) -> set[int]:
    """Return the seeds of the runs and artifacts in this folder: a grid may have been run at seeds
    beyond its own.
    """
    seeds = {parts.seed for path in results.runs.glob("*") if (parts := parts_of_run(path.name))}
    for path in results.artifacts.glob(f"*/{MANIFEST}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            seeds.add(int(json.loads(path.read_bytes())["seed"]))
    return seeds


def _stages_of(path: Path) -> set[str]:
    """Return the stages that a record names, whatever its schema; none if it is unreadable."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        return set(json.loads(path.read_bytes())["stages"].values())
    return set()
