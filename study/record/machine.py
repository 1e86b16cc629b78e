"""Describe the processor and the build of torch behind a number, which decide whether the same run
made again gives the same bytes.

Floating-point sums depend on the order of their terms, and a matrix library chooses that order by
the processor's vector instructions and the number of threads. Two executions can be expected to
agree byte for byte only on the same kind of processor, with the same build of torch and as many
threads. No path, host or user name is read.
"""

import platform
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from study.record.schema import Machine

CPUINFO = Path("/proc/cpuinfo")
NOT_RECORDED = "not recorded"

# Those by which matrix libraries choose their kernels, as /proc/cpuinfo spells them: x86, then Arm.
# A record has 12 kB, so instructions that these imply are left out.
_VECTOR = (
    "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip
_MAX_NAME = 80


def this_machine() -> Machine:
    """Return the machine of this process. What is unknown is None, shown as "not recorded".

    torch is used only where the process has imported it: this package never imports it.
    """
    processor, vector = _processor(CPUINFO)
    return Machine(processor=processor, vector=vector, **torch_build(sys.modules.get("torch")))


@cache
def _processor(cpuinfo: Path) -> tuple[str | None, str | None]:
    """Return (name, vector instructions) of the first processor in a file like /proc/cpuinfo."""
    try:
        fields = _first_block(cpuinfo.read_text(errors="replace"))
    except OSError:  # not Linux
        return _cut(platform.processor()), None
    flags = fields.get("flags", fields.get("Features", "")).split()
    found = [name for name in _VECTOR if name in flags]
    return _name(fields), " ".join(found) or None


def _first_block(text: str) -> dict[str, str]:
    lines = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    return {key.strip(): value.strip() for key, _, value in lines}


def _name(fields: Mapping[str, str]) -> str | None:
    """Return the model's name with its numbers: clouds give one name to several generations."""
    name = fields.get("model name", fields.get("CPU implementer", platform.machine()))
    numbers = [fields.get(key, "") for key in ("cpu family", "model", "CPU part")]
    return _cut(" ".join([name, "/".join(number for number in numbers if number)]).strip())


def _cut(text: str) -> str | None:
    return text[:_MAX_NAME] or None


def torch_build(torch: Any) -> dict[str, Any]:
    """Return what `Machine` holds of torch, from the imported module; nothing where it is None.

    An accelerator is named only where the process has used one: a query would start it.
    """
    if torch is None:
        return {}
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "torch": str(torch.__version__),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "blas": _blas(torch.__config__.show()),
        "threads": torch.get_num_threads(),
        "accelerator": _cut(torch.cuda.get_device_name()) if used else None,
    }


def _blas(configuration: str) -> str | None:
    """Return `mkl 2024.2` from the text in which torch describes its build."""
    library = re.search(r"BLAS_INFO=(\w+)", configuration)
    version = re.search(r"Math Kernel Library Version (\S+?)-", configuration)
    if library is None:
        return None
    if library[1] == "mkl" and version is not None:
        return f"mkl {version[1]}"
    return library[1]


def described(machine: Machine | None) -> dict[str, str]:
    """Return every field in words, "not recorded" where a record has none."""
    values = machine.model_dump() if machine else dict.fromkeys(Machine.model_fields)
    return {
        _WORDS[name]: NOT_RECORDED if value is None else str(value)
        for name, value in values.items()
        if name != "accelerator" or value is not None
    }


_WORDS = {
    "processor": "processor",
    "vector": "vector instructions",
    "torch": "torch build",
    "capability": "torch's CPU capability",
    "blas": "BLAS",
    "threads": "torch threads",
    "accelerator": "accelerator",
}
