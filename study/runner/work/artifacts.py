"""Stage artifacts: sealed folders with the manifest `stage.json`, and the functions that seal,
check and quarantine them.

A damaged artifact is moved to `quarantine/` and made again: a changed input must not influence a
result, and no file of the user's is deleted without a request. `drop_weights` (profile: keep none)
leaves history and manifest; a stage that needs the weights makes them again.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.data.hub.errors import hub_errors
from study.errors import PrerequisiteError, RecordMismatch
from study.record import folders
from study.record.provenance import file_hash
from study.record.store import Results, write_json
from study.runner.graph.stages import Ready
from study.spec.recipe.model import HubModel, LocalModel

MANIFEST = "stage.json"
# Code and pickles.
NEVER_FETCHED = (
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.pkl",
    "*.pickle",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.gguf",
    "*.py",
)
WEIGHTS = (".safetensors", ".safetensors.index.json")


class Damaged(RecordMismatch):
    """An artifact differs from what was sealed. `stage`: its id."""

    def __init__(self, stage: str, error: RecordMismatch) -> None:
        super().__init__(error.message, hint=error.hint)
        self.stage = stage


def seal_artifact(
    partial: Path,
    target: Path,
    manifest: dict[str, Any],
    check: Callable[[], None] = folders.nothing_to_check,
) -> None:
    """Seal `partial` as `target`.

    It replaces an artifact whose weights were dropped; an artifact that another process made first
    stays. check: raises once the lock on the stage is lost.
    """
    # a folder on a node's own disk is copied, because a rename cannot cross file systems
    if target.parent != partial.parent:
        near = target.parent / partial.name
        shutil.copytree(partial, near)
        shutil.rmtree(partial)
        partial = near
    if is_dropped(target):
        check()
        shutil.rmtree(target)
    folders.seal_folder(partial, target, manifest, MANIFEST, check)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an artifact; Damaged if it is missing or unreadable."""
    try:
        manifest = folders.read_manifest(folder, MANIFEST)
        if manifest.get("id") != folder.name:
            raise folders.refused(folder, f"its manifest {MANIFEST} is not that of {folder.name}")
    except RecordMismatch as error:
        raise Damaged(folder.name, error) from error
    return manifest


def verify_artifact(folder: Path) -> dict[str, Any]:
    """Return the manifest after checking the hash of every file that it names."""
    manifest = read_manifest(folder)
    try:
        folders.verify_folder(folder, MANIFEST)
    except RecordMismatch as error:
        raise Damaged(folder.name, error) from error
    return manifest


def is_made(folder: Path) -> bool:
    """Whether an artifact with its weights seems to exist; its
    hashes are checked when it is used.
    """
    return (folder / MANIFEST).is_file() and not is_dropped(folder)


def is_dropped(folder: Path) -> bool:
    return (folder / "dropped.json").is_file()


def drop_weights(folder: Path) -> None:
    """Remove the weights of an artifact whose runs are sealed.

    If this is interrupted, the weights still count as dropped.
    """
    weights = [path for path in folder.rglob("*") if path.name.endswith(WEIGHTS)]
    write_json(
        folder / "dropped.json",
        {"files": sorted(path.relative_to(folder).as_posix() for path in weights)},
    )
    for path in weights:
        path.unlink(missing_ok=True)


def quarantine(path: Path, results: Results) -> Path | None:
    """Move a damaged artifact or record aside; return its new path, or None if another process has
    just done it.
    """
    name = path.parent.name if path.name == "record.json" else path.name
    results.quarantine.mkdir(parents=True, exist_ok=True)
    number = 1 + max(
        (int(p.name.rpartition("~")[2]) for p in results.quarantine.glob(f"{name}~*")), default=0
    )
    target = results.quarantine / f"{name}~{number}"
    with contextlib.suppress(FileNotFoundError):
        path.rename(target)
        return target
    return None


def resolve_model(model: Ready) -> Path:
    """Return the folder of a model that no stage makes: a local one whose weights match its digest,
    a hub model at its revision.
    """
    match model:
        case LocalModel():
            folder = Path(model.path)
            if not folder.is_dir():
                raise PrerequisiteError(
                    f"there is no model folder {model.path}",
                    hint="correct `path` in the scale file",
                )
            if weights_digest(folder) != model.digest:
                what = f"the weights in {model.path} do not have the digest {model.digest}"
                raise RecordMismatch(
                    what, hint=f"correct `path`, or `digest`: {weights_digest(folder)}"
                )
            return folder
        case HubModel():
            # A heavy import that only hub models need.
            from huggingface_hub import snapshot_download

            try:
                return Path(
                    snapshot_download(
                        model.id, revision=model.revision, ignore_patterns=list(NEVER_FETCHED)
                    )
                )
            except hub_errors() as error:
                reason = (
                    f"{type(error).__name__}:"
                    f" {(str(error).strip() or 'no reason given').splitlines()[0][:120]}"
                )
                hint = (
                    "where the hub can be reached: study fetch --scale NAME --into FOLDER"
                    " (docs/paper-data.md)"
                )
                raise PrerequisiteError(
                    f"could not download model {model.id} at {model.revision[:12]} ({reason})",
                    hint=hint,
                ) from error


def weights_digest(folder: Path) -> str:
    """Return the sha256 over names and hashes of a folder's *.safetensors files, first 16 hex
    digits: the `digest` of a local model.
    """
    lines = [f"{path.name} {file_hash(path)}" for path in sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
