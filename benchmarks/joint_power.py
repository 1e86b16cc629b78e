"""Simulate how often a family of claims keeps its controls, and its words, with and without
screening: the table of docs/statistics.md.

    python -m benchmarks.joint_power [docs/statistics.md]

Without a file the table is printed; with it, it is written between its two marks.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from study.stats.decision import Rule
from study.stats.joint_power import JointPower, Normal, PlannedClaim, PlannedGate, joint_power

BEGIN, END = "<!-- joint-power:begin -->", "<!-- joint-power:end -->"
GATES, PASSES, CLAIMS = 4, (0.95, 0.9, 0.8), 3
BASES = (5, 10, 20)
BEYOND = 1.5  # deviations between the true effect and the smallest one
STUDIES = 2_000
HEAD = (
    "| a gate holds in a base | bases | no base fails | controls hold | INVALID | REPRODUCED | all"
    " three | screened: REPRODUCED | all three | seeds to look at |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


def simulated(passes: float, bases: int, screened: bool) -> JointPower:
    """One family of claims with the same four gates."""
    gates = tuple(PlannedGate(f"gate {i}", passes, screened=screened) for i in range(GATES))
    rule = Rule("positive", 0.05)
    effect = Normal(0.05 + BEYOND * 0.04, 0.04)
    claims = [PlannedClaim(f"claim {i}", rule, effect, "family", gates) for i in range(CLAIMS)]
    return joint_power(claims, bases, studies=STUDIES)


def rows(numbers_of_bases: Sequence[int] = BASES) -> Iterator[str]:
    for passes in PASSES:
        for bases in numbers_of_bases:
            found = simulated(passes, bases, screened=False)
            chosen = simulated(passes, bases, screened=True)
            one, other = found.claims["claim 0"], chosen.claims["claim 0"]
            cells = (
                f"{passes:g}",
                f"{bases}",
                f"{passes ** (GATES * bases):.2g}",
                f"{found.whole['family']:.2f}",
                f"{one.chance('INVALID'):.2f}",
                f"{one.chance():.2f}",
                f"{found.families['family']:.2f}",
                f"{other.chance():.2f}",
                f"{chosen.families['family']:.2f}",
                f"{bases / passes**GATES:.0f}",
            )
            yield "| " + " | ".join(cells) + " |\n"


def text() -> str:
    return HEAD + "".join(rows())


def written(page: str, table: str) -> str:
    """Return the page with the table between its marks. Raises ValueError without them."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.stdout.write(text())
        return
    path = Path(arguments[0])
    path.write_text(written(path.read_text(encoding="utf-8"), text()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
