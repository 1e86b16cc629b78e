"""Mirror one grid at one scale in MLflow: an experiment, in it a run for the grid, and nested in
that an MLflow run per run of the grid.

A record becomes: parameters (the resolved spec, spelled as dotted YAML paths), step curves
(history), scores as eval/<task>/avg_at_<k>, cost, tags (labels, ids, seal) and the run's true final
status. `study.seal` is written last: a run without it is made again. Every operation can be
repeated, and finds what an earlier attempt or another writer left before it writes.

While a run is in progress its MLflow run holds the parameters and the points that the worker has
reported. MLflow cannot delete points, so the record of the finished run goes to a new MLflow run
and the provisional one is deleted.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from study.record.mlflow import fields
from study.record.mlflow.address import Address
from study.record.mlflow.experiment import artifact_folder, found_experiment
from study.record.owner import alive, is_owner, owner
from study.record.schema import Record
from study.record.store import Results

_MAX_METRICS, _MAX_PARAMETERS = 1000, 100  # per request


class GridMirror:
    """Write the mirror of one grid. open_runs: run id -> MLflow id of the runs that read RUNNING
    because of this writer; it outlives a lost connection.
    """

    def __init__(
        self, results: Results, place: Address, grid: str, scale: str, open_runs: dict[str, str]
    ) -> None:
        from mlflow.tracking import MlflowClient  # takes seconds to import: only in the writer

        self._local, self._open = place.local, open_runs
        self._artifacts = (results.root / "mlartifacts").resolve()
        self._client: Any = MlflowClient(place.uri)
        self._grid, self._scale = fields.text(grid), fields.text(scale)
        self._name = fields.text(f"{grid}-{scale}", fields.MAX_EXPERIMENT)
        folder = artifact_folder(self._artifacts, self._name) if place.local else None
        self._experiment = found_experiment(self._client, self._name, folder)
        self._parent = self._find_parent()

    def ping(self) -> None:
        """Raise the error of a database or server that cannot be reached."""
        self._client.get_experiment_by_name(self._name)

    def _find_parent(self) -> str:
        for run in self._parents():
            self._client.update_run(run.info.run_id, status="RUNNING")
            return run.info.run_id
        tags = {"study.kind": "grid", "study.grid": self._grid, "study.scale": self._scale}
        return self._client.create_run(self._experiment, run_name=self._grid, tags=tags).info.run_id

    def _parents(self) -> list[Any]:
        """Return the grid's runs, the oldest first: one, unless two
        writers started on two hosts at once.
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
        self,
        run_id: str,
        labels: Mapping[str, str],
        seed: int,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """Create a RUNNING child with the parameters of a run that has begun.

        A child on which this writer or another living one works is kept; what an earlier,
        unfinished attempt left is replaced.
        """
        running = [run for run in self._found(run_id) if run.info.status == "RUNNING"]
        ours = [run for run in running if run.info.run_id == self._open.get(run_id)]
        kept = ours or [run for run in running if _being_written(run)]
        if not kept:
            child = self._fresh(run_id, labels, seed)
            self._log_parameters(child, parameters or {})
            return child
        self._open[run_id] = kept[0].info.run_id
        return self._open[run_id]

    def progress(self, run_id: str, step: int, metrics: Mapping[str, float], phase: str) -> None:
        """Write points of a run in progress; nothing for one that this writer did not start."""
        from mlflow.entities import Metric, RunTag

        child = self._open.get(run_id)
        if child is None:
            return
        names = fields.spelled(metrics)
        now = int(time.time() * 1000)
        points = [Metric(names[name], value, now, step) for name, value in metrics.items()]
        told = RunTag("study.progress", fields.text(phase))
        self._client.log_batch(child, metrics=points, tags=[told])

    def _fresh(
        self, run_id: str, labels: Mapping[str, str], seed: int, start_ms: int | None = None
    ) -> str:
        """Create an empty RUNNING child; all others of this run are deleted."""
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
            "study.writer": owner(),
        }
        tags |= fields.label_tags(labels)
        name = fields.run_name(run_id, labels, seed)
        return self._client.create_run(
            self._experiment, start_time=start_ms, run_name=name, tags=tags
        ).info.run_id

    def sealed(self, record: Record, labels: Mapping[str, str]) -> None:
        """Write everything of a record, then FINISHED.

        A run that carries the record's seal already is left unchanged.
        """
        found = self._found(record.run)
        whole = [run for run in found if run.data.tags.get("study.seal") == record.seal]
        if whole:
            self._keep(whole[0], found)
            return
        start, end = (
            _milliseconds(when) for when in (record.provenance.started, record.provenance.finished)
        )
        child = self._fresh(record.run, labels, record.seed, start)
        self._log_parameters(child, fields.parameters(record))
        self._log(child, record, end)
        self._client.set_terminated(child, "FINISHED", end)
        self._client.set_tag(child, "study.seal", record.seal)
        del self._open[record.run]

    def _log_parameters(self, child: str, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        names = fields.spelled(values)
        found: list[Any] = [
            Param(names[name], fields.text(value, fields.MAX_PARAMETER))
            for name, value in values.items()
        ]
        for some in _pieces(found, _MAX_PARAMETERS):
            self._client.log_batch(child, params=some)

    def _log(self, child: str, record: Record, when: int) -> None:
        """Write the points and tags of a record, in as few requests as MLflow allows."""
        from mlflow.entities import Metric, RunTag

        metrics: list[Any] = [
            Metric(name, value, when, step) for name, value, step in fields.points(record)
        ]
        for some in _pieces(metrics, _MAX_METRICS):
            self._client.log_batch(child, metrics=some)
        tags = [RunTag(key, value) for key, value in fields.tags(record).items()]
        self._client.log_batch(child, tags=tags)

    def failed(self, run_id: str, labels: Mapping[str, str], seed: int, reason: str) -> None:
        """Mark a run FAILED; one that reads FAILED for this reason already is left unchanged."""
        told, found = fields.text(reason), self._found(run_id)
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
        """Keep one of the MLflow runs of a run, below its grid; delete the others."""
        for other in found:
            if other.info.run_id != kept.info.run_id:
                self._client.delete_run(other.info.run_id)
        self._open.pop(kept.data.tags["study.run"], None)
        if kept.data.tags.get("mlflow.parentRunId") != self._parent:
            self._client.set_tag(kept.info.run_id, "mlflow.parentRunId", self._parent)

    def settle(self, *, at_work: bool) -> None:
        """Leave one MLflow run per run and one for the grid.

        Unless a `study run` is running, what still reads RUNNING was killed.
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

    def describe(self, note: str) -> None:
        """Write a description in Markdown of the grid's run and of its experiment."""
        told = fields.text(note)
        self._client.set_tag(self._parent, "mlflow.note.content", told)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", told)

    def artifacts(self, folder: str, paths: Iterable[Path]) -> None:
        """Store files of the grid's run below `folder` ("" = the top): uploaded to a server, or
        copied below the results folder. Raises ValueError where the database names a place outside.
        """
        if not self._local:
            for path in paths:
                self._client.log_artifact(self._parent, str(path), folder or None)
            return
        place = str(self._client.get_run(self._parent).info.artifact_uri)
        target = (Path(unquote(urlsplit(place).path)) / folder).resolve()
        if not target.is_relative_to(self._artifacts):
            raise ValueError(f"the database places artifacts outside {self._artifacts}: {place}")
        target.mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copyfile(path, target / path.name)

    def end(self, status: str) -> None:
        """Mark all runs that this writer left open as killed; the grid's run gets `status`
        (RUNNING: a `study run` is still running and will set the final status).
        """
        for run_id, child in list(self._open.items()):
            # Skip a run that another writer has replaced meanwhile.
            if any(run.info.run_id == child for run in self._found(run_id)):
                self._client.set_terminated(child, "KILLED")
            del self._open[run_id]
        if status != "RUNNING":
            self._client.set_terminated(self._parent, status)


def _being_written(run: Any) -> bool:
    """Whether the process that started an MLflow run lives, or may live on another host."""
    name = run.data.tags.get("study.writer", "")
    return is_owner(name) and alive(name) is not False


def _milliseconds(when: str) -> int:
    return int(datetime.fromisoformat(when).timestamp() * 1000)


def _pieces(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
