"""A small experiment in a folder of its own: one grid with claims and a finding, run by the real
runner on torch-free stages, all in this process.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.claims.declared import Declared, declared
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.pages.numbered import claims_of
from study.cli import carry_out as carrying
from study.record.checkpoints import Checkpoints
from study.record.store import Results
from study.runner.graph.walk import Walk
from study.runner.work.worker import Event, Payload, perform
from study.spec.grid.grid import load_grid
from study.spec.machine.profile import Profile
from tests.support.fake_work import WORK

GAIN: dict[str, Any] = {
    "id": "biased_is_worse",
    "text": "The biased loss leaves a worse student.",
    "source": "a test",
    "outcome": "score",
    "contrast": {"kind": "difference", "arm": {"loss": "biased"}, "versus": {"loss": "full"}},
    "expectation": "negative",
    "smallest_effect": 0.05,
    "primary": True,
}
FINDING: dict[str, Any] = {
    "id": "tiny_finding",
    "text": "A finding.",
    "source": "a test",
    "decided_by": "biased_is_worse",
    "claims": {"tiny": ["biased_is_worse"]},
}


class InProcess:
    """An engine that carries out a task in this process as soon as it is started."""

    def __init__(self, results: Results) -> None:
        self._results, self._ended = results, list[Event]()

    def require(self, kinds: set[str]) -> None:
        assert kinds

    def fits(self, payload: Payload) -> bool:
        return True

    def adopts(self, payload: Payload) -> bool:
        return False

    def start(self, payload: Payload) -> None:
        profile = Profile()
        place = self._results.checkpoints("of-no-task")
        ended = perform(payload, self._results, WORK, profile, _silent, Checkpoints(place))
        self._ended.append(ended)

    def events(self, timeout: float) -> list[Event]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        return

    def parting(self) -> str:
        return ""


def _silent(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
    return


class Tiny:
    """The experiment in `folder`, which is made the working folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.results = folder, Results(folder / "results")
        monkeypatch.chdir(folder)
        monkeypatch.setattr(carrying, "engine_for", lambda walk, _: InProcess(walk.results))
        self.write_grid()
        self.write_claims()
        self.write_findings()

    def write_grid(self, *, seeds: Sequence[int] = (0, 1, 2), k: int = 5) -> None:
        """Write the grid: two arms that share student and teacher. k: of the biased arm's loss."""
        page = {
            "name": "tiny", "question": "Does it matter?",
            "base": {"student": "student", "teacher": "rlvr", "objective": "full_reverse_kl",
                     "length": "standard", "data": "math", "evaluation": "math"},
            "factors": {"loss": {
                "full": {"objective": {"preset": "full_reverse_kl"}},
                "biased": {"objective": {"preset": "topk_biased", "k": k}},
            }},
            "seeds": list(seeds),
        }  # fmt: skip
        self._write("grids/tiny.yaml", page)

    def write_claims(self, *claims: dict[str, Any], **page: Any) -> None:
        self._write("claims/tiny.yaml", {"grid": "tiny", "claims": list(claims or (GAIN,)), **page})

    def write_findings(self, **changes: Any) -> None:
        self._write("findings/tiny.yaml", {"findings": [FINDING | changes]})

    def _write(self, name: str, page: dict[str, Any]) -> None:
        path = self.folder / "experiments" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(page), encoding="utf-8")

    def walk(self, seeds: Sequence[int] | None = None) -> Walk:
        grid = load_grid("tiny")
        return carrying.walk_through(grid, grid.runs(seeds), self.results, WORK)

    def run(self, seeds: Sequence[int] | None = None) -> None:
        """Do what `study run --grid tiny` does, without preflight and mirror."""
        carrying.carry_out(self.walk(seeds), 1, mlflow=False)

    def evidence(self, seeds: Sequence[int] | None = None) -> Evidence:
        return load(self.results.runs, grid="tiny", seeds=seeds)

    def declared(
        self, claim: str = "biased_is_worse", seeds: Sequence[int] | None = None
    ) -> Declared:
        """Return the label of a claim, from the records in results/runs."""
        page = claims_of("tiny")
        assert page is not None
        found = page.claim(claim)
        assert found is not None
        return declared(page, found, self.evidence(seeds))
