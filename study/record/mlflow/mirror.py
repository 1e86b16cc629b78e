"""The MLflow mirror of one grid at one scale: an experiment, in it a run for the grid and nested in
that a run per run.

A record becomes: parameters (the resolved spec, spelled as dotted YAML paths), step curves
(history), scores as eval/<task>/avg_at_<k>, cost, tags (labels, ids, seal) and the run's true final
status. `study.seal` is written last: a run without it is made anew. Every operation can be
repeated, and finds what an earlier attempt or another writer left before it writes.

In the results folder artifacts are addressed relative to the server (mlflow-artifacts:/...) and lie
in <results>/mlartifacts, so that the folder can be moved: mlflow ui --backend-store-uri
sqlite:///results/mlflow.db --artifacts-destination results/mlartifacts
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from study.record.mlflow import fields as mirrored
from study.record.mlflow.address import Address
from study.record.schema import Record
from study.record.store import Results

_MAX_METRICS, _MAX_PARAMETERS = 1000, 100  # of one request


class GridMirror:
    """open_runs: run id -> MLflow id of the runs that read RUNNING because of this writer; it
    outlives a lost connection.
    """

    def __init__(
        self, results: Results, place: Address, grid: str, scale: str, open_runs: dict[str, str]
    ) -> None:
        from mlflow.tracking import MlflowClient  # seconds to import: only in the writer

        self._results, self._local, self._open = results, place.local, open_runs
        self._client: Any = MlflowClient(place.uri)
        self._grid, self._scale = mirrored.text(grid), mirrored.text(scale)
        self._name = mirrored.text(f"{grid}-{scale}", mirrored.MAX_EXPERIMENT)
        self._experiment = self._find_experiment()
        self._parent = self._find_parent()

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._name)
        if found is None:
            return self._create_experiment()
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _create_experiment(self) -> str:
        """A server places artifacts as it was told to; our own database has them beside it."""
        location = (
            f"mlflow-artifacts:/{re.sub(r'[^A-Za-z0-9_.-]', '_', self._name)}"
            if self._local
            else None
        )
        try:
            return self._client.create_experiment(self._name, artifact_location=location)
        except Exception:
            found = self._client.get_experiment_by_name(self._name)  # another writer was first
            if found is None:
                raise
            return found.experiment_id

    def ping(self) -> None:
        """Raises what a database or server that cannot be reached raises."""
        self._client.get_experiment_by_name(self._name)

    def _find_parent(self) -> str:
        for run in self._parents():
            self._client.update_run(run.info.run_id, status="RUNNING")
            return run.info.run_id
        tags = {"study.kind": "grid", "study.grid": self._grid, "study.scale": self._scale}
        return self._client.create_run(self._experiment, run_name=self._grid, tags=tags).info.run_id

    def _parents(self) -> list[Any]:
        """The grid's runs, the oldest first: there is one, unless two writers started on two hosts
        at once.
        """
        return sorted(
            self._search("tags.`study.kind` = 'grid'"),
            key=lambda run: (run.info.start_time, run.info.run_id),
        )

    def _search(self, condition: str) -> Iterator[Any]:
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                [self._experiment], condition, max_results=1000, page_token=token or None
            )
            yield from page
            token = page.token or None

    def _found(self, run_id: str) -> list[Any]:
        return list(self._search("tags.`study.run` = '{}'".format(run_id.replace("'", ""))))

    def started(
        self, run_id: str, labels: Mapping[str, str], seed: int, start_ms: int | None = None
    ) -> str:
        """A RUNNING child; what an earlier, unfinished attempt left is replaced."""
        found = self._found(run_id)
        empty = [
            run.info.run_id
            for run in found
            if run.info.status == "RUNNING" and not run.data.params and not run.data.metrics
        ]
        for run in found:
            if run.info.run_id not in empty[:1]:
                self._client.delete_run(run.info.run_id)
        self._open[run_id] = empty[0] if empty else self._create(run_id, labels, seed, start_ms)
        return self._open[run_id]

    def _create(
        self, run_id: str, labels: Mapping[str, str], seed: int, start_ms: int | None
    ) -> str:
        tags = {
            "mlflow.parentRunId": self._parent,
            "study.kind": "run",
            "study.run": run_id.replace("'", ""),
            "study.grid": self._grid,
        }
        tags |= mirrored.label_tags(labels)
        name = mirrored.run_name(run_id, labels, seed)
        return self._client.create_run(
            self._experiment, start_time=start_ms, run_name=name, tags=tags
        ).info.run_id

    def sealed(self, record: Record, labels: Mapping[str, str]) -> None:
        """Everything of a record, then FINISHED.

        A run that carries the record's seal already is left alone.
        """
        found = self._found(record.run)
        whole = [run for run in found if run.data.tags.get("study.seal") == record.seal]
        if whole:
            self._keep(whole[0], found)
            return
        start, end = (
            _milliseconds(when) for when in (record.provenance.started, record.provenance.finished)
        )
        child = self.started(record.run, labels, record.seed, start)
        self._log(child, record, end)
        self._client.set_terminated(child, "FINISHED", end)
        self._client.set_tag(child, "study.seal", record.seal)
        del self._open[record.run]

    def _log(self, child: str, record: Record, when: int) -> None:
        from mlflow.entities import Metric, Param

        values = mirrored.parameters(record)
        names = mirrored.spelled(values)
        found: list[Any] = [
            Param(names[name], mirrored.text(value, mirrored.MAX_PARAMETER))
            for name, value in values.items()
        ]
        for some in _pieces(found, _MAX_PARAMETERS):
            self._client.log_batch(child, params=some)
        metrics: list[Any] = [
            Metric(name, value, when, step) for name, value, step in mirrored.points(record)
        ]
        for some in _pieces(metrics, _MAX_METRICS):
            self._client.log_batch(child, metrics=some)
        for key, value in mirrored.tags(record).items():
            self._client.set_tag(child, key, value)

    def failed(self, run_id: str, labels: Mapping[str, str], seed: int, reason: str) -> None:
        """A run that reads FAILED for this reason already is left alone."""
        told, found = mirrored.text(reason), self._found(run_id)
        same = [
            run
            for run in found
            if run.info.status == "FAILED" and run.data.tags.get("study.error") == told
        ]
        if same:
            self._keep(same[0], found)
            return
        child = self.started(run_id, labels, seed)
        self._client.set_tag(child, "study.error", told)
        self._client.set_terminated(self._open.pop(run_id), "FAILED")

    def _keep(self, kept: Any, found: Iterable[Any]) -> None:
        """One of the MLflow runs of a run, below its grid; the others go."""
        for other in found:
            if other.info.run_id != kept.info.run_id:
                self._client.delete_run(other.info.run_id)
        self._open.pop(kept.data.tags["study.run"], None)
        if kept.data.tags.get("mlflow.parentRunId") != self._parent:
            self._client.set_tag(kept.info.run_id, "mlflow.parentRunId", self._parent)

    def settle(self, *, at_work: bool) -> None:
        """One MLflow run a run and one for the grid.

        Unless a `study run` is at work, what still reads RUNNING was killed.
        """
        runs: dict[str, list[Any]] = {}
        for run in self._search("tags.`study.kind` = 'run'"):
            runs.setdefault(run.data.tags.get("study.run", ""), []).append(run)
        for found in runs.values():
            best = max(
                found,
                key=lambda run: (
                    "study.seal" in run.data.tags,
                    run.info.status == "RUNNING",
                    run.info.start_time,
                ),
            )
            self._keep(best, found)
            if best.info.status == "RUNNING" and not at_work:
                self._client.set_terminated(best.info.run_id, "KILLED")
        for spare in self._parents():
            if spare.info.run_id != self._parent:
                self._client.delete_run(spare.info.run_id)

    def figures(self, paths: Iterable[Path]) -> None:
        """Pictures of the grid's run: uploaded to a server, or copied to where the server of this
        folder looks for them.
        """
        if not self._local:
            for path in paths:
                self._client.log_artifact(self._parent, str(path), "figures")
            return
        root = (self._results.root / "mlartifacts").resolve()
        location = self._client.get_run(self._parent).info.artifact_uri.removeprefix(
            "mlflow-artifacts:/"
        )
        folder = (root / location / "figures").resolve()
        if not folder.is_relative_to(root):
            raise ValueError(f"the database places artifacts outside {root}: {location}")
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copyfile(path, folder / path.name)

    def end(self, status: str) -> None:
        """Whatever this writer left open was killed; the grid's run gets `status` (RUNNING: a
        `study run` is at work, it says the rest).
        """
        for run_id, child in list(self._open.items()):
            if any(
                run.info.run_id == child for run in self._found(run_id)
            ):  # not replaced by another writer meanwhile
                self._client.set_terminated(child, "KILLED")
            del self._open[run_id]
        if status != "RUNNING":
            self._client.set_terminated(self._parent, status)


def _milliseconds(when: str) -> int:
    return int(datetime.fromisoformat(when).timestamp() * 1000)


def _pieces(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
