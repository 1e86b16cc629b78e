"""Export a run or a stage as a model folder that
transformers loads: the model's files and a model card.

The folder is written next to its target under another name
and renamed, so that it is complete or absent.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from study.errors import IncompleteResults, PrerequisiteError, SpecError
from study.record.owner import owner
from study.record.schema import Record
from study.record.store import Results, read_record, record_paths
from study.runner.verbs.card import model_card
from study.runner.work.artifacts import MANIFEST, is_dropped, verify_artifact
from study.spec.identity import REVISIONS, parts_of_run

MODEL_FILES = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
    "chat_template.jinja",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """What is exported. record: the run that evaluated the model, if known; step: of kept weights,
    None for the final ones.
    """

    stage: str
    folder: Path
    manifest: Mapping[str, Any]
    record: Record | None
    step: int | None


def find(name: str, results: Results, step: int | None = None) -> Source:
    """Find what `name` means: the id of a run or stage, or a unique beginning or end of one.

    Every hash of the artifact is checked. Errors: SpecError (unknown or ambiguous),
    IncompleteResults (not made), PrerequisiteError (not kept), RecordMismatch (damaged).
    """
    records = {
        _run(path): path
        for folder in (results.records, results.runs)
        for path in record_paths(folder)
    }
    stages = sorted(path.parent.name for path in results.artifacts.glob(f"*/{MANIFEST}"))
    unsealed = sorted(path.name for path in results.runs.glob("*-s*") if path.name not in records)
    chosen = _choose(name, [*records, *stages, *unsealed], results)
    if chosen in unsealed:
        raise IncompleteResults(
            f"run {chosen} has no record yet", hint=_make_again(chosen, results)
        )
    record = read_record(records[chosen]) if chosen in records else None
    stage = _stage_of(record) if record else chosen
    folder, manifest = _weights(results.artifact(stage), step, _make_again(chosen, results))
    return Source(
        stage, folder, manifest, record or _record_of(stage, list(records.values())), step
    )


def export(source: Source, target: Path) -> None:
    """Write the model folder.

    Errors: SpecError if `target` is a file or not empty, PrerequisiteError if it cannot be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise SpecError(
            f"{target} is there already and is not an empty folder",
            hint=f"choose another one, e.g. {target}-{source.stage}",
        )
    temporary = target.absolute().with_name(f".{target.absolute().name}.{owner()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for path in sorted(source.folder.iterdir()):
            if any(map(path.match, MODEL_FILES)):
                shutil.copy2(path, temporary / path.name)
        card = model_card(temporary, source.stage, source.manifest, source.record, source.step)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        temporary.rename(target)
    except OSError as error:
        raise PrerequisiteError(
            f"{target} cannot be written: {error}", hint="choose a folder that can be written"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _choose(name: str, known: Sequence[str], results: Results) -> str:
    fitting = (
        [name]
        if name in known
        else [one for one in known if name and (one.startswith(name) or one.endswith(name))]
    )
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SpecError(
            f"{name!r} fits {len(fitting)} runs and stages: {_some(fitting)}",
            hint="write more of the id",
        )
    near = [one for one in known if name and name in one][:3] or get_close_matches(
        name, known, n=3, cutoff=0.4
    )
    hint = f"did you mean {' or '.join(near)}?" if near else "make one first: study run --grid GRID"
    raise SpecError(f"there is no run and no stage {name!r} in {results.root}", hint=hint)


def _weights(artifact: Path, step: int | None, make_again: str) -> tuple[Path, Mapping[str, Any]]:
    """Return the folder of the wanted weights and the manifest of its artifact."""
    if not artifact.exists():
        raise IncompleteResults(
            f"there is no artifact {artifact.name} in {artifact.parent}", hint=make_again
        )
    if is_dropped(artifact):
        what = f"the weights of {artifact.name} were not kept (profile: keep none)"
        raise PrerequisiteError(what, hint=f"with a profile that keeps them: {make_again}")
    manifest = verify_artifact(artifact)
    if step is None:
        return artifact, manifest
    kept = sorted(int(path.name.removeprefix("step-")) for path in artifact.glob("steps/step-*"))
    if step not in kept:
        have = f"kept are {_some(kept)}" if kept else "none were kept (profile: keep all)"
        raise PrerequisiteError(
            f"{artifact.name} has no weights of step {step}; {have}",
            hint="leave out --step for the final weights",
        )
    return artifact / "steps" / f"step-{step}", manifest


def _stage_of(record: Record) -> str:
    """Return the stage that made the model of a run."""
    model: Mapping[str, Any] = record.spec["model"]
    if model["kind"] not in REVISIONS:
        what = f"run {record.run} evaluates a {model['kind']} model that no stage made"
        raise PrerequisiteError(
            what, hint=f"it is there already: {model.get('id') or model.get('path')}"
        )
    return record.stages[model["kind"]]


def _record_of(stage: str, paths: Sequence[Path]) -> Record | None:
    """Return the first record whose model this stage made.

    An intermediate stage has none.
    """
    for path in paths:
        if f'"{stage}"'.encode() in path.read_bytes():  # parsing all of them would take long
            record = read_record(path)
            if record.spec["model"]["kind"] in REVISIONS and _stage_of(record) == stage:
                return record
    return None


def _make_again(name: str, results: Results) -> str:
    """Return the command that makes a model again. The stages of a run are made again only if its
    record is missing.
    """
    parts = parts_of_run(name)
    again = (
        f"study run --grid GRID --only {parts.cell} --seeds {parts.seed}"
        if parts
        else "study run --grid GRID"
    )
    return f"rm {results.record(name)}; {again}" if results.record(name).is_file() else again


def _run(path: Path) -> str:
    return path.parent.name if path.name == "record.json" else path.stem


def _some(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:6])) + (", ..." if len(names) > 6 else "")
