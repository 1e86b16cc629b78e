"""Read and write preregistrations: one sealed file each, with a readable one next to it.

    results/preregistrations/<date>-<grid>-<first 8 digits of the seal>.json and .md

A file that does not match its seal is refused. A record names the seal that its run cites
(`provenance.preregistration`).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from study.errors import RecordMismatch
from study.record.declared.preregistration import DIGITS, Preregistration
from study.record.declared.preregistration_text import to_markdown
from study.record.schema import seal_of
from study.record.store import atomic_write, create


def write(folder: Path, page: Preregistration) -> Path:
    """Write a sealed preregistration and its readable form; return the path of the first."""
    path = folder / f"{page.name}.json"
    text = json.dumps(page.model_dump(mode="json"), indent=1, ensure_ascii=False, sort_keys=True)
    create(path, (text + "\n").encode())
    atomic_write(path.with_suffix(".md"), to_markdown(page).encode())
    return path


def read(path: Path) -> Preregistration:
    """Return the preregistration of a file. Errors: RecordMismatch if it is not as sealed."""
    try:
        value = json.loads(path.read_bytes())
        page = Preregistration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _refused(path, f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    except (OSError, ValueError) as error:
        raise _refused(path, str(error)) from error
    if page.seal != seal_of(value) or path.stem != page.name:
        raise _refused(path, "its content does not match its seal")
    return page


def _refused(path: Path, reason: str) -> RecordMismatch:
    return RecordMismatch(
        f"{path}: not a preregistration as it was sealed ({reason})",
        hint=f"restore it: git checkout -- {path}; or remove it, if no record cites it",
    )


def preregistrations(folder: Path) -> Iterator[Preregistration]:
    """Yield every preregistration of a folder, the newest first. Errors: RecordMismatch."""
    pages = [read(path) for path in folder.glob("*.json")]
    yield from sorted(pages, key=lambda page: (page.date, page.seal), reverse=True)


def by_seal(folder: Path, seal: str) -> Preregistration | None:
    """Return the preregistration with this seal; None without it. Errors: RecordMismatch."""
    found = [read(path) for path in sorted(folder.glob(f"*-{seal[:DIGITS]}.json"))]
    return next((page for page in found if page.seal == seal), None)


def copy_preregistrations(seals: Iterable[str], source: Path, target: Path) -> None:
    """Copy preregistrations, each checked, with their readable form; those that are not in `source`
    are left out.
    """
    if source.resolve() == target.resolve():
        return
    for seal in sorted(seals):
        page = by_seal(source, seal)
        if page is not None:
            write(target, page)
