"""The end of a task's logs, for the message that tells how it died."""

from collections.abc import Sequence
from pathlib import Path

_TAIL = 15


def tail(logs: Sequence[Path]) -> str:
    """The last lines of the task's log and of the job's own."""
    found: list[str] = []
    for path in logs:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        found += [f"{path.name}:", *lines[-_TAIL:]] if lines else []
    return "\n".join(found)
