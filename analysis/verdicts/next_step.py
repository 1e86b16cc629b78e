"""What would decide an undecided claim: how many bases, and the command that makes them."""

from analysis.claims.rules import Rules
from analysis.evidence.costs import more_evidence
from analysis.evidence.frames import Evidence
from analysis.verdicts.verdict import Verdict
from study.stats.comparisons import bases_to_decide
from study.stats.needed import bases_needed

MOST = 50  # bases; above, another outcome is the better way


def more_bases(verdict: Verdict, evidence: Evidence, rules: Rules) -> str:
    """The number of bases and the command; empty without a spread.

    It takes mean and spread of the records for the true ones. The first rules named the number at
    which the expected interval just clears the threshold, and none for equivalence.
    """
    if rules.name == "1":
        return _first(verdict, evidence)
    found = verdict.comparison
    if found is None or found.deviation is None:
        return ""
    needed = bases_needed(
        found.interval.mean,
        found.deviation,
        found.interval.n,
        verdict.threshold,
        verdict.claim.expectation,
        verdict.planning_alpha,
    )
    if needed.n is None or needed.n > MOST:
        return f"{needed.text}: a smaller question or a less noisy outcome is the better way"
    return f"{needed.text}: {_command(verdict, evidence, needed.n)}"


def _first(verdict: Verdict, evidence: Evidence) -> str:
    found = verdict.comparison
    if found is None:
        return ""
    if not verdict.claim.directed:
        return "more bases, or a less noisy outcome"
    needed = bases_to_decide(
        found.interval.mean, found.deviation or 0.0, verdict.threshold, alpha=verdict.alpha
    )
    if needed is None:
        return (
            "more than 50 bases would be needed at this spread: a smaller question or a less noisy"
            " outcome is the better way"
        )
    count = max(needed, verdict.n + 1)
    return f"about {count} bases would decide it: {_command(verdict, evidence, count)}"


def _command(verdict: Verdict, evidence: Evidence, count: int) -> str:
    """The command that brings the bases to `count`; those that are there come first.

    Seeds that the grid lacks come with what to do before their runs: verdicts read the seeds of the
    grid, and only a declaration that is older than the runs counts.
    """
    count = max(count, verdict.n + 1)
    planned = sorted(evidence.seeds, key=lambda seed: (seed not in verdict.differences, seed))
    unused = (seed for seed in range(2 * count + max(planned) + 1) if seed not in planned)
    new = [next(unused) for _ in range(count - len(planned))]
    command = more_evidence(evidence, [*planned[:count], *new]).text
    part = evidence.only_seeds is not None or evidence.core or evidence.screening
    if part or not new:
        return command
    unbroken = new[-1] - new[0] == len(new) - 1
    listed = f"{new[0]}-{new[-1]}" if unbroken else ",".join(map(str, new))
    declare = f"study declare {evidence.named} --seeds {listed}"
    return f"add seeds {listed} to grids/{evidence.grid}.yaml; {declare}; {command}"
