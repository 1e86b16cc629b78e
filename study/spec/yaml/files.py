"""Files and revisions that a page names: where a data file lies on this machine, what it holds, and
what counts as a pinned revision.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

_COMMIT = re.compile(r"[0-9a-f]{40}")


def pinned(revision: str) -> str:
    """A commit as it is; a branch, a tag or a placeholder is refused, because what it names can
    change behind an id.
    """
    if not _COMMIT.fullmatch(revision):
        how = "HfApi().repo_info('ORGANISATION/NAME', repo_type='model').sha"
        raise ValueError(
            f"{revision!r} pins nothing: write the 40 hex digits of a commit; huggingface_hub tells"
            f" today's: {how}"
        )
    return revision


Revision = Annotated[str, AfterValidator(pinned)]


def data_folder() -> Path:
    return Path(os.environ.get("STUDY_DATA", ".")).expanduser()


def local_file(name: str) -> Path:
    """Where a data file named in a scale lies on this machine: under $STUDY_DATA, or in the working
    folder where it is not there.
    """
    path = Path(name).expanduser()
    return path if path.is_file() and not (data_folder() / path).is_file() else data_folder() / path


def local_files(patterns: Sequence[str]) -> list[Path]:
    """The files of the first pattern that has any below $STUDY_DATA, in order of their names; none
    where it is not set.
    """
    if "STUDY_DATA" not in os.environ:
        return []
    matching = (
        sorted(path for path in data_folder().glob(pattern) if path.is_file())
        for pattern in patterns
    )
    return next((found for found in matching if found), list[Path]())


def fingerprint(files: Sequence[Path]) -> str:
    """sha256 over names and contents.

    A file is read again only when its size or time has changed.
    """
    lines = [
        f"{path.name} {_file_sha256(path, path.stat().st_size, path.stat().st_mtime_ns)}"
        for path in files
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, changed: int) -> str:
    del size, changed  # the key of the cache
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
