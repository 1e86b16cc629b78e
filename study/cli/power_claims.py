"""`study power --claims`: what each undecided claim needs, from records alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.claims.power import ClaimPower, claim_power, to_table
from analysis.claims.rules import VERSIONS
from analysis.claims.screening import load_screened
from analysis.evidence.frames import Evidence
from analysis.pages.parts import grids_with_records
from analysis.verdicts.study import Study, study_of, study_with
from study.cli import console
from study.cli.evidence import show_table
from study.errors import SpecError
from study.spec.yaml.load import names


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
    evidence = evidence_for(grid, scale, records_in(results))
    judged = study_around(evidence).verdicts(VERSIONS[rules], wanted=list(evidence))
    decided = [(verdict, evidence[name]) for name, each in judged.items() for verdict in each]
    found = [one for verdict, evidence in decided if (one := claim_power(verdict, evidence))]
    words = Counter(verdict.word for verdict, _ in decided)
    _say(found, words, rules)
    claims = [one.to_json() for one in found]
    return {"rules": rules, "words": dict(sorted(words.items())), "claims": claims}


def records_in(results: Path) -> Path:
    """Return the folder of committed records, or of the runs where there are none."""
    committed = results / "records"
    return committed if committed.is_dir() else results / "runs"


def evidence_for(grid: str | None, scale: str, source: Path) -> dict[str, Evidence]:
    """Return the evidence of one grid, or of all with claims and records."""
    known = names("claims")
    recorded = [grid] if grid else grids_with_records(source, scale)
    return {name: load_screened(source, name, scale) for name in recorded if name in known}


def study_around(evidence: Mapping[str, Evidence]) -> Study:
    """Return the study of which this is evidence. Families run over all grids, so those beside a
    single grid are read too.
    """
    if len(evidence) == 1:
        return study_of(next(iter(evidence.values())))
    return study_with(evidence)


def _say(found: Sequence[ClaimPower], words: Counter[str], rules: str) -> None:
    tally = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    console.say(f"{sum(words.values())} claims under rules {rules}: {tally}")
    if found:
        show_table(to_table(found))
