"""Write down a finished stage and a finished run: the manifest of an artifact; the record with its
provenance and costs.
"""

import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.record import provenance
from study.record.assemble import assemble, rounded_tree, score
from study.record.checkpoints import Checkpoints
from study.record.machine import this_machine
from study.record.schema import Cost, Machine, Provenance, Record
from study.record.store import Results
from study.runner.graph.stages import Ready, RunPlan, StageNode, run_graph, run_roles
from study.runner.work.artifacts import Damaged, is_dropped, read_manifest
from study.spec.identity import REVISIONS, canonical, repeat_of, stage_id


class Clock:
    """Wall and core seconds of this process since the clock was made, and that time (UTC)."""

    def __init__(self) -> None:
        self.started = provenance.utc_now()
        self._wall, self._core = time.monotonic(), _core_seconds()

    def read(self) -> dict[str, float]:
        return {
            "wall_s": round(time.monotonic() - self._wall, 3),
            "core_s": round(_core_seconds() - self._core, 3),
        }


def _core_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def manifest_of(node: StageNode, clock: Clock, before: Mapping[str, float]) -> dict[str, Any]:
    """Return the manifest of a stage.

    Its seconds are those of every attempt up to the checkpoint from which the next one continued,
    plus those of the last attempt.
    """
    return {
        "id": node.id,
        "kind": node.kind,
        "recipe": json.loads(canonical(node.recipe)),
        "seed": node.seed,
        "revision": REVISIONS[node.kind],
        "inputs": dict(node.inputs),
        "steps": node.steps,
        **{name: round(value + before.get(name, 0.0), 3) for name, value in clock.read().items()},
        "started": clock.started,
        "code": provenance.code_hash(),
        "packages": provenance.packages(),
        "machine": this_machine().model_dump(),
    }


def first_claims(node: StageNode, target: Path, checkpoints: Checkpoints) -> dict[str, Any]:
    """Return `claims`, the state under which a stage was first started, for its manifest; empty
    where that is not recorded.

    A stage that is made again because its weights were dropped, or
    that continues from a checkpoint, has curves that could be seen
    before: the earlier state stays. None: nothing was declared.
    """
    try:
        before = read_manifest(target) if is_dropped(target) else checkpoints.first_manifest()
    except Damaged:
        return {}
    if before is None:
        return {"claims": node.claims}
    return {"claims": before["claims"]} if "claims" in before else {}


def record_of(
    run: RunPlan,
    results: Results,
    evaluations: dict[str, dict[str, Any]],
    probes: dict[str, dict[str, float]],
    clock: Clock,
) -> Record:
    folders = [results.artifact(node.id) for node in run_graph(run.cell, run.seed)]
    manifests = [read_manifest(folder) for folder in folders]
    left = ("history.json", "evidence.json", "guard.json")
    own = (
        None
        if isinstance(run.cell.model, Ready)
        else results.artifact(stage_id(run.cell.model, run.seed))
    )
    history, evidence, guard = (read_json(own / name, {}) if own else {} for name in left)
    stopped_at = guard.get("stopped_at")
    fields: dict[str, Any] = {
        "run": run.run_id,
        "cell": run.cell_id,
        "seed": run.seed,
        "repeat": repeat_of(run.cell),
        "scale": run.cell.scale,
        "status": "completed" if stopped_at is None else "collapsed",
        "collapsed_at": stopped_at,
        "spec": json.loads(canonical(run.cell)),
        "stages": run_roles(run.cell, run.seed),
        "revisions": (
            {manifest["kind"]: manifest["revision"] for manifest in manifests}
            | {"evaluate": REVISIONS["evaluate"]}
        ),
        "provenance": _provenance(
            run, manifests, read_manifest(own)["started"] if own else clock.started
        ),
        "scores": {name: score(evaluation) for name, evaluation in evaluations.items()},
        "probes": rounded_tree(probes),
        "guard": (
            {key: guard[key] for key in ("policy", "alarms", "stopped_at", "fell_at")}
            if guard
            else None
        ),
        "cost": _costs(
            folders,
            manifests,
            clock,
            sum(int(one.get("tokens_sampled", 0)) for one in evaluations.values()),
        ),
    }
    return assemble(fields, history.get("columns", {}), evidence)


def _provenance(run: RunPlan, manifests: list[dict[str, Any]], started: str) -> Provenance:
    code, machine = provenance.code_hash(), this_machine()
    machines = {manifest["id"]: _machine_of(manifest) for manifest in manifests}
    return Provenance(
        code=code,
        stage_code={
            manifest["id"]: manifest["code"] for manifest in manifests if manifest["code"] != code
        },
        machine=machine,
        stage_machines={stage: made for stage, made in machines.items() if made != machine},
        packages=provenance.packages(),
        python=provenance.python_version(),
        platform=provenance.platform_name(),
        claims=run.claims,
        stage_claims={
            manifest["id"]: _claims_of(manifest)
            for manifest in manifests
            if _claims_of(manifest) != (run.claims or "")
        },
        preregistration=run.preregistration,
        started=started,
        finished=provenance.utc_now(),
    )


def _claims_of(manifest: dict[str, Any]) -> str | None:
    """Return the state under which a stage was started: "" if nothing was declared, None for a
    stage made before manifests named it.
    """
    return (manifest["claims"] or "") if "claims" in manifest else None


def _machine_of(manifest: dict[str, Any]) -> Machine | None:
    """Return the machine of a manifest; None for a stage made
    before manifests named the machine.
    """
    return Machine.model_validate(manifest["machine"]) if "machine" in manifest else None


def _costs(
    folders: list[Path], manifests: list[dict[str, Any]], clock: Clock, tokens_evaluated: int
) -> dict[str, Cost]:
    """Return the costs summed by stage kind: a run with two pretrained models has one entry
    `pretrain` for both.
    """
    seconds = clock.read()
    costs = {
        "evaluate": Cost(
            wall_s=seconds["wall_s"], core_s=seconds["core_s"], tokens_sampled=tokens_evaluated
        )
    }
    for folder, manifest in zip(folders, manifests, strict=True):
        tokens = read_json(folder / "cost.json", {})
        before = costs.get(manifest["kind"], Cost(wall_s=0.0, core_s=0.0))
        costs[manifest["kind"]] = Cost(
            wall_s=round(before.wall_s + manifest["wall_s"], 3),
            core_s=round(before.core_s + manifest["core_s"], 3),
            tokens_sampled=before.tokens_sampled + int(tokens.get("tokens_sampled", 0)),
            tokens_scored=before.tokens_scored + int(tokens.get("tokens_scored", 0)),
        )
    return costs


def read_json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.is_file():
        return default
    return json.loads(path.read_bytes())
