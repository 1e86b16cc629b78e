"""One stage, one run: the only long story.

Both are functions of ids, folders and two callables; they know no process, queue or screen.

Stage: check its inputs -> build into <id>.partial-<owner>, from the last checkpoint if there is one
-> manifest with the hashes of its files, last -> rename. Run: check its model -> evaluate into
evaluation.partial-<owner> -> assemble, seal and write the record, last. Killed anywhere, the next
execution continues and finds nothing half-written that counts as done.
"""

import contextlib
import json
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError, RecordMismatch
from study.record import provenance
from study.record.assemble import assemble, rounded_tree, score
from study.record.checkpoints import Checkpoints
from study.record.folders import nothing_to_check
from study.record.machine import this_machine
from study.record.owner import owner
from study.record.progress import ReportProgress
from study.record.schema import Cost, Machine, Provenance, Record
from study.record.store import Results, read_record, write_record_once
from study.runner.graph.stages import Ready, StageNode, run_graph, run_roles
from study.runner.work.artifacts import (
    Damaged,
    is_dropped,
    quarantine,
    read_manifest,
    resolve_model,
    seal_artifact,
    verify_artifact,
)
from study.spec.grid.cell import Cell, models_beside
from study.spec.identity import REVISIONS, canonical, stage_id
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import Model
from study.spec.recipe.probe import Probe

Build = Callable[[Model, int, Mapping[str, Path], Path, ReportProgress, Checkpoints], None]
Beside = Mapping[
    str, Path
]  # folders of the models beside a cell's own, by the canonical text of their recipe
Evaluate = Callable[[Evaluation, Path, int, Path, ReportProgress, Beside], None]
Measure = Callable[[Probe, Path, int, ReportProgress, Beside], dict[str, float]]

GENERATIONS = (  # stays beside the record, so that a run can be graded again without generating
    "generations.jsonl.gz"
)
LAB_PACKAGES = ("torch", "transformers", "trl", "datasets", "lm_eval")


@dataclass(frozen=True)
class Work:
    """Who does the work, as "module:name", so that it travels to a worker unimported.

    Tests put torch-free functions here.
    """

    build: str = "study.train.build:build"
    evaluate: str = "study.evaluate.run:evaluate"
    measure: str = "study.evaluate.probes:measure"

    @property
    def modules(self) -> list[str]:
        """What workers import before their first task; probes are imported by the runs that have
        some.
        """
        return [entry.partition(":")[0] for entry in (self.build, self.evaluate)]

    def require_packages(self) -> None:
        """Refuses in the parent, before anything is spent, what would fail every run.

        Looks packages up and imports none.
        """
        if not self.build.startswith("study."):
            return
        missing = [package for package in LAB_PACKAGES if find_spec(package) is None]
        if missing:
            hint = "install the lab extra: pip install 'opd-study[lab]'"
            raise PrerequisiteError(
                f"running needs packages that are not installed: {', '.join(missing)}", hint=hint
            )


@dataclass(frozen=True)
class RunPlan:
    """A run as the executor needs it. `claims`: hash of the claims file that was in force when the
    run was planned.
    """

    run_id: str
    cell_id: str
    cell: Cell
    seed: int
    claims: str | None = None


def load(entry: str) -> Any:
    """The object behind "module:name". A missing package is a missing extra, not a traceback."""
    module, _, name = entry.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("study", module.partition(".")[0]):
            raise
        hint = "install the lab extra: pip install 'opd-study[lab]'"
        raise PrerequisiteError(f"running needs the package {error.name}", hint=hint) from error


def execute_stage(
    node: StageNode,
    results: Results,
    work: Work,
    report: ReportProgress,
    checkpoints: Checkpoints | None = None,
    check_lock: Callable[[], None] = nothing_to_check,
) -> Path:
    """Make the artifact of `node`, or verify the one that is there; a damaged one is moved aside.

    check_lock: called before each change that another process could meet; it raises once this one
    has lost the lock on the stage. Raises Damaged for a damaged input.
    """
    target = results.artifact(node.id)
    checkpoints = checkpoints or Checkpoints(results.checkpoints(node.id))
    checkpoints.check_lock = check_lock
    if target.exists() and not is_dropped(target):
        try:
            verify_artifact(target)
            checkpoints.clear()  # killed after the seal
            return target
        except Damaged:
            check_lock()
            quarantine(target, results)
    clock = Clock()
    checkpoints.clock = clock.read
    inputs = _input_folders(node, results)
    partial = _fresh(results.partial(node.id, owner()))
    build: Build = load(work.build)
    try:
        build(node.recipe, node.seed, inputs, partial, report, checkpoints)
        seal_artifact(partial, target, _manifest(node, clock, checkpoints.spent()), check_lock)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    checkpoints.clear()
    return target


