"""Whether a claim was declared before its data, from the records alone: each names the state of the
claims files that it was started under.

    declared before data    the claim, with its gates, is there word for word in the state of every
                            record that it uses
    changed after data      a claim of this name was there, but with another text: both are shown
    declared after data     some record that it uses was started when no claim of this name existed,
                            or its state is not known
    no data yet             no record is used
Values equal to a default are left out of the text, so a field that is new in the software changes
no declaration.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from analysis.evidence.frames import Evidence
from study.record.declared.states import stored
from study.record.schema import canonical_json
from study.spec.report.claim import Claim, Claims, all_arms
from study.spec.yaml.load import load
from study.spec.yaml.validation import validate

Word = Literal["declared before data", "changed after data", "declared after data", "no data yet"]
Text = dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """now: the text today. earlier: other texts that records were started under. runs: records
    used; under: of them under today's text.
    """

    word: Word
    now: Text
    earlier: tuple[Text, ...] = ()
    runs: int = 0
    under: int = 0

    @property
    def text(self) -> str:
        some = (
            f" ({self.under} of its {self.runs} runs were started under today's text)"
            if 0 < self.under < self.runs
            else ""
        )
        return f"{self.word}{some}"


def declared(page: Claims, claim: Claim, evidence: Evidence) -> Declared:
    """The state of one claim."""
    now, hashes = page.declaration(claim), _hashes(page, claim, evidence)
    texts = [_text(evidence.declared, name, page.grid, claim.id) for name in hashes]
    spelled = canonical_json(now)
    under = sum(text is not None and canonical_json(text) == spelled for text in texts)
    others = {
        canonical_json(text): text
        for text in texts
        if text is not None and canonical_json(text) != spelled
    }
    if not hashes:
        word: Word = "no data yet"
    elif under == len(hashes):
        word = "declared before data"
    else:
        word = "changed after data" if others else "declared after data"
    return Declared(word, now, tuple(others[key] for key in sorted(others)), len(hashes), under)


def _hashes(page: Claims, claim: Claim, evidence: Evidence) -> list[str | None]:
    """The state that each record of the claim's arms, and of its gates' arms, names."""
    used = [*all_arms(claim), *(arm for gate in page.gates_of(claim) for arm in all_arms(gate))]
    rows = {row["run"]: row["claims"] for arm in used for row in evidence.runs_of(arm)}
    return [name if isinstance(name, str) else None for _, name in sorted(rows.items())]


def _text(folder: Path | None, name: str | None, grid: str, claim: str) -> Text | None:
    """A claim's text in a state; None if it was not there."""
    page = None if folder is None or name is None else _state(folder.resolve(), name, grid)
    found = page.claim(claim) if page else None
    return page.declaration(found) if page and found else None


@lru_cache(maxsize=256)
def _state(folder: Path, name: str, grid: str) -> Claims | None:
    """A grid's claims file in a state; the state's files are checked against its hash."""
    file = f"{grid}.yaml"
    if file not in stored(folder, name):
        return None
    return validate(Claims, load(folder / name[:16] / file), "")
