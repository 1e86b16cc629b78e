"""Find or create the MLflow experiment of a grid, shown as model training, with its artifacts below
the results folder.

MLflow 3 shows an experiment as "GenAI apps & agents" (traces, prompts) or as "Model training"
(runs, charts) by its tag `mlflow.experimentKind`; without the tag it guesses from the content.

The artifacts of the results folder's own database have a plain file address, so that a client needs
no server to list them. A folder that was moved therefore has a new address: the experiment with the
old one is set aside, and the mirror is filled again from the records.
"""

import re
from pathlib import Path
from typing import Any

KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"


def found_experiment(client: Any, name: str, folder: Path | None) -> str:
    """Return the id of the experiment `name`; restore it where it was deleted.

    folder: where its artifacts go; None = a server decides.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and folder is not None and found.artifact_location != _location(folder):
        _set_aside(client, found)
        found = None
    if found is None:
        return _created(client, name, folder)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    if found.tags.get(KIND_TAG) != KIND:
        client.set_experiment_tag(found.experiment_id, KIND_TAG, KIND)
    return found.experiment_id


def artifact_folder(root: Path, name: str) -> Path:
    """Return the folder of an experiment's artifacts below
    `root`; names keep letters, digits and -_.
    """
    return root.resolve() / re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _location(folder: Path) -> str:
    return folder.as_uri()


def _created(client: Any, name: str, folder: Path | None) -> str:
    location = None if folder is None else _location(folder)
    try:
        return client.create_experiment(name, artifact_location=location, tags={KIND_TAG: KIND})
    except Exception:
        found = client.get_experiment_by_name(name)  # another writer was first
        if found is None:
            raise
        return found.experiment_id


def _set_aside(client: Any, experiment: Any) -> None:
    """Delete an experiment that belongs to another folder; its name is free afterwards."""
    old = f"{experiment.name} (moved, {experiment.experiment_id})"
    client.rename_experiment(experiment.experiment_id, old)
    if experiment.lifecycle_stage != "deleted":
        client.delete_experiment(experiment.experiment_id)
