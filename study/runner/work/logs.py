"""Read the end of a task's logs, and whether it reports that memory ran out, for the message on how
the task ended.
"""

import re
from collections.abc import Sequence
from pathlib import Path

_TAIL = 15

# Texts of the kernel, Slurm, glibc, Python and torch. Whole words only: a file may be called
# `classroom.jsonl` and a model `bloomz`.
_HOST_MEMORY = re.compile(
    r"(?<![\w./-])oom[-_]kill(er|ed)?\b(?!\.\w)|\boom_reaper\b|\bOut of memory: Kill"
    r"|\b(task|step) \d+: Out Of Memory\b"
    r"|\bout-of-memory handler\b|\bcgroup out of memory\b"
    r"|\bexceeded (\w+ )?memory limit\b"
    r"|^(\w+\.)*_?(Array)?MemoryError\b|\bstd::bad_alloc\b|\bCannot allocate memory\b"
    r"|\bDefaultCPUAllocator: (can't|not enough|out of)\b",
    re.IGNORECASE | re.MULTILINE,
)
_DEVICE_MEMORY = re.compile(
    r"\b(CUDA|HIP|XPU|MPS)( error:| backend)? out of memory\b|\btorch(\.cuda)?\.OutOfMemoryError\b"
    r"|\bCUDA_ERROR_OUT_OF_MEMORY\b|\bcuda runtime error \(2\)|\bCuda failure (2 )?'out of memory'"
    r"|\bcudaErrorMemoryAllocation\b|\bCUBLAS_STATUS_ALLOC_FAILED\b"
    r"|\bNo available memory for the cache blocks\b"
    r"|\bFree memory on device\b.*\bis less than desired GPU memory utilization\b",
    re.IGNORECASE,
)


def tail(logs: Sequence[Path]) -> str:
    """Return the last lines of the task's log and of the job's own."""
    found: list[str] = []
    for path in logs:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        found += [f"{path.name}:", *lines[-_TAIL:]] if lines else []
    return "\n".join(found)


def out_of_memory(log: str, kind: str) -> tuple[str, str] | None:
    """Return (whose memory ran out, what to change) if the text says so, else None.

    kind: the stage kind whose settings of the profile are named. Device memory is looked for first,
    because its errors often mention the host's memory too.
    """
    if _DEVICE_MEMORY.search(log):
        hint = (
            f"lower micro_batch.{kind} in the profile, add {kind} to recompute, or lower"
            " gpu_memory_utilization where vLLM shares the GPU; study rehearse shows what fits"
        )
        return "a GPU ran out of memory", hint
    if _HOST_MEMORY.search(log):
        return "it used more memory than it may", f"raise resources.{kind}.memory_gb in the profile"
    return None
