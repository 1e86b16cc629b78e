"""The shipped stages of `make demo`: check their hashes, copy them into the demo's own results
folder, make them again on demand.

They save the five minutes of training student and teacher. They are outside every results folder in
which a grid is planned, so they satisfy no plan but the demo's.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import RecordMismatch
from study.record.machine import this_machine
from study.record.owner import owner
from study.record.provenance import packages
from study.record.schema import Machine
from study.record.store import Results
from study.runner.graph.stages import StageNode, run_graph
from study.runner.verbs.equality import machine_differences
from study.runner.work.artifacts import MANIFEST, Damaged, is_made, verify_artifact
from study.spec.grid.labelled import LabelledRun

GRID = "smoke"
_TIMES = ("cost.json", MANIFEST)  # what two executions never share


def shipped_stages(folder: Path, runs: Sequence[LabelledRun]) -> list[StageNode]:
    """Return the stages of these runs that are shipped in `folder`, inputs first.

    An artifact of an older recipe or revision has another id, so it is not among them. Errors:
    RecordMismatch if a file is not the one that was sealed.
    """
    graph = {node.id: node for run in runs for node in run_graph(run.cell, run.seed)}
    found = [node for node in graph.values() if (folder / node.id).is_dir()]
    for node in found:
        try:
            verify_artifact(folder / node.id)
        except Damaged as error:
            raise RecordMismatch(
                error.message, hint=f"restore it: git checkout -- {folder / node.id}"
            ) from error
    return found


def copy_stages(nodes: Sequence[StageNode], folder: Path, results: Results) -> None:
    """Copy the shipped artifacts into `results`; existing ones stay."""
    for node in nodes:
        target = results.artifact(node.id)
        if is_made(target):
            continue
        partial = results.partial(node.id, owner())
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder / node.id, partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


@dataclass(frozen=True)
class Remade:
    """A shipped stage and the same stage made here. expected: whether equal bytes were expected."""

    stage: str
    differing: tuple[str, ...]
    expected: bool | None
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the bytes are equal, or were not expected to be."""
        return not self.differing or not self.expected


def compare_stage(shipped: Path, made: Path) -> Remade:
    """Compare every file of two artifacts by the hashes of their manifests, without times."""
    then, now = verify_artifact(shipped), verify_artifact(made)
    old, new = _hashes(then), _hashes(now)
    differing = tuple(name for name in sorted(old | new) if old.get(name) != new.get(name))
    recorded = Machine.model_validate(then["machine"]) if "machine" in then else None
    if recorded is None or recorded.torch is None:
        return Remade(shipped.name, differing, None, ("its manifest does not name the machine",))
    reasons = machine_differences(recorded, this_machine_of(now))
    if then["packages"] != packages():
        reasons.append("other package versions")
    return Remade(shipped.name, differing, not reasons, tuple(reasons))


def this_machine_of(manifest: Mapping[str, Any]) -> Machine:
    """Return the machine that a manifest names, else this one."""
    named = manifest.get("machine")
    return Machine.model_validate(named) if named else this_machine()


def _hashes(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {name: digest for name, digest in manifest["files"].items() if name not in _TIMES}
