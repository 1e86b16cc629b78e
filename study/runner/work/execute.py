"""Execute one stage or one run: make its artifact, or evaluate it and write its record.

Both functions depend only on ids, folders and two callables; they know no process, queue or screen.

Stage: check its inputs -> build into <id>.partial-<owner>, from the last checkpoint if there is one
-> write the manifest with the hashes of its files, last -> rename. Run: check its model -> evaluate
into evaluation.partial-<owner> -> assemble, seal and write the record, last. After a kill at any
point, the next execution continues; no half-written file counts as done.
"""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError, RecordMismatch
from study.record.checkpoints import Checkpoints
from study.record.folders import nothing_to_check
from study.record.owner import owner
from study.record.progress import ReportProgress
from study.record.schema import Record
from study.record.store import Results, read_record, write_record_once
from study.runner.graph.stages import Ready, RunPlan, StageNode
from study.runner.work.artifacts import (
    Damaged,
    is_dropped,
    quarantine,
    resolve_model,
    seal_artifact,
    verify_artifact,
)
from study.runner.work.recording import Clock, first_claims, manifest_of, read_json, record_of
from study.spec.grid.cell import models_beside
from study.spec.identity import canonical, stage_id
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import Model
from study.spec.recipe.probe import Probe

Build = Callable[[Model, int, Mapping[str, Path], Path, ReportProgress, Checkpoints], None]
# Folders of the models beside a cell's own, by the canonical text of their recipe.
Beside = Mapping[str, Path]
Evaluate = Callable[[Evaluation, Path, int, Path, ReportProgress, Beside], None]
Measure = Callable[[Probe, Path, int, ReportProgress, Beside], dict[str, float]]

GENERATIONS = (  # stays next to the record, so that a run can be graded again without generating
    "generations.jsonl.gz"
)
LAB_PACKAGES = ("torch", "transformers", "trl", "datasets", "lm_eval")


@dataclass(frozen=True)
class Work:
    """The functions that do the work, as "module:name", so that
    a worker receives them without an import.

    Tests put torch-free functions here.
    """

    build: str = "study.train.build:build"
    evaluate: str = "study.evaluate.run:evaluate"
    measure: str = "study.evaluate.probes:measure"

    @property
    def modules(self) -> list[str]:
        """Return the modules that workers import before their first task; a run with probes imports
        those itself.
        """
        return [entry.partition(":")[0] for entry in (self.build, self.evaluate)]

    def require_packages(self) -> None:
        """Refuse in the parent, before anything starts, missing packages that would fail every run.

        This looks packages up and imports none.
        """
        if not self.build.startswith("study."):
            return
        missing = [package for package in LAB_PACKAGES if find_spec(package) is None]
        if missing:
            hint = "install the lab extra: pip install 'opd-study[lab]'"
            raise PrerequisiteError(
                f"running needs packages that are not installed: {', '.join(missing)}", hint=hint
            )


def load(entry: str) -> Any:
    """Return the object of "module:name". A missing package is reported as a missing extra, without
    a traceback.
    """
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
    checkpoints.carried = first_claims(node, target, checkpoints)
    inputs = _input_folders(node, results)
    partial = _fresh(results.partial(node.id, owner()))
    build: Build = load(work.build)
    try:
        build(node.recipe, node.seed, inputs, partial, report, checkpoints)
        manifest = manifest_of(node, clock, checkpoints.spent()) | checkpoints.carried
        seal_artifact(partial, target, manifest, check_lock)
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
    process has just sealed stays.

    check_lock: as for a stage.
    """
    if results.record(run.run_id).is_file():
        with contextlib.suppress(RecordMismatch):  # a damaged one is written again
            return read_record(results.record(run.run_id))
    model_dir = _model_folder(run.cell.model, run.seed, results)
    beside = {
        canonical(model): _model_folder(model, run.seed, results)
        for model in models_beside(run.cell)
    }
    clock = Clock()
    evaluations = _evaluated(run, model_dir, beside, results, work, report, check_lock)
    probes: dict[str, dict[str, float]] = {}
    if run.cell.probes:
        measure: Measure = load(work.measure)
        for probe in run.cell.probes:
            probes[probe.name] = measure(probe, model_dir, run.seed, report, beside)
    record = record_of(run, results, evaluations, probes, clock)
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
    """Return name of the score -> evaluation.json.

    The completions of the cell's own task are kept next to the record.
    """
    evaluate: Evaluate = load(work.evaluate)
    partial = _fresh(results.run(run.run_id) / f"evaluation.partial-{owner()}")
    found: dict[str, dict[str, Any]] = {}
    try:
        for i, spec in enumerate(run.cell.evaluations):
            out = _fresh(partial / str(i))
            evaluate(spec, model_dir, run.seed, out, report, beside)
            found[spec.score_name] = read_json(out / "evaluation.json")
        if (partial / "0" / GENERATIONS).is_file():
            check_lock()
            (partial / "0" / GENERATIONS).replace(results.run(run.run_id) / GENERATIONS)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


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


def _fresh(folder: Path) -> Path:
    if folder.exists():  # left by a dead process of the same id
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
