"""Collect the provenance of a number: hash of the code,
versions of the packages, platform, UTC times.

No path, host or user name.
"""

import hashlib
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "lm_eval",
    "numpy",
    "tokenizers",
    "pydantic",
)


@cache
def code_hash() -> str:
    """Return the hash of the running package `study`, computed once per process."""
    return hash_of_code(Path(__file__).resolve().parents[1])


def hash_of_code(root: Path) -> str:
    """Return the sha256 over the relative names and contents of the package in `root`, its task
    files and word lists included; first 16 hex digits.
    """
    digest = hashlib.sha256()
    files = (
        path
        for path in root.rglob("*")
        if path.suffix in (".py", ".yaml", ".json", ".jsonl") and "_experiments" not in path.parts
    )
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()[:16]


@cache
def packages(names: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return versions of the installed packages that a number can depend on; read from metadata,
    nothing is imported.
    """
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed has no version
    return found


def python_version() -> str:
    return platform.python_version()


def platform_name() -> str:
    """Return operating system, C library and machine type, without the host's name."""
    return f"{platform.system()}-{platform.machine()}-{'-'.join(platform.libc_ver())}"


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_hash(path: Path) -> str:
    """Return the sha256 of a file, read in pieces: a checkpoint can be larger than memory."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
