"""Name the process that writes an unfinished file - `<host>-<pid>-<start>` - and check whether it
still lives.

host: 8 hex digits of the machine's boot and PID namespace (STUDY_HOST sets another identity).
start: the process's start time in kernel ticks, so that a reused pid is not taken for its
predecessor. None of this is ever in a record.
"""

import hashlib
import os
import socket
from functools import cache
from pathlib import Path


@cache
def host() -> str:
    """Identify this machine since its last boot, as seen from this PID namespace."""
    named = os.environ.get("STUDY_HOST")
    parts = (
        [named]
        if named
        else [socket.gethostname(), _read("/proc/sys/kernel/random/boot_id"), _namespace()]
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def owner() -> str:
    """Return the name of this process."""
    return f"{host()}-{os.getpid()}-{_start(os.getpid())}"


def alive(name: str) -> bool | None:
    """Whether the process of that name lives; None for one on another host, which is not visible
    from here.
    """
    where, pid, start = name.split("-")
    if where != host():
        return None
    return _exists(int(pid)) and _start(int(pid)) == start


def is_owner(name: str) -> bool:
    parts = name.split("-")
    return len(parts) == 3 and len(parts[0]) == 8 and parts[1].isdigit() and parts[2].isdigit()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start(pid: int) -> str:
    """Return field 22 of /proc/PID/stat, counted after the name, which may hold spaces; 0 where
    there is no /proc, and for a zombie's pid.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else "0"


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
