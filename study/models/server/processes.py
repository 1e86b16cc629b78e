"""What Linux tells about processes under /proc: descendants, environments, who listens on a port.

Elsewhere nothing is found.

A process can be gone between two looks; whatever disappears while it is read does not exist. Only
processes of this user are looked at.
"""

import contextlib
import ipaddress
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_LISTEN = "0A"  # state of a listening socket in /proc/net/tcp


class Listener(NamedTuple):
    """A listening socket. address: 127.0.0.1, 0.0.0.0, ::1, ...; inode: what a process's file
    descriptor points to.
    """

    address: str
    inode: str


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, children before their children; zombies included."""
    below: dict[int, list[int]] = {}
    for process in _processes():
        below.setdefault(_parent(process), []).append(process)
    found = list(below.get(pid, []))
    for process in found:  # grows while it is walked
        found += below.get(process, [])
    return found


def children(pid: int) -> list[int]:
    return [process for process in _processes() if _parent(process) == pid]


def environment(pid: int) -> dict[str, str]:
    """The environment that a process of this user was started with; empty for any other."""
    try:
        if (_PROC / str(pid)).stat().st_uid != os.getuid():
            return {}
        raw = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (
        entry.partition("=") for entry in raw.decode("utf-8", "replace").split("\0") if "=" in entry
    )
    return {name: value for name, _, value in pairs}


def marked(name: str) -> dict[int, dict[str, str]]:
    """Every other living process of this user with the variable `name` in its environment."""
    found = {pid: environment(pid) for pid in _processes() if pid != os.getpid()}
    return {pid: variables for pid, variables in found.items() if name in variables}


def kill(pids: Iterable[int], signum: int = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def listeners(port: int) -> list[Listener]:
    """The listening TCP sockets of a port, of whatever process."""
    return [*_listeners(_PROC / "net" / "tcp", port), *_listeners(_PROC / "net" / "tcp6", port)]


def sockets(pids: Iterable[int]) -> set[str]:
    """Inodes of the sockets that these processes hold open."""
    return {
        target[8:-1] for pid in pids for target in _open_files(pid) if target.startswith("socket:[")
    }


def _open_files(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(entry.readlink())


def _listeners(table: Path, port: int) -> Iterator[Listener]:
    for line in _text(table).splitlines()[1:]:
        fields = line.split()
        address, _, number = fields[1].partition(":")
        if fields[3] == _LISTEN and int(number, 16) == port:
            yield Listener(_address(address), fields[9])


def _address(text: str) -> str:
    """The kernel writes an address as 32-bit words in the machine's byte order (little-endian
    here).
    """
    words = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    return str(ipaddress.ip_address(words))


def _processes() -> list[int]:
    return (
        [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
        if _PROC.is_dir()
        else []
    )


def _parent(pid: int) -> int:
    """Field 4 of /proc/PID/stat, counted after the name, which may hold spaces; -1 for a process
    that is gone.
    """
    fields = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else -1


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
