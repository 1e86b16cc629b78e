"""Find stages whose checkpoint cannot be continued, because other code, packages or another Python
wrote it: what starts at step 0 again, and how much training that costs.

Only manifests are read here. Whether a checkpoint is complete is checked when it is used.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import RecordMismatch
from study.record.checkpoints import MANIFEST, step_of, writer
from study.record.folders import read_manifest
from study.record.store import Results, one_name
from study.runner.graph.stages import StageNode

_SHOWN = 5


@dataclass(frozen=True)
class Restart:
    """A stage that starts at step 0 again.

    step: the step of the checkpoint; seconds: wall time of the training up to it; copy: the copy of
    the code that wrote it, if it exists.
    """

    node: StageNode
    step: int
    seconds: float
    why: str
    copy: Path | None


def restarts(stages: Iterable[StageNode], results: Results) -> tuple[Restart, ...]:
    """Return the stages that start at step 0 although there is a checkpoint, in the order given."""
    found = [_restart(node, results) for node in stages]
    return tuple(restart for restart in found if restart is not None)


def _restart(node: StageNode, results: Results) -> Restart | None:
    folder = results.checkpoints(node.id)
    manifests = [_manifest(path) for path in folder.glob("step-*") if step_of(path) >= 0]
    readable = [manifest for manifest in manifests if manifest is not None]
    if not readable or any(manifest["written_by"] == writer() for manifest in readable):
        return None
    newest = max(readable, key=lambda manifest: manifest["step"])
    wrote = newest["written_by"]
    copy = results.code / one_name(str(wrote.get("code") or "unknown"))
    kept = copy if copy.is_dir() else None
    return Restart(node, newest["step"], newest["spent"]["wall_s"], _difference(wrote), kept)


def _manifest(path: Path) -> dict[str, Any] | None:
    """Read a manifest; None if it is damaged: such a checkpoint is dropped, whatever the code."""
    try:
        manifest = read_manifest(path, MANIFEST)
        spent = {"wall_s": float(manifest["spent"]["wall_s"])}
        return {
            "step": int(manifest["step"]),
            "spent": spent,
            "written_by": dict(manifest["written_by"]),
        }
    except (RecordMismatch, OSError, KeyError, TypeError, ValueError):
        return None


def _difference(wrote: dict[str, Any]) -> str:
    """Say what changed in a few words: packages by name, the code by the beginning of its hash."""
    now = writer()
    packages = wrote.get("packages") or {}
    names = sorted({*packages, *now["packages"]})
    changes = [
        f"{name} {packages.get(name, 'missing')} -> {now['packages'].get(name, 'missing')}"
        for name in names
        if packages.get(name) != now["packages"].get(name)
    ]
    if wrote.get("python") != now["python"]:
        changes.insert(0, f"Python {wrote.get('python')} -> {now['python']}")
    if wrote.get("code") != now["code"]:
        changes.insert(0, f"the code {str(wrote.get('code'))[:8]} -> {now['code'][:8]}")
    return ", ".join(changes)


def restart_lines(found: Sequence[Restart]) -> list[str]:
    """Return the lines for the user before training starts at 0; none if no stage does."""
    lines = [
        f"{one.node.id} starts at step 0: its checkpoint at step {one.step} of {one.node.steps}"
        f" ({_minutes(one.seconds)} of training) was written by another state ({one.why})"
        for one in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        rest = found[_SHOWN:]
        time = _minutes(sum(one.seconds for one in rest))
        lines.append(f"... and {len(rest)} more stages ({time} of training)")
    if found:
        copy = found[0].copy
        kept = f" (a copy of its code is in {copy})" if copy else ""
        lines.append(f"to continue instead, put back the state that wrote it{kept}")
    return lines


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
