"""`study power --claims`: what each undecided claim needs, from records alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.claims.decide import Verdict, judge
from analysis.claims.power import ClaimPower, claim_power, to_table
from analysis.claims.rules import VERSIONS, Rules
from analysis.claims.screening import load_screened
from analysis.claims.withdrawn import withdrawn_today
from analysis.declarations.states import findings_today
from analysis.evidence.frames import Evidence
from analysis.pages.numbered import claims_of
from analysis.pages.overview import grids_with_records
from analysis.verdicts.families import own_family
from study.cli import console
from study.cli.evidence import show_table
from study.errors import SpecError
from study.spec.yaml.load import names

Judged = list[tuple[Verdict, Evidence]]


def show(grid: str | None, scale: str, results: Path, rules: str) -> dict[str, Any]:
    """Print the undecided claims of a grid, or of every grid with records; return them as data.

    Records: RESULTS/records, else RESULTS/runs. Errors: SpecError for a grid without claims and for
    unknown rules; IncompleteResults without records.
    """
    if rules not in VERSIONS:
        raise SpecError(f"--rules {rules!r} is no version", hint=f"one of: {', '.join(VERSIONS)}")
    if grid is not None and grid not in names("claims"):
        hint = "claims are declared in experiments/claims/GRID.yaml"
        raise SpecError(f"no claims on {grid}", hint=hint)
    decided = _judged(grid, scale, _source(results), VERSIONS[rules])
    found = [one for verdict, evidence in decided if (one := claim_power(verdict, evidence))]
    words = Counter(verdict.word for verdict, _ in decided)
    _say(found, words, rules)
    claims = [one.to_json() for one in found]
    return {"rules": rules, "words": dict(sorted(words.items())), "claims": claims}


def _source(results: Path) -> Path:
    committed = results / "records"
    return committed if committed.is_dir() else results / "runs"


def _judged(grid: str | None, scale: str, source: Path, rules: Rules) -> Judged:
    """Return the verdicts of one grid, or of all with records; their families run over all."""
    recorded = set(grids_with_records(source, scale)) | ({grid} if grid else set())
    pages = {name: page for name in names("claims") if (page := claims_of(name))}
    evidence = {name: load_screened(source, name, scale) for name in pages if name in recorded}
    verdicts = judge(
        pages,
        evidence,
        findings=findings_today(),
        rules=rules,
        withdrawn=_withdrawn(list(evidence.values())),
        wanted=[grid] if grid else None,
    )
    return [(verdict, evidence[name]) for name, found in verdicts.items() for verdict in found]


def _withdrawn(evidence: Sequence[Evidence]) -> dict[str, list[str]]:
    """Return family -> claims that stored states declare and no page has any more."""
    found: dict[str, list[str]] = {}
    for one in withdrawn_today(evidence[0]) if evidence else ():
        found.setdefault(one.family or own_family(one.grid), []).append(one.claim.id)
    return found


def _say(found: Sequence[ClaimPower], words: Counter[str], rules: str) -> None:
    tally = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    console.say(f"{sum(words.values())} claims under rules {rules}: {tally}")
    if found:
        show_table(to_table(found))
