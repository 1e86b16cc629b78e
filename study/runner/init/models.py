"""A user's models as entries of a scale: a hub id at a commit, a model folder, or a run or
stage of a results folder.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.hub.errors import hub_errors
from study.errors import PrerequisiteError
from study.record.store import Results
from study.runner.verbs.model_folder import find_model_folder
from study.runner.work.artifacts import NEVER_FETCHED
from study.spec.grid.scale import Scale
from study.spec.yaml.load import plain

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TEXT_FILES = (
    "config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
    "generation_config.json",
)


@dataclass(frozen=True)
class OwnModel:
    """A user's model.

    entry: its entry in the scale. folder: where configuration and tokenizer can be read; None for a
    hub model that is not on this machine.
    """

    name: str
    entry: dict[str, Any]
    folder: Path | None


def own_model(name: str, results: Results, known: Scale) -> OwnModel:
    """Return the model that a user named.

    Errors: SpecError or PrerequisiteError if it is not a model, or
    a hub model whose commit is unknown.
    """
    if "/" not in name or name.startswith((".", "/", "~")) or Path(name).expanduser().is_dir():
        found = find_model_folder(name, results)
        entry = {"kind": "local", "path": str(found.folder.resolve()), "digest": found.digest}
        return OwnModel(found.name, entry, found.folder)
    hub_id, _, revision = name.partition("@")
    commit = (
        revision
        if _COMMIT.fullmatch(revision)
        else _pinned(hub_id, known)
        if not revision
        else None
    )
    entry = {"kind": "hub", "id": hub_id, "revision": commit or _commit_today(hub_id, revision)}
    return OwnModel(hub_id, entry, _cached(hub_id, entry["revision"]))


def _pinned(hub_id: str, known: Scale) -> str | None:
    """Return the commit of this model in the extended scale."""
    entries: dict[str, Any] = plain(known.page).get("models", {})
    same = (
        entry for entry in entries.values() if isinstance(entry, dict) and entry.get("id") == hub_id
    )
    first: Any = next(same, None)
    return None if first is None else str(first["revision"])


def _commit_today(hub_id: str, revision: str) -> str:
    """Return the commit that a branch or a tag names today;
    without one, that of the default branch.
    """
    from huggingface_hub import HfApi  # a heavy import that only hub models need

    try:
        return str(HfApi().model_info(hub_id, revision=revision or None).sha)
    except hub_errors() as error:
        hint = f"write the commit: {hub_id}@<40 hex digits>, as its page on the hub shows it"
        raise PrerequisiteError(
            f"could not look up the commit of {hub_id} ({type(error).__name__})", hint=hint
        ) from error


def _cached(hub_id: str, revision: str) -> Path | None:
    """Return the folder of configuration and tokenizer, from the cache or the hub; None if neither
    has them.
    """
    from huggingface_hub import snapshot_download  # likewise

    try:
        how: dict[str, Any] = {
            "allow_patterns": list(_TEXT_FILES),
            "ignore_patterns": list(NEVER_FETCHED),
        }
        folder = Path(snapshot_download(hub_id, revision=revision, local_files_only=True, **how))
    except hub_errors():
        return None
    return folder if (folder / "config.json").is_file() else None
