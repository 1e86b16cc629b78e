"""The MLflow mirror of one results folder: one experiment per grid and scale, in it a run for the grid and nested in that a run per run.

A record becomes: parameters (the resolved spec, spelled as dotted YAML paths), step curves (history), scores as eval/<task>/avg_at_<k>,
cost, tags (labels, ids, seal) and the run's true final status. `study.seal` is written last: a run without it is made anew.

Artifacts are addressed relative to the server (mlflow-artifacts:/...) and lie in <results>/mlartifacts, so that the folder can be moved:
mlflow ui --backend-store-uri sqlite:///results/mlflow.db --artifacts-destination results/mlartifacts

As a program (`python -m study.record.tracking RESULTS`) it reads messages of `study.record.mirror` from its input until that ends.
"""

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from study.record.schema import Record
from study.record.store import Results, read_record
from study.spec.cell import Cell

_MAX_METRICS, _MAX_PARAMETERS, _MAX_TEXT = 1000, 100, 6000  # of one request


def metric_name(name: str) -> str:
    """MLflow's alphabet: letters, digits, _ - . space : /; "@" is spelled "_at_"."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def dotted(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path; a list is one leaf."""
    leaves: dict[str, Any] = {}
    for key, item in tree.items():
        leaves |= dotted(cast(dict[str, Any], item), f"{path}{key}.") if isinstance(item, dict) else {f"{path}{key}": item}
    return leaves


def parameters(record: Record) -> dict[str, Any]:
    """The resolved configuration, defaults written out; the model's own settings without the prefix `model.`, as in a grid."""
    try:
        spec = Cell.model_validate_json(json.dumps(record.spec)).model_dump(mode="json")
    except ValidationError:  # a record of another version of the spec is shown as it was written
        spec = record.spec
    leaves = {path.removeprefix("model."): value for path, value in dotted(spec).items()}
    return {path: value for path, value in leaves.items() if value is not None} | {"seed": record.seed}


def final_metrics(record: Record) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for task, score in record.scores.items():
        fields = {f"avg@{score.k}": score.mean, "greedy": score.greedy, "mean_tokens": score.mean_tokens}
        fields |= {"truncated_fraction": score.truncated_fraction, "unparsed_fraction": score.unparsed_fraction}
        metrics |= {f"eval/{task}/{name}": value for name, value in fields.items() if value is not None}
    for kind, cost in record.cost.items():
        metrics |= {f"cost/{kind}/{name}": float(value) for name, value in cost.model_dump().items()}
    return metrics


