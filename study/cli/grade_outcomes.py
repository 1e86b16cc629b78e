"""The outcome file of `study grade`: rows are written as they are graded, and a stopped run
continues where it ended.

OUT.unfinished next to an unfinished file OUT holds the input's sha256, the options that determine
outcomes, and how much of OUT is complete. It is written about once a second and removed at the end;
after a kill the rows behind that mark are graded again. A file without it is finished.
"""

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from study.errors import PrerequisiteError, SpecError
from study.grading.boxed import Outcome
from study.grading.math.equivalence import Tier
from study.grading.registry import Grade
from study.record.store import atomic_write

FORMAT = "unfinished-grades-1"
MARK_S = 1.0  # seconds between two marks
Identity = dict[str, Any]


class Stored(NamedTuple):
    """A row of the file that an earlier run wrote."""

    id: str
    sample: int
    grade: Grade
    values: dict[str, Any]


def unfinished(output: Path) -> Path:
    """Return the mark next to an outcome file that is not complete."""
    return output.with_name(f"{output.name}.unfinished")


def identity(source: Path, options: dict[str, Any]) -> Identity:
    """Return what must be the same for two runs to give the same rows."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": source.name, "sha256": digest, **options}


class OutcomeFile:
    """Append rows to `output`; `stored` are those of an earlier run with the same identity."""

    def __init__(
        self,
        output: Path,
        run: Identity,
        *,
        force: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._output, self._run, self._now = output, run, now
        self._file: IO[bytes] | None = None
        self._marked = now()
        self.stored: list[Stored] = []
        self._size = self._resumed(force)

    def _resumed(self, force: bool) -> int:
        """Return the bytes of the rows that are kept; read them into `stored`."""
        mark = _mark(self._output)
        if mark is None:
            return 0
        different = _difference(mark["run"], self._run)
        if different and force:
            return 0
        if different:
            raise SpecError(
                f"{self._output} is unfinished, and was begun with {different}",
                hint="the same file and options go on with it; --force begins anew",
            )
        kept = self._output.read_bytes()[: mark["bytes"]] if self._output.is_file() else b""
        if len(kept) < mark["bytes"]:
            raise PrerequisiteError(
                f"{self._output} is shorter than {unfinished(self._output)} says",
                hint="begin anew with --force",
            )
        self.stored = _parsed(self._output, kept)
        return len(kept)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row at once; update the mark if that is due."""
        if self._file is None:
            self._file = self._opened(list(row))
        self._write(_text(self._output, row))
        if self._now() - self._marked >= MARK_S:
            self.mark()

    def _opened(self, columns: list[str]) -> IO[bytes]:
        self._output.parent.mkdir(parents=True, exist_ok=True)
        mode = "r+b" if self._size else "wb"
        self._file = self._output.open(mode, buffering=0)
        self._file.truncate(self._size)
        self._file.seek(self._size)
        if self._size == 0:
            self.mark()
            if self._output.suffix == ".csv":
                self._write(_text(self._output, dict(zip(columns, columns, strict=True))))
        return self._file

    def _write(self, text: str) -> None:
        assert self._file is not None
        data = text.encode("utf-8", "backslashreplace")
        self._file.write(data)
        self._size += len(data)

    def mark(self) -> None:
        """Update the mark, so that the rows written so far count."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            mark = {"format": FORMAT, "bytes": self._size, "run": self._run}
            atomic_write(unfinished(self._output), json.dumps(mark, indent=1).encode("ascii"))
        self._marked = self._now()

    def discard(self) -> None:
        """Remove a file that only this run has written, because the input or an option is wrong."""
        if self._file is not None and not self.stored:
            self._file.close()
            self._output.unlink(missing_ok=True)
            unfinished(self._output).unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove the mark: all rows are written, and the file is complete."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
        unfinished(self._output).unlink(missing_ok=True)


def _mark(output: Path) -> dict[str, Any] | None:
    path = unfinished(output)
    if not path.is_file():
        return None
    try:
        mark = json.loads(path.read_bytes())
        if mark["format"] == FORMAT and isinstance(mark["bytes"], int) and mark["run"]:
            return mark
    except (ValueError, KeyError, TypeError):
        pass
    raise PrerequisiteError(
        f"{path} cannot be read", hint=f"remove it and {output}, or choose another --output"
    )


def _difference(before: Identity, now: Identity) -> str:
    """Say what differs; an empty text if nothing does."""
    now = json.loads(json.dumps(now))
    if before.get("sha256") != now["sha256"]:
        return "another input: the file has changed"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    changes = [f"{name} {before.get(name)!r} (now {now.get(name)!r})" for name in names]
    return ", ".join(change for change in changes if not change.startswith("file "))


def _text(output: Path, row: dict[str, Any]) -> str:
    if output.suffix != ".csv":
        return json.dumps(row) + "\n"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row.values())
    return text.getvalue()


def _parsed(output: Path, data: bytes) -> list[Stored]:
    text = data.decode("utf-8")
    try:
        if output.suffix == ".csv":
            return [_stored(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
        return [_stored(json.loads(line)) for line in text.split("\n") if line]
    except (ValueError, KeyError) as error:
        raise PrerequisiteError(
            f"{output} is unfinished and cannot be read ({type(error).__name__}: {error})",
            hint="begin anew with --force",
        ) from error


def _stored(row: dict[str, Any]) -> Stored:
    """Return a stored row. CSV has no null: an empty field was null."""
    grade = Grade(
        Outcome(row["outcome"]),
        Outcome(row["relaxed"]),
        Tier(row["tier"]) if row["tier"] else None,
        row["extracted"] or None,
        row["extracted_relaxed"] or None,
        row["disagreement"],
        percent_only=str(row["percent_only"]) == "True",
    )
    return Stored(str(row["id"]), int(row["sample"]), grade, row)