def execute_run(
    run: RunPlan,
    results: Results,
    work: Work,
    report: ReportProgress,
    check_lock: Callable[[], None] = nothing_to_check,
) -> Record:
    """Evaluate the model of a run whose stages are made and write its record; one that another
    process has just sealed stays. check_lock: as for a stage.
    """
    if results.record(run.run_id).is_file():
        with contextlib.suppress(RecordMismatch):  # a damaged one is written anew
            return read_record(results.record(run.run_id))
    model_dir = _model_folder(run.cell.model, run.seed, results)
    beside = {
        canonical(model): _model_folder(model, run.seed, results)
        for model in models_beside(run.cell)
    }
    clock = Clock()
    evaluations = _evaluated(run, model_dir, beside, results, work, report, check_lock)
    measure: Measure | None = load(work.measure) if run.cell.probes else None
    probes = (
        {
            probe.name: measure(probe, model_dir, run.seed, report, beside)
            for probe in run.cell.probes
        }
        if measure
        else {}
    )
    record = _assemble(run, results, evaluations, probes, clock)
    check_lock()
    return write_record_once(results.record(run.run_id), record)


def _evaluated(
    run: RunPlan,
    model_dir: Path,
    beside: Beside,
    results: Results,
    work: Work,
    report: ReportProgress,
    check_lock: Callable[[], None],
) -> dict[str, dict[str, Any]]:
    """Name of the score -> evaluation.json.

    The completions of the cell's own task are kept beside the record.
    """
    evaluate: Evaluate = load(work.evaluate)
    partial = _fresh(results.run(run.run_id) / f"evaluation.partial-{owner()}")
    found: dict[str, dict[str, Any]] = {}
    try:
        for i, spec in enumerate(run.cell.evaluations):
            out = _fresh(partial / str(i))
            evaluate(spec, model_dir, run.seed, out, report, beside)
            found[spec.score_name] = _read_json(out / "evaluation.json")
        if (partial / "0" / GENERATIONS).is_file():
            check_lock()
            (partial / "0" / GENERATIONS).replace(results.run(run.run_id) / GENERATIONS)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


class Clock:
    """Wall and core seconds of this process since it was made, and when that was (UTC)."""

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


def _input_folders(node: StageNode, results: Results) -> dict[str, Path]:
    made = {role: results.artifact(stage) for role, stage in node.inputs.items()}
    for folder in made.values():
        verify_artifact(folder)
    return made | {role: resolve_model(model) for role, model in node.ready.items()}


def _model_folder(model: Model, seed: int, results: Results) -> Path:
    if isinstance(model, Ready):
        return resolve_model(model)
    folder = results.artifact(stage_id(model, seed))
    verify_artifact(folder)
    return folder


def _manifest(node: StageNode, clock: Clock, before: Mapping[str, float]) -> dict[str, Any]:
    """Seconds are those of every attempt up to the checkpoint that the next one continued from, and
    of the last one.
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


def _assemble(
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
    history, evidence, guard = (_read_json(own / name, {}) if own else {} for name in left)
    stopped_at = guard.get("stopped_at")
    fields: dict[str, Any] = {
        "run": run.run_id,
        "cell": run.cell_id,
        "seed": run.seed,
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
        started=started,
        finished=provenance.utc_now(),
    )


def _machine_of(manifest: dict[str, Any]) -> Machine | None:
    """None for a stage that was made before manifests named the machine."""
    return Machine.model_validate(manifest["machine"]) if "machine" in manifest else None


def _costs(
    folders: list[Path], manifests: list[dict[str, Any]], clock: Clock, tokens_evaluated: int
) -> dict[str, Cost]:
    """Sums by stage kind: a run with two pretrained models has one entry `pretrain` for both."""
    seconds = clock.read()
    costs = {
        "evaluate": Cost(
            wall_s=seconds["wall_s"], core_s=seconds["core_s"], tokens_sampled=tokens_evaluated
        )
    }
    for folder, manifest in zip(folders, manifests, strict=True):
        tokens = _read_json(folder / "cost.json", {})
        before = costs.get(manifest["kind"], Cost(wall_s=0.0, core_s=0.0))
        costs[manifest["kind"]] = Cost(
            wall_s=round(before.wall_s + manifest["wall_s"], 3),
            core_s=round(before.core_s + manifest["core_s"], 3),
            tokens_sampled=before.tokens_sampled + int(tokens.get("tokens_sampled", 0)),
            tokens_scored=before.tokens_scored + int(tokens.get("tokens_scored", 0)),
        )
    return costs


def _fresh(folder: Path) -> Path:
    if folder.exists():  # a dead process of the same id
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def _read_json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.is_file():
        return default
    return json.loads(path.read_bytes())