class GridMirror:
    """The experiment of one grid at one scale."""

    def __init__(self, results: Results, grid: str, scale: str) -> None:
        from mlflow.tracking import MlflowClient  # seconds to import: only in the writer

        self.results, self.grid = results, grid
        self.client: Any = MlflowClient(f"sqlite:///{results.database.resolve()}")
        self.experiment = self._experiment(f"{grid}-{scale}")
        self.parent = self._parent(grid, scale)
        self._runs = {run.data.tags["study.run"]: run for run in self._search("tags.`study.run` != ''")}
        self._open: dict[str, str] = {}  # run id -> MLflow id of the runs that are RUNNING

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        return found.experiment_id if found else self.client.create_experiment(name, artifact_location=f"mlflow-artifacts:/{name}")

    def _parent(self, grid: str, scale: str) -> str:
        for run in self._search("tags.`study.kind` = 'grid'"):
            self.client.update_run(run.info.run_id, status="RUNNING")
            return run.info.run_id
        tags = {"study.kind": "grid", "study.grid": grid, "study.scale": scale}
        return self.client.create_run(self.experiment, run_name=grid, tags=tags).info.run_id

    def _search(self, condition: str) -> Iterator[Any]:
        token: str | None = ""
        while token is not None:
            page = self.client.search_runs([self.experiment], condition, max_results=1000, page_token=token or None)
            yield from page
            token = page.token or None

    def started(self, run_id: str, labels: Mapping[str, str], seed: int, start_ms: int | None = None) -> str:
        """A RUNNING child; what an earlier, unfinished attempt left is replaced."""
        if run_id in self._open:
            return self._open[run_id]
        if run_id in self._runs:
            self.client.delete_run(self._runs.pop(run_id).info.run_id)
        name = " ".join([*labels.values(), f"s{seed}"]) if labels else run_id
        tags = {"mlflow.parentRunId": self.parent, "study.kind": "run", "study.run": run_id, "study.grid": self.grid}
        tags |= {f"label.{factor}": level for factor, level in labels.items()}
        child = self.client.create_run(self.experiment, start_time=start_ms, run_name=name, tags=tags).info.run_id
        self._open[run_id] = child
        return child

    def sealed(self, record: Record, labels: Mapping[str, str]) -> None:
        """Everything of a record, then FINISHED. A run that carries the record's seal already is left alone."""
        known = self._runs.get(record.run)
        if known is not None and known.data.tags.get("study.seal") == record.seal:
            return
        start, end = (_milliseconds(when) for when in (record.provenance.started, record.provenance.finished))
        child = self.started(record.run, labels, record.seed, start)
        self._log(child, record, end)
        self.client.set_tag(child, "study.seal", record.seal)
        self.client.set_terminated(child, "FINISHED", end)
        del self._open[record.run]

    def _log(self, child: str, record: Record, when: int) -> None:
        from mlflow.entities import Metric, Param

        found: list[Any] = [Param(metric_name(name), str(value)[:_MAX_TEXT]) for name, value in parameters(record).items()]
        for some in _pieces(found, _MAX_PARAMETERS):
            self.client.log_batch(child, params=some)
        metrics: list[Any] = [Metric(metric_name(name), value, when, 0) for name, value in final_metrics(record).items()]
        for name in record.history.keys() - {"step"}:
            metrics += [Metric(metric_name(name), value, when, step) for step, value in zip(*record.series(name), strict=True)]
        for some in _pieces(metrics, _MAX_METRICS):
            self.client.log_batch(child, metrics=some)
        for key, value in {"study.cell": record.cell, "study.code": record.provenance.code}.items():
            self.client.set_tag(child, key, value)

    def failed(self, run_id: str, labels: Mapping[str, str], seed: int, reason: str) -> None:
        child = self.started(run_id, labels, seed)
        self.client.set_tag(child, "study.error", reason[:_MAX_TEXT])
        self.client.set_terminated(self._open.pop(run_id), "FAILED")

    def figures(self, paths: Iterable[Path]) -> None:
        """Pictures copied to where the server looks for the parent's artifacts."""
        location = self.client.get_run(self.parent).info.artifact_uri.removeprefix("mlflow-artifacts:/")
        folder = self.results.root / "mlartifacts" / location / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copyfile(path, folder / path.name)

    def end(self, status: str) -> None:
        """Whatever is still open was killed; the grid's run gets `status`."""
        for child in self._open.values():
            self.client.set_terminated(child, "KILLED")
        self._open.clear()
        self.client.set_terminated(self.parent, status)


def _milliseconds(when: str) -> int:
    return int(datetime.fromisoformat(when).timestamp() * 1000)


def _pieces(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def follow(results: Results, messages: Iterable[str]) -> None:
    """Take messages until they end. The last grid's run is KILLED if its `end` never came: the parent was killed."""
    mirror: GridMirror | None = None
    for message in map(json.loads, messages):
        match message:
            case {"op": "grid", "grid": grid, "scale": scale}:
                mirror = GridMirror(results, grid, scale)
                continue
            case _:
                assert mirror is not None, "the first message names the grid"
        match message:
            case {"op": "started", "run": run, "labels": labels, "seed": seed}:
                mirror.started(run, labels, seed)
            case {"op": "failed", "run": run, "labels": labels, "seed": seed, "reason": reason}:
                mirror.failed(run, labels, seed, reason)
            case {"op": "sealed", "record": path, "labels": labels}:
                mirror.sealed(read_record(Path(path)), labels)
            case {"op": "figures", "paths": paths}:
                mirror.figures(map(Path, paths))
            case {"op": "end", "status": status}:
                mirror.end(status)
                mirror = None
            case _:
                raise ValueError(f"an unknown message: {message}")
    if mirror is not None:
        mirror.end("KILLED")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        follow(Results(Path(sys.argv[1])), sys.stdin)
