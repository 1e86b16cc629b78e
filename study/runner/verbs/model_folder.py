"""Find the model folder for what a user typed: a folder, a run or stage of a results folder, or a
hub id with its revision.
"""

from pathlib import Path

from study.data.hub.errors import hub_errors
from study.errors import PrerequisiteError, SpecError
from study.evaluate.request import ModelFolder
from study.record.store import Results
from study.runner.verbs.export import find
from study.runner.work.artifacts import NEVER_FETCHED, weights_digest


def find_model_folder(name: str, results: Results) -> ModelFolder:
    """Return the model folder of `name`.

    An existing folder is taken first, then `organisation/model[@revision]`, then an id of the
    results folder, with its hashes checked.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder.resolve().name, folder)
    if name.startswith((".", "/", "~")):
        raise PrerequisiteError(
            f"there is no folder {name}",
            hint="give a model folder, organisation/model@revision, or a run or stage id",
        )
    if "/" in name:
        return _from_hub(name)
    try:
        source = find(name, results)
    except SpecError as error:
        hint = (
            f"a model folder, organisation/model@revision, or a run or stage of {results.root}"
            f" (--results); {error.hint}"
        )
        raise SpecError(f"{name!r} is not a model: {error.message}", hint=hint) from error
    return _checked(source.stage, source.folder)


def _from_hub(name: str) -> ModelFolder:
    """Download a hub model. The revision is stored as the commit that it names today."""
    from huggingface_hub import snapshot_download  # a heavy import that only hub models need

    repository, _, revision = name.partition("@")
    try:
        folder = Path(
            snapshot_download(
                repository, revision=revision or None, ignore_patterns=list(NEVER_FETCHED)
            )
        )
    except hub_errors() as error:
        reason = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
            if str(error).strip()
            else type(error).__name__
        )
        hint = (
            "is it spelled right, and can the hub be reached? A gated model: accept its terms, then"
            " hf auth login. A folder needs no hub"
        )
        raise PrerequisiteError(f"could not download model {name} ({reason})", hint=hint) from error
    return _checked(f"{repository}@{folder.name[:12]}", folder)


def _checked(name: str, folder: Path) -> ModelFolder:
    if (folder / "config.json").is_file():
        return ModelFolder(name, folder, weights_digest(folder))
    if (folder / "adapter_config.json").is_file():
        hint = (
            "merge it into its base model first: PeftModel.merge_and_unload(), then"
            " save_pretrained(FOLDER)"
        )
        raise PrerequisiteError(f"{folder} holds an adapter, not a model", hint=hint)
    raise PrerequisiteError(
        f"{folder} is not a model folder (no config.json)",
        hint="a folder that transformers' save_pretrained wrote",
    )
