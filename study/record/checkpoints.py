"""Store the checkpoints of an unfinished stage: results/checkpoints/<stage id>/step-<n>/, sealed
folders with a manifest `checkpoint.json`.

While a stage runs there are at most two: the newest one stays until the next is sealed. The folder
is removed when the stage's artifact is sealed. A checkpoint counts only if its hashes are right, no
file is missing or foreign, and the same code, packages and Python wrote it: two states of the code
must not meet in one artifact. With keep = all the weights of every checkpoint wait in
kept/step-<n>/ until the stage is finished.

The process that holds the lock on the stage writes here. A process that was frozen meanwhile and
has lost the lock can wake at any line, so: a checkpoint is written to step-<n>.partial-<owner>,
which only its owner renames; a step that is sealed already stays; only steps before a sealed one
are removed, from which no process continues; and the lock is checked before each of these.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from study.errors import RecordMismatch
from study.record import provenance
from study.record.folders import (
    nothing_to_check,
    read_manifest,
    refused,
    seal_folder,
    verify_folder,
)
from study.record.owner import owner

MANIFEST = "checkpoint.json"
_SECONDS = ("wall_s", "core_s")

Keep = Literal["none", "final", "all"]


class Checkpoints:
    """The checkpoints of one stage, and when the next one is due.

    every_s: seconds between two of them (0: at every step). clock: wall_s and core_s of this
    attempt so far, added in each manifest to what earlier attempts had spent. training: True while
    a loop runs that reads `due` after each step. check_lock: raises once another process has taken
    the stage over. carried: entries that every manifest keeps from the first attempt on.
    """

    def __init__(
        self,
        folder: Path,
        every_s: float = 30.0,
        keep: Keep = "final",
        clock: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        self.folder, self.every_s, self.keep, self.clock = folder, every_s, keep, clock
        self.check_lock: Callable[[], None] = nothing_to_check
        self.training, self.stop_asked = False, False
        self.carried: dict[str, Any] = {}
        self._before: dict[str, float] = dict.fromkeys(_SECONDS, 0.0)
        self._last = time.monotonic()

    def first_manifest(self) -> dict[str, Any] | None:
        """Return the manifest of the oldest checkpoint that can be read, of whatever state of the
        code; None without one.
        """
        for path in sorted(self._entries(), key=step_of):
            with contextlib.suppress(RecordMismatch):
                return read_manifest(path, MANIFEST)
        return None

    def latest(self) -> Path | None:
        """Return the newest whole checkpoint. Everything else is removed: damaged, half-written,
        older, or of another state of the code.
        """
        newest: Path | None = None
        for path in sorted(self._entries(), key=step_of, reverse=True):
            before = None if newest else self._seconds_before(path)
            self.check_lock()
            if before is None:
                _remove(path)
            else:
                newest, self._before = path, before
        return newest

    def seal(self, made: Path, step: int) -> Path:
        """Seal the finished folder `made` as the checkpoint of `step`, then remove older ones.

        If the process is killed at any point, an intact one remains.
        """
        target = self.folder / f"step-{step}"
        partial = self.folder / f"step-{step}.partial-{owner()}"
        self.check_lock()
        _remove(partial)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            shutil.move(made, partial)  # the folder that is written may be on another disk
            if target.exists() and self._seconds_before(target) is None:
                self.check_lock()
                _remove(target)
            seal_folder(partial, target, self._manifest(step), MANIFEST, self.check_lock)
        except BaseException:
            self._discard(partial)
            raise
        self._remove_before(step)
        self._last = time.monotonic()
        return target

    def _remove_before(self, step: int) -> None:
        for path in self._entries():
            if 0 <= step_of(path) < step:
                self.check_lock()
                _remove(path)

    def _discard(self, partial: Path) -> None:
        """Remove what only this process has written, and the folder if it is then empty."""
        _remove(partial)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def due(self) -> bool:
        """Whether the end of this step makes a checkpoint."""
        return self.stop_asked or time.monotonic() - self._last >= self.every_s

    def ask_to_stop(self) -> None:
        """Request a stop from a signal handler: the end of the
        running step makes a checkpoint and leaves.
        """
        self.stop_asked = True

    def spent(self) -> dict[str, float]:
        """Return the seconds of earlier attempts, up to the checkpoint that was continued; zeros
        without one.
        """
        return dict(self._before)

    def keep_weights(self, files: Iterable[Path], step: int) -> None:
        """Copy a checkpoint's model files, to stay with the artifact."""
        target = self.folder / "kept" / f"step-{step}"
        partial = target.with_name(f"step-{step}.partial-{owner()}")
        self.check_lock()
        for path in (partial, target):
            _remove(path)
        partial.mkdir(parents=True)
        for file in files:
            shutil.copy2(file, partial / file.name)
        seal_folder(partial, target, {"step": step}, MANIFEST, self.check_lock)

    def take_kept(self, steps: Path) -> None:
        """Copy the kept weights, whole ones only, into the artifact that is being finished."""
        for folder in sorted((self.folder / "kept").glob("step-*"), key=step_of):
            with contextlib.suppress(RecordMismatch):
                verify_folder(folder, MANIFEST)
                if step_of(folder) >= 0:
                    shutil.copytree(
                        folder, steps / folder.name, ignore=shutil.ignore_patterns(MANIFEST)
                    )

    def clear(self) -> None:
        """Remove all checkpoints: the stage is sealed."""
        self.check_lock()
        _remove(self.folder)

    def _entries(self) -> list[Path]:
        return (
            [path for path in self.folder.iterdir() if path.name != "kept"]
            if self.folder.is_dir()
            else []
        )

    def _seconds_before(self, path: Path) -> dict[str, float] | None:
        """Return the seconds spent up to a checkpoint that can be
        continued; None for one that cannot.
        """
        try:
            if path.is_symlink():
                raise refused(path, "it is a link")
            manifest = verify_folder(path, MANIFEST)
            found = {
                file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()
            } - {MANIFEST}
            if found != set(manifest["files"]):
                raise refused(path, "it holds files that its manifest does not name")
            if manifest.get("step") != step_of(path) or manifest.get("written_by") != writer():
                raise refused(path, "it was written by another state of the code")
            return {name: float(manifest["spent"][name]) for name in _SECONDS}
        except (RecordMismatch, OSError, KeyError, TypeError, ValueError):
            return None

    def _manifest(self, step: int) -> dict[str, Any]:
        now = self.clock() if self.clock else {}
        spent = {name: round(self._before[name] + now.get(name, 0.0), 3) for name in _SECONDS}
        return {"step": step, "spent": spent, "written_by": writer(), **self.carried}


def writer() -> dict[str, Any]:
    """Return the code, packages and Python that must have
    written a checkpoint to be continued here.
    """
    return {
        "code": provenance.code_hash(),
        "packages": provenance.packages(),
        "python": provenance.python_version(),
    }


def step_of(path: Path) -> int:
    """step-12 -> 12; -1 for any other name."""
    prefix, _, digits = path.name.partition("-")
    return int(digits) if prefix == "step" and digits.isdecimal() else -1


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
