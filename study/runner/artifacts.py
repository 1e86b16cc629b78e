"""Stage artifacts: a folder whose manifest `stage.json` is written last, before the folder gets its name by rename.

A folder is an artifact if its manifest is there and every file has the hash written in it. Otherwise it is refused with the command that
removes it: a changed input must not flow into a result, and nothing of the user's is deleted unasked.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError, RecordMismatch
from study.record.provenance import file_hash
from study.record.store import Results, sync_folder, write_json
from study.runner.stages import Ready
from study.spec.model import HubModel, LocalModel

MANIFEST = "stage.json"


def seal_artifact(partial: Path, target: Path, manifest: dict[str, Any]) -> None:
    """Hash the files of `partial`, write the manifest, fsync, rename to `target`. If another process was first, its artifact stays."""
    files = {path.relative_to(partial).as_posix(): path for path in _files(partial)}
    for path in files.values():
        _sync_file(path)
    write_json(partial / MANIFEST, {**manifest, "files": {name: file_hash(path) for name, path in sorted(files.items())}})
    try:
        partial.rename(target)
    except OSError:
        if not (target / MANIFEST).is_file():
            raise
        shutil.rmtree(partial)
    sync_folder(target.parent)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact; RecordMismatch when it is missing or unreadable."""
    try:
        manifest: Any = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise _refused(folder, f"its manifest {MANIFEST} is missing or unreadable") from error
    if not isinstance(manifest, dict) or manifest.get("id") != folder.name or not isinstance(manifest.get("files"), dict):
        raise _refused(folder, f"its manifest {MANIFEST} is not that of {folder.name}")
    return manifest


def verify_artifact(folder: Path) -> dict[str, Any]:
    """The manifest, after every file it names was found with its hash."""
    manifest = read_manifest(folder)
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise _refused(folder, f"{name} is missing")
        if file_hash(path) != digest:
            raise _refused(folder, f"{name} has changed since it was written")
    return manifest


def resolve_model(model: Ready) -> Path:
    """The folder of a model that no stage makes: a local one with the weights its digest names, a hub model at its revision."""
    match model:
        case LocalModel():
            folder = Path(model.path)
            if not folder.is_dir():
                raise PrerequisiteError(f"there is no model folder {model.path}", hint="correct `path` in the scale file")
            if weights_digest(folder) != model.digest:
                what = f"the weights in {model.path} do not have the digest {model.digest}"
                raise RecordMismatch(what, hint=f"correct `path`, or `digest`: {weights_digest(folder)}")
            return folder
        case HubModel():
            from huggingface_hub import snapshot_download  # a heavy import that only hub models need

            try:
                return Path(snapshot_download(model.id, revision=model.revision))
            except (OSError, ValueError) as error:
                raise PrerequisiteError(f"model {model.id} at {model.revision} cannot be had: {error}") from error


def weights_digest(folder: Path) -> str:
    """sha256 over names and hashes of a folder's *.safetensors files, first 16 hex digits: the `digest` of a local model."""
    lines = [f"{path.name} {file_hash(path)}" for path in sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def sweep_partials(results: Results) -> None:
    """Remove what killed workers of this machine left: partial folders and temporary files whose process is gone."""
    for path in [*results.artifacts.glob("*.partial-*"), *results.runs.glob("*/*.partial-*")]:
        if not _alive(int(path.name.rpartition("-")[2])):
            shutil.rmtree(path)
    for path in [*results.runs.glob("*/.*.tmp"), *results.root.glob("stages/*/.*.tmp")]:
        if not _alive(int(path.name.split(".")[-2])):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)


def _sync_file(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _refused(folder: Path, reason: str) -> RecordMismatch:
    return RecordMismatch(f"stage artifact {folder}: {reason}", hint=f"remove it and run the grid again: rm -r {folder}")
