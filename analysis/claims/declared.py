"""Label each claim by what was declared before its data, from the records alone.

Each record names the states under which its stages and itself were started
(`analysis/declarations/origins.py`). The first label of this order that applies:

    no data yet             no record is used
    declared after data     in some of these states no claim of this name existed, or the state is
                            not known
    changed after data      the claim or one of its gates had another text; both are shown
    world changed after data  the same text, but an arm's spec, the code of the outcomes, the
                            claim's finding or the choice of bases was another one; or the page
                            tells of such a change
    extended after data     seeds were added when others had been seen
    text before data, world not recorded  a state does not hold what the arms were, or a record does
                            not say under which state a stage was started
    declared before data    text, arms, outcome, finding and seeds are those of every state

Values equal to a default are left out of the text, so a field that is new in the software changes
no declaration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.declarations.changes import (
    extensions,
    told_changes,
    told_extensions,
    unread,
    world_changes,
)
from analysis.declarations.cited import preregistered
from analysis.declarations.origins import Behind, runs_behind, state_of, states_behind
from analysis.evidence.frames import Evidence
from study.record.schema import canonical_json
from study.spec.report.claim import Claim, Claims, all_arms
from study.spec.report.outcome import ArmLabels

Word = Literal[
    "declared before data",
    "text before data, world not recorded",
    "extended after data",
    "world changed after data",
    "changed after data",
    "declared after data",
    "no data yet",
]
MEANING: dict[Word, str] = {
    "declared before data": "text, arms, outcome, finding and seeds were declared before the data",
    "text before data, world not recorded": (
        "the text was declared before the data; what the arms were then is not recorded"
    ),
    "extended after data": "seeds were added after the data of others had been seen",
    "world changed after data": (
        "the text was declared before the data, but the arms, the outcome's code, the finding or"
        " the choice of bases changed afterwards"
    ),
    "changed after data": "the claim or one of its controls had another text before the data",
    "declared after data": "the claim did not exist when its data were made",
    "no data yet": "no record of its arms exists",
}
Text = dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """now: the text today. earlier: other texts that records were started under. runs: records
    used; under: of them under today's text. details: what changed or was added. preregistered: what
    the preregistrations say that its runs cite.
    """

    word: Word
    now: Text
    earlier: tuple[Text, ...] = ()
    runs: int = 0
    under: int = 0
    details: tuple[str, ...] = ()
    preregistered: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        some = (
            f" ({self.under} of its {self.runs} runs were started under today's text)"
            if 0 < self.under < self.runs
            else ""
        )
        said = f": {'; '.join(self.details)}" if self.details else ""
        return f"{self.word}{some}{said}"


def declared(page: Claims, claim: Claim, evidence: Evidence) -> Declared:
    """Return the label of one claim."""
    now = page.declaration(claim)
    arms = arms_behind(page, claim)
    behind = runs_behind(arms, evidence)
    if not behind:
        return Declared("no data yet", now)
    spelled = canonical_json(now)
    texts = {run: [_text(evidence, name, page.grid, claim.id) for name in run.states]
             for run in behind}  # fmt: skip
    others = {
        canonical_json(text): text
        for found in texts.values()
        for text in found
        if text is not None and canonical_json(text) != spelled
    }
    under = sum(
        all(text is not None and canonical_json(text) == spelled for text in found)
        for found in texts.values()
    )
    if under < len(behind):
        word: Word = "changed after data" if others else "declared after data"
        earlier = tuple(others[key] for key in sorted(others))
        details: list[str] = []
    else:
        word, details = _same_text(page, claim, arms, behind, evidence)
        earlier = ()
    cited = tuple(preregistered(claim, [run.run for run in behind], evidence))
    return Declared(word, now, earlier, len(behind), under, tuple(details), cited)


def arms_behind(page: Claims, claim: Claim) -> list[ArmLabels]:
    """Return the arms of a claim, its placebos and its gates."""
    gates = page.gates_of(claim)
    return [*all_arms(claim), *(arm for gate in gates for arm in all_arms(gate))]


def _text(evidence: Evidence, name: str, grid: str, claim: str) -> Text | None:
    """Return a claim's text in a state; None if it was not there."""
    state = state_of(evidence, name)
    page = state.page(grid) if state else None
    found = page.claim(claim) if page else None
    return page.declaration(found) if page and found else None


def _same_text(
    page: Claims,
    claim: Claim,
    arms: Sequence[ArmLabels],
    behind: Sequence[Behind],
    evidence: Evidence,
) -> tuple[Word, list[str]]:
    """Return the label, and its details, of a claim whose text was there from the start."""
    states = states_behind(behind, evidence)
    worlds = [state.grid_world(page.grid, evidence.scale) for state in states]
    recorded = all(run.recorded for run in behind) and None not in worlds
    changes = [
        *world_changes(page, claim, arms, states, evidence),
        *([] if recorded else told_changes(page.world_changes, arms)),
    ]
    if changes:
        return "world changed after data", list(dict.fromkeys(changes))
    told = [] if recorded else told_extensions(page.extensions, behind)
    added = list(dict.fromkeys([*extensions(page, behind, states, evidence), *told]))
    if added:
        return "extended after data", added
    left = list(unread(page, arms, evidence))
    return ("declared before data" if recorded else "text before data, world not recorded"), left
