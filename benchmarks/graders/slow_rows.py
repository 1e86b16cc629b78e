r"""Measure how long after its deadline each deliberately slow row ends.

    python -m benchmarks.graders.slow_rows [--deadline 2] [--page docs/graders.md]

Kinds: towers of powers, factorials, nested roots, large matrices, nested boxes and brackets, long
sums, binomials, and texts and numbers that are slow to read, each with growing sizes. Every row is
graded alone, by math-1 with one running worker. For each row, from the call to the
grade:
    wall      time that passes
    CPU       CPU time of this process and of the workers
    fast      CPU time of this process alone: extraction and the fast tiers
An overrun is the time of a row after the deadline; a row that ends before it has none. On a busy
machine wall time also contains that of other processes: the deadline is in CPU time.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.graders.speed import children_s
from study.grading.registry import Grader, Sample, open_grader

MARK = "<!-- Slow rows: written by benchmarks/graders/slow_rows.py -->"
END = "<!-- End of slow rows -->"
BOX = "\\boxed{%s}"


class Measured(NamedTuple):
    """One row; seconds to its grade."""

    kind: str
    outcome: str
    wall_s: float
    cpu_s: float
    fast_s: float


def rows(number: int) -> Iterator[tuple[str, Sample]]:
    """Yield (kind, row), `number` of every kind, from sizes that end at once to sizes that never
    do.
    """
    for n in range(1, number + 1):
        yield "tower of powers", _boxed(rf"{n + 2}^{{{n + 3}^{{{n + 4}^{{{n + 5}}}}}}}")
        yield "factorial", _boxed(rf"({10**5 * n})!")
        yield "factorials of factorials", _boxed(rf"(({n + 7})!)!")
        yield "binomial", _boxed(rf"\binom{{{10**7 * n}}}{{{4 * 10**6 * n}}}")
        yield "nested roots", _boxed(_nested(r"\sqrt{%s+", "}", str(n), 10 * n))
        yield "root of a large power", _boxed(rf"\sqrt[{n + 2}]{{{n + 2}^{{{10**7}}}+x}}")
        yield "large matrix", _matrix(n + 4)
        yield "power of a sum", _boxed(rf"(a+b+c+d)^{{{20 * n}}}", "(b+a+d)^2 c")
        yield "sum of fractions", _boxed("+".join(rf"\frac{{1}}{{x+{k}}}" for k in range(8 * n)))
        yield "trigonometry", _boxed(_nested(r"\sin(\cos(", "))", "x", 3 * n), r"\tan x")
        yield "nested boxes", Sample("\\boxed{" * (500 * n) + "7" + "}" * (500 * n), "8")
        yield "open boxes", Sample("\\boxed{" * (7500 * n), "1, 2, 3")
        yield "nested brackets", _boxed("(" * (50 * n) + "x" + ")" * (50 * n))
        yield "exponents in decimals", _boxed(f"1e{'9' * min(n, 3)}{'0' * (n // 4)}", "1e-999")
        yield "large fraction", _boxed(rf"\frac{{{'9' * 90}}}{{{'7' * 5 * n}}}", "0." + "3" * 150)
        yield "powers of fractions", _boxed(rf"(\frac{{2}}{{3}})^{{{10**n}}}", r"(\frac23)^{99}")
        yield "long list", _boxed(",".join("x^2" for _ in range(25 * n)), "y" + ",y^2" * 25 * n)
        yield "long prose", Sample("the answer is 1,234.5 so " * (2500 * n), "7")


def _boxed(answer: str, gold: str = "7") -> Sample:
    return Sample(BOX % answer, gold)


def _nested(opening: str, closing: str, inner: str, depth: int) -> str:
    return opening.replace("%s", inner) * depth + inner + closing * depth


def _matrix(size: int) -> Sample:
    def matrix(power: int) -> str:
        lines = ["&".join(f"x^{i}y^{j + power}" for j in range(size)) for i in range(size)]
        return r"\det\begin{pmatrix}" + r" \\ ".join(lines) + r"\end{pmatrix}"

    return _boxed(matrix(1), matrix(2))


def measure(grader: Grader, kind: str, sample: Sample) -> Measured:
    below = children_s()
    wall, own = time.monotonic(), time.process_time()
    outcome = grader.grade_sample(sample).outcome
    fast = time.process_time() - own
    spent = time.monotonic() - wall
    time.sleep(0.02)  # the server records the CPU time of a killed worker
    return Measured(kind, str(outcome), spent, fast + children_s() - below, fast)


def table(found: Sequence[Measured], deadline: float) -> list[str]:
    lines = [
        "| kind | rows | timed out | longest CPU s | over, CPU s | over, wall s | fast, CPU s |",
        "|---" * 7 + "|",
    ]
    for kind in dict.fromkeys(each.kind for each in found):
        lines.append(_line(kind, [each for each in found if each.kind == kind], deadline))
    return [*lines, _line("all", found, deadline)]


def _line(kind: str, some: Sequence[Measured], deadline: float) -> str:
    """Return the worst value of each column."""
    late = sum(each.outcome == "timed_out" for each in some)
    core = max(each.cpu_s for each in some)
    wall = max(each.wall_s for each in some)
    fast = max(each.fast_s for each in some)
    over = [max(0.0, spent - deadline) for spent in (core, wall)]
    return (
        f"| {kind} | {len(some)} | {late} | {core:.2f} | {over[0]:.2f} | {over[1]:.2f}"
        f" | {fast:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deadline", type=float, default=2.0)
    parser.add_argument("--rows", type=int, default=20, help="rows of every kind")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    found: list[Measured] = []
    started, load = time.monotonic(), os.getloadavg()[0]
    with open_grader(workers=1, deadline_s=options.deadline) as grader:
        grader.grade(r"\boxed{x+1}", "1+x")  # starts the server
        with suppress(KeyboardInterrupt):  # keeps the table of the rows so far
            for kind, sample in rows(options.rows):
                found.append(measure(grader, kind, sample))
                print(found[-1], file=sys.stderr)
    spent = time.monotonic() - started
    text = [
        f"{len(found)} rows, deadline {options.deadline:g} s, one worker: {spent:.0f} s in all."
        f" Load {load:.1f} before, {os.getloadavg()[0]:.1f} after.",
        "",
        *table(found, options.deadline),
    ]
    print("\n".join(text))
    if options.page is not None:
        before, _, rest = options.page.read_text(encoding="utf-8").partition(MARK)
        after = rest.partition(END)[2]
        content = "\n".join([MARK, "", *text, "", END])
        options.page.write_text(f"{before}{content}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
