"""Manage the results folder: its layout, atomic writes, reading records back.

Done means sealed: an existing folder alone does not count as done.

    results/artifacts/<stage id>/     a stage's files and, written last, stage.json;
                                      <stage id>.partial-<owner>/ while it is built
    results/checkpoints/<stage id>/   step-<n>/: what an unfinished stage continues from
    results/stages/<stage id>/        log.txt, status.json while it runs, failure.json
    results/runs/<run id>/            record.json; log.txt, status.json, failure.json likewise
    results/locks/<task>~<n>          which process makes a task (study/runner/work/locks.py)
    results/code/<code hash>/         the code that runs started from
                                      (study/runner/work/code_copy.py)
    results/quarantine/               damaged files, moved aside and made again
    results/records/<run id>.json     committed evidence: written only by `study publish`, never a
                                      reason to skip a run
    results/declared/<hash>/          the claims that runs were started under, and what their arms
                                      were (study/record/declared/states.py), committed too
    results/preregistrations/         what was declared before runs, sealed, committed too
                                      (study/record/declared/preregistration_files.py)
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import from_json

from study.errors import PrerequisiteError, RecordMismatch
from study.record.owner import owner
from study.record.schema import MAX_RECORD_BYTES, Record, record_bytes, seal_matches, seal_of
from study.record.upgrade import NewerSchema, record_of

if TYPE_CHECKING:
    from study.spec.machine.profile import Profile


PREREGISTRATIONS = "preregistrations"


@dataclass(frozen=True)
class Results:
    """The paths below one results folder. artifacts_root: another place for artifacts; scratch: for
    artifacts being written.
    """

    root: Path
    artifacts_root: Path | None = None
    scratch: Path | None = None

    @classmethod
    def of(cls, root: Path, profile: "Profile") -> "Results":
        """Return the folder with the places that a profile names, as the working process
        sees them.
        """
        return cls(root, _place("artifacts", profile.artifacts), _place("scratch", profile.scratch))

    @classmethod
    def from_afar(cls, root: Path, profile: "Profile") -> "Results":
        """Return the same for a process whose workers may run elsewhere: node-local scratch is not
        visible here if they run on other nodes.
        """
        return cls.of(
            root,
            profile.model_copy(update={"scratch": None}) if profile.engine == "slurm" else profile,
        )

    @property
    def artifacts(self) -> Path:
        return self.artifacts_root or self.root / "artifacts"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def records(self) -> Path:
        return self.root / "records"

    @property
    def declared(self) -> Path:
        return self.root / "declared"

    @property
    def preregistrations(self) -> Path:
        return self.root / PREREGISTRATIONS

    @property
    def database(self) -> Path:
        return self.root / "mlflow.db"

    def artifact(self, stage_id: str) -> Path:
        return self.artifacts / one_name(stage_id)

    def partial(self, stage_id: str, owner: str) -> Path:
        return (self.scratch or self.artifacts) / f"{one_name(stage_id)}.partial-{owner}"

    def checkpoints(self, stage_id: str) -> Path:
        return self.root / "checkpoints" / one_name(stage_id)

    def run(self, run_id: str) -> Path:
        return self.runs / one_name(run_id)

    def record(self, run_id: str) -> Path:
        return self.run(run_id) / "record.json"

    def stage(self, stage_id: str) -> Path:
        return self.root / "stages" / one_name(stage_id)


def one_name(name: str) -> str:
    """Return `name` as one part of a path. Ids are read from files, too: RecordMismatch for one
    that would lead to another folder.
    """
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise RecordMismatch(
            f"{name!r} is not the id of a run or a stage",
            hint="ids of runs: study plan --grid GRID",
        )
    return name


def _place(name: str, place: str | None) -> Path | None:
    """Return a path of a profile; it may name variables of the node, such as $TMPDIR."""
    path = os.path.expandvars(place or "")
    if "$" in path:
        what = f"`{name}: {place}` of the profile names a variable that is not set here"
        raise PrerequisiteError(what, hint="set it, or correct the profile")
    return Path(path).expanduser() if path else None


def atomic_write(path: Path, data: bytes) -> None:
    """Write all of `data` or nothing: temporary file next to
    it, fsync, rename, fsync of the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{owner()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Write all of `data` to a new file; return False and leave `path` unchanged when it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{owner()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Call fsync on a folder: a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    atomic_write(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def write_record(path: Path, record: Record) -> None:
    """Write a sealed record whole. A record without its right seal, or above 12 kB, is refused: it
    is never shortened here.
    """
    atomic_write(path, _bytes_of(record))


def write_record_once(path: Path, record: Record) -> Record:
    """Write the record of a run; return the one that is then in place.

    A sealed one that another process has written stays; a damaged one is replaced.
    """
    data = _bytes_of(record)
    if not create(path, data):
        with contextlib.suppress(RecordMismatch):
            return read_record(path)
        atomic_write(path, data)
    return record


def _bytes_of(record: Record) -> bytes:
    data = record_bytes(record)
    if record.seal != seal_of(record.model_dump(mode="json")):
        raise RecordMismatch(
            f"run {record.run}: the record does not carry its own seal",
            hint="seal it with study.record.schema.sealed",
        )
    if len(data) > MAX_RECORD_BYTES:
        raise RecordMismatch(
            f"run {record.run}: the record has {len(data)} bytes;"
            f" at most {MAX_RECORD_BYTES} are allowed"
        )
    return data


def parse_record(data: bytes) -> Record:
    """Return the record that these bytes are, its seal checked, of this schema or an older one.

    Errors: ValueError (also pydantic's) where they are no record or not as they were written;
    NewerSchema.
    """
    if not seal_matches(data):
        raise ValueError("its content does not match its seal")
    return record_of(from_json(data))


def read_record(path: Path, parse: Callable[[bytes], Record] = parse_record) -> Record:
    """Read the record in `path`. parse: `parse_record`, or one that remembers its results.

    RecordMismatch names the file and what to do when its content is not as it was written;
    NewerSchema when a later version wrote it.
    """
    try:
        record = parse(path.read_bytes())
    except NewerSchema as error:
        raise NewerSchema(f"{path}: {error.message}", hint=error.hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise _corrupt(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:  # not JSON, not text, or a wrong seal
        raise _corrupt(path, str(error)) from error
    return record


def _corrupt(path: Path, reason: str) -> RecordMismatch:
    committed = path.parent.name == "records"
    hint = (
        f"restore it: git checkout -- {path}"
        if committed
        else f"remove it and run its grid again: rm {path}"
    )
    return RecordMismatch(f"{path}: a corrupt record ({reason})", hint=hint)


def record_paths(folder: Path) -> list[Path]:
    """Return the records below a folder in name order, in either layout: <run id>/record.json
    (runs) or <run id>.json (committed).
    """
    nested = [path for path in folder.glob("*/record.json") if path.is_file()]
    flat = [path for path in folder.glob("*.json") if path.is_file()]
    return sorted(
        [*nested, *flat],
        key=lambda path: path.parent.name if path.name == "record.json" else path.stem,
    )


def iterate_records(folder: Path) -> Iterator[Record]:
    """Yield one record at a time: memory does not grow with their number."""
    for path in record_paths(folder):
        yield read_record(path)


def read_records(folder: Path) -> list[Record]:
    """Read all records below `folder`, in the order of their run ids."""
    return list(iterate_records(folder))
