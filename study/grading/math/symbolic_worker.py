"""A process that asks math-verify whether two formulas are equal, one pair at a time, started and
killed by `study.grading.math.symbolic_pool`.

Run as a script with `python -P`: it needs nothing of this project, so it starts as fast as
math-verify can be imported.
    in, out   one JSON value a line: ["candidate",
    "reference"] -> true, false, or null for "no verdict within the memory"; first out: "ready"
    argument  the process that owns it, and its memory limit in bytes

It trusts nothing that it reads: its memory is limited; it can write no file, start no process and
open no connection (an audit hook refuses); and a processor-time limit, set anew for every pair,
ends it even if its owner has died meanwhile and the work sits inside C code, where neither a signal
handler nor math-verify's own timeout is ever heard. Units are not math-verify's business here
(`units=False`): its list of them holds h, t, d, m and would make 2h of 2t.
"""

import json
import os
import resource
import select
import sys
from functools import lru_cache
from typing import Any

CACHED = 4096  # parsed formulas; a reference is asked about once for every sample
_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.kill",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
    "os.mkdir",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "shutil.",
    "ctypes.dlopen",
    "urllib.Request",
    "webbrowser.open",
)


def main() -> None:
    owner, memory, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), 1
    )  # whatever a library prints must not be read as an answer
    equal = _judge()
    _confine(memory)
    print('"ready"', file=answers, flush=True)
    while (line := _next_line(owner)) is not None:
        _allow(seconds)
        candidate, reference = json.loads(line)
        print(json.dumps(_answer(equal, candidate, reference)), file=answers, flush=True)


def _answer(equal: Any, candidate: str, reference: str) -> bool | None:
    try:
        return bool(equal(candidate, reference))
    except MemoryError:
        return None
    except Exception:  # noqa: BLE001 - sympy raises whatever it likes on text that is no formula; then it is not the reference
        return False


def _judge() -> Any:
    """equal(candidate, reference) with everything imported that it will need."""
    import logging

    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy import Expr, Symbol, simplify

    logging.disable(logging.CRITICAL)
    rules = NormalizationConfig(
        basic_latex=True,
        units=False,
        malformed_operators=True,
        nits=True,
        boxed="last",
        equations=False,
    )
    config = [LatexExtractionConfig(normalization_config=rules, boxed_match_priority=0)]

    @lru_cache(maxsize=CACHED)
    def parsed(text: str) -> Any:
        found = parse(f"\\boxed{{{text}}}", extraction_config=config, parsing_timeout=None)  # type: ignore[arg-type]
        return found[0] if found and not isinstance(found[0], str) else None

    def equal(candidate: str, reference: str) -> bool:
        ours, theirs = parsed(candidate), parsed(reference)
        if ours is None or theirs is None:
            return False
        return verify(theirs, ours, timeout_seconds=None) or _symbol(ours, theirs)

    def _symbol(ours: Any, theirs: Any) -> bool:
        """x + 0 is x: a symbol on one side alone is something that math-verify compares as text."""
        if isinstance(ours, Symbol) == isinstance(theirs, Symbol) or not (
            isinstance(ours, Expr) and isinstance(theirs, Expr)
        ):
            return False
        return bool(simplify(ours - theirs).is_zero)

    equal("x + \\frac{1}{2}", "\\sqrt{2}")  # loads what sympy imports late
    return equal


def _confine(memory: int) -> None:
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    writing = (
        event == "open"
        and isinstance(arguments[1], str)
        and any(letter in arguments[1] for letter in "wax+")
    )
    if writing or event.startswith(_FORBIDDEN):
        raise PermissionError(f"a formula must not do this: {event}")


def _allow(seconds: int) -> None:
    """So much more processor time, then SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(
        resource.RLIMIT_CPU,
        (int(used.ru_utime + used.ru_stime) + seconds + 1, resource.RLIM_INFINITY),
    )


def _next_line(owner: int) -> str | None:
    """None when the owner has closed the pipe, or is gone and something else still holds it
    open.
    """
    while not select.select([0], [], [], 1.0)[0]:
        if os.getppid() != owner:
            return None
    return sys.stdin.readline() or None


if __name__ == "__main__":
    main()
