"""Files and revisions that a config names: the path of a data file on this machine, its
fingerprint, and whether a revision is pinned.
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
    """Return a commit unchanged; refuse a branch, a tag or a placeholder, because its meaning can
    change while the id does not.
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
    """Return the path of a data file named in a scale: under $STUDY_DATA, else in the working
    folder.
    """
    path = Path(name).expanduser()
    return path if path.is_file() and not (data_folder() / path).is_file() else data_folder() / path


def local_files(patterns: Sequence[str]) -> list[Path]:
    """Return the files of the first pattern that matches any below $STUDY_DATA, by name; none if it
    is not set.
    """
    if "STUDY_DATA" not in os.environ:
        return []
    matching = (
        sorted(path for path in data_folder().glob(pattern) if path.is_file())
        for pattern in patterns
    )
    return next((found for found in matching if found), list[Path]())


def fingerprint(files: Sequence[Path]) -> str:
    """Return the sha256 over names and contents.

    A file is read again only if its size or time has changed.
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
