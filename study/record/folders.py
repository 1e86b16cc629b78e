"""Seal folders: a manifest with the sha256 of every file, written last, before the folder gets its
name by rename.

A folder is whole if its manifest exists and every file has the hash written in it. Artifacts
(`stage.json`) and checkpoints (`checkpoint.json`) are such folders.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from study.errors import RecordMismatch
from study.record.provenance import file_hash
from study.record.store import sync_folder, write_json


def nothing_to_check() -> None:
    """Check nothing, for a folder that no lock protects."""


def seal_folder(
    partial: Path,
    target: Path,
    manifest: dict[str, Any],
    name: str,
    check: Callable[[], None] = nothing_to_check,
) -> None:
    """Hash the files of `partial`, write the manifest, fsync, rename to `target`.

    If another process was first, its folder stays. check: called right before the rename; it raises
    to stop a process that has lost the lock on the task.
    """
    links = [path for path in partial.rglob("*") if path.is_symlink()]
    if links:
        raise refused(partial, f"{links[0].name} is a link: what it points to can change")
    files = {path.relative_to(partial).as_posix(): path for path in _files(partial, name)}
    for path in files.values():
        _sync_file(path)
    write_json(
        partial / name,
        {**manifest, "files": {key: file_hash(path) for key, path in sorted(files.items())}},
    )
    check()
    try:
        partial.rename(target)
    except OSError:
        if not (target / name).is_file():
            raise
        shutil.rmtree(partial)
    sync_folder(target.parent)


def read_manifest(folder: Path, name: str) -> dict[str, Any]:
    """Return the manifest of a sealed folder; RecordMismatch when it is missing, unreadable or
    names files outside the folder.
    """
    try:
        manifest: Any = json.loads((folder / name).read_bytes())
    except (OSError, ValueError) as error:
        raise refused(folder, f"its manifest {name} is missing or unreadable") from error
    listed: Any = (
        cast(dict[str, Any], manifest).get("files") if isinstance(manifest, dict) else None
    )
    if not isinstance(listed, dict):
        raise refused(folder, f"its manifest {name} lists no files")
    for key in cast(dict[str, Any], listed):
        if Path(key).is_absolute() or ".." in Path(key).parts or "\0" in key:
            raise refused(folder, f"its manifest {name} names {key!r}, which is outside the folder")
    return cast(dict[str, Any], manifest)


def verify_folder(folder: Path, name: str) -> dict[str, Any]:
    """Return the manifest after checking the hash of every file it names."""
    manifest, inside = read_manifest(folder, name), folder.resolve()
    for key, digest in manifest["files"].items():
        path = folder / key
        # a sealed folder holds no links, in any part of the path
        if path.resolve() != inside / key or not path.is_file():
            raise refused(folder, f"{key} is missing")
        if file_hash(path) != digest:
            raise refused(folder, f"{key} has changed since it was written")
    return manifest


def refused(folder: Path, reason: str) -> RecordMismatch:
    return RecordMismatch(
        f"{folder}: {reason}", hint=f"remove it and run the grid again: rm -r {folder}"
    )


def _files(folder: Path, name: str) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / name)


def _sync_file(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
