"""One `study run` as one object: the runs of a grid, the results folder, and what is worked out
from both, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from study.errors import RecordMismatch
from study.record.declared.preregistration import Preregistration
from study.record.declared.preregistration_files import preregistrations
from study.record.declared.states import Pages, in_force, state_hash
from study.record.declared.world import with_world
from study.record.store import Results, read_record
from study.record.upgrade import NewerSchema
from study.runner.graph.durations import evaluation_seconds
from study.runner.graph.plan import Plan, make_plan
from study.runner.graph.stages import RunPlan, own_stage
from study.runner.graph.tasks import WorkItem, tasks_for
from study.runner.work.artifacts import quarantine
from study.runner.work.execute import Work
from study.spec.grid.grid import Grid
from study.spec.grid.labelled import LabelledRun
from study.spec.grid.scale import load_scale
from study.spec.machine.profile import Profile


@dataclass(frozen=True)
class Walk:
    """The runs to bring to a sealed record, and where, how and under which claims.

    Records and artifacts are read at the first question and not again, so every answer is of that
    moment. Where a later state matters, because other runners share the folder, `Schedule` looks
    again: before it starts a task, and for the summary.

    grid, scale: names, for messages. expected_seconds: the scale's guess for each stage kind.
    claims: the claims and findings in force, file name -> bytes. source: the grid of the runs, if
    they have one.
    """

    grid: str
    scale: str
    runs: tuple[LabelledRun, ...]
    results: Results
    work: Work
    profile: Profile = field(default_factory=Profile)
    expected_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    claims: Pages = field(default_factory=in_force)
    source: Grid | None = None

    @property
    def sealed(self) -> dict[str, float | None]:
        """Return ids of the runs with a sealed record -> wall seconds of their evaluation."""
        return self._records[0]

    @property
    def moved_aside(self) -> list[str]:
        """Return a message for each damaged record that was moved aside."""
        return self._records[1]

    @cached_property
    def _records(self) -> tuple[dict[str, float | None], list[str]]:
        """Read every record; one that is damaged is moved aside, and its run is pending.

        Errors: NewerSchema for a record that a newer version wrote.
        """
        found: dict[str, float | None] = {}
        moved: list[str] = []
        for run in self.runs:
            path = self.results.record(run.run_id)
            try:
                if path.is_file():
                    found[run.run_id] = evaluation_seconds(read_record(path).cost)
            except NewerSchema:
                raise
            except RecordMismatch as error:
                place = quarantine(path, self.results)
                moved.append(f"{error.message}; moved to {place}, its run is made again")
        return found, moved

    @cached_property
    def pending(self) -> tuple[LabelledRun, ...]:
        """Return the runs without a sealed record."""
        return tuple(run for run in self.runs if run.run_id not in self.sealed)

    @cached_property
    def plan(self) -> Plan:
        return make_plan(self.runs, self.results, self.expected_seconds, self.sealed)

    @cached_property
    def declared(self) -> Pages:
        """Return the state that the records of these runs name: the
        claims in force and their world.

        Only needed if a run is pending: expanding the grids with claims takes about 0.1 s.
        """
        if not self.claims:
            return {}
        scale = self.source.scale if self.source else load_scale(self.scale)
        return with_world(self.claims, scale, self.results, self.source)

    @cached_property
    def tasks(self) -> tuple[WorkItem, ...]:
        """Return the stages to make and the runs to record, in the
        order in which they should start.
        """
        claims = state_hash(self.declared)
        plans = [
            RunPlan(run.run_id, run.cell_id, run.cell, run.seed, claims, self._cited(run, claims))
            for run in self.pending
        ]
        return tuple(tasks_for(plans, self.plan))

    def _cited(self, run: LabelledRun, state: str | None) -> str | None:
        """Return the seal of the newest preregistration that covers a run."""
        place = (self.grid, self.scale, state, run.cell_id, run.seed)
        return next((page.seal for page in self.preregistrations if page.covers(*place)), None)

    @cached_property
    def preregistrations(self) -> tuple[Preregistration, ...]:
        """Return the preregistrations in the results folder, the newest first.

        Errors: RecordMismatch for one that is not as it was sealed.
        """
        return tuple(preregistrations(self.results.preregistrations))

    @cached_property
    def own_stages(self) -> dict[str, list[LabelledRun]]:
        """Return the last stage of each run -> the runs whose model it makes."""
        own: dict[str, list[LabelledRun]] = {}
        for run in self.runs:
            node = own_stage(run.cell, run.seed)
            if node is not None:
                own.setdefault(node.id, []).append(run)
        return own
