"""The MLflow mirror when something is wrong: nothing it does or cannot do costs a run, and it is
whole or says that it is not.
"""

import json
import multiprocessing
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from study.cli.carry_out import carry_out
from study.cli.sync_mlflow import set_damaged_aside
from study.record.mlflow.address import address
from study.record.mlflow.client import Mirror
from study.record.mlflow.fields import MAX_NAME, metric_name, spelled, text
from study.record.mlflow.live import LivePoints
from study.record.mlflow.writer import Hiding, Writer, turn
from study.record.secrets import hidden
from study.record.store import Results
from study.runner.graph.walk import Walk
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id
from tests.support.fake_work import WORK, cell
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

GRID = {"op": "grid", "grid": "fake", "scale": "lab"}
END = {"op": "end", "status": "FINISHED"}


class FakeMlflow:
    """Takes messages while it is `up`; refuses `poison`.

    Counts what it was asked, so that a test sees how patient a writer is.
    """

    def __init__(self) -> None:
        self.up, self.poison, self.asked, self.taken = True, "", 0, list[str]()

    def connect(self, grid: str, scale: str, open_runs: dict[str, str]) -> "FakeMlflow":
        self.ping()
        return self

    def ping(self) -> None:
        self.asked += 1
        if not self.up:
            raise ConnectionError("nobody there")

    def progress(self, run_id: str, step: int, metrics: dict[str, float], phase: str) -> None:
        self.started(run_id, {}, 0)

    def started(
        self,
        run_id: str,
        labels: dict[str, str],
        seed: int,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        self.ping()
        if run_id == self.poison:
            raise ValueError(f"{run_id} cannot be written")
        self.taken.append(run_id)
        return run_id

    def end(self, status: str) -> None:
        self.ping()
        self.taken.append(status)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def mlflow() -> FakeMlflow:
    return FakeMlflow()


def started(name: str) -> dict[str, Any]:
    return {"op": "started", "run": name, "labels": {}, "seed": 0}


def writer(
    mlflow: FakeMlflow, folder: Path, clock: Clock | None = None
) -> tuple[Writer, list[str]]:
    told: list[str] = []
    connect: Any = mlflow.connect  # the fake has the methods that a writer needs
    return Writer(connect, folder / "lock", told.append, clock or Clock()), told


def lines(*messages: dict[str, Any]) -> list[str]:
    return [json.dumps(message) for message in messages]


def test_what_a_server_missed_is_written_in_order_when_it_is_back(
    mlflow: FakeMlflow, tmp_path: Path
) -> None:
    clock = Clock()
    made, told = writer(mlflow, tmp_path, clock)

    def feed() -> Iterator[str]:
        yield from lines(GRID, started("a"))
        mlflow.up = False
        yield from lines(*(started(name) for name in "bcd"))
        mlflow.up, clock.now = True, clock.now + 60
        yield from lines(started("e"), END)

    assert made.follow(feed()) == 0
    assert mlflow.taken == ["a", "b", "c", "d", "e", "FINISHED"]
    assert len(told) == 1  # one failure was told, not one a message


def test_a_server_that_is_down_is_asked_a_few_times_and_no_more(
    mlflow: FakeMlflow, tmp_path: Path
) -> None:
    mlflow.up = False
    made, told = writer(mlflow, tmp_path)
    assert made.follow(lines(GRID, *(started(f"run-{number}") for number in range(1000)), END)) == 1
    assert mlflow.asked <= 6
    assert "not written: 1002 messages" in told[-1]


def test_a_message_that_cannot_be_written_costs_itself_alone(
    mlflow: FakeMlflow, tmp_path: Path
) -> None:
    mlflow.poison = "b"
    made, told = writer(mlflow, tmp_path)
    assert made.follow(lines(GRID, started("a"), started("b"), started("c"), END)) == 1
    assert mlflow.taken == ["a", "c", "FINISHED"]
    assert "b cannot be written" in told[0]


def test_points_of_a_run_under_way_never_wait_and_are_never_missed(
    mlflow: FakeMlflow, tmp_path: Path
) -> None:
    clock = Clock()
    made, told = writer(mlflow, tmp_path, clock)
    point = {"op": "progress", "step": 1, "metrics": {}, "phase": "distill 1/2"}

    def feed() -> Iterator[str]:
        mlflow.poison = "bad"
        yield from lines(GRID, point | {"run": "bad"}, started("a"))
        mlflow.up = False
        yield from lines(started("b"), *(point | {"run": f"p{step}"} for step in range(50)))
        mlflow.up, clock.now = True, clock.now + 60
        yield from lines(END)

    assert made.follow(feed()) == 0
    assert mlflow.taken == ["a", "b", "FINISHED"]
    assert len(told) == 3  # twice the bad point, once the server that is down


def test_points_are_sent_every_few_seconds_and_only_what_changed() -> None:
    clock = Clock()
    live = LivePoints(clock)
    assert live.is_due("distill-1", 0)
    assert live.changed("distill-1", 0, {"loss": 1.0, "eval": 0.5}) == {"loss": 1.0, "eval": 0.5}
    assert not live.is_due("distill-1", 1)
    assert live.is_due("distill-2", 1)
    clock.now += 3.0
    assert not live.is_due("distill-1", 0)
    assert live.is_due("distill-1", 1)
    assert live.changed("distill-1", 1, {"loss": 0.9, "eval": 0.5}) == {"loss": 0.9}
    for number in range(100):
        live.changed(f"other-{number}", 1, {})
    clock.now += 5.0
    assert not live.is_due("distill-1", 2)  # a hundred stages share one writer


def test_a_grid_whose_end_never_came_was_killed(mlflow: FakeMlflow, tmp_path: Path) -> None:
    assert writer(mlflow, tmp_path)[0].follow(lines(GRID, started("a"))) == 0
    assert mlflow.taken == ["a", "KILLED"]


def hold(path: Path, held: Any) -> None:
    with turn(path):
        held.set()
        time.sleep(60)


def test_writers_take_turns_and_a_killed_one_holds_nobody_up(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    holder = fork.Process(target=hold, args=(tmp_path / "lock", held))
    holder.start()
    assert held.wait(30)
    with turn(tmp_path / "lock", wait_s=0.1) as mine:
        assert not mine  # never waited for long
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    with turn(tmp_path / "lock", wait_s=0.1) as mine:
        assert mine
    with turn(tmp_path / "no folder" / "lock") as mine:
        assert not mine  # a folder without locks costs no message


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:se%20cret@127.0.0.1:1/x",
        "postgresql://user:se%20cret@db/mlflow?sslmode=require",
    ],
)
def test_a_password_is_taken_out_of_a_uri(uri: str, tmp_path: Path) -> None:
    place = address(Results(tmp_path), uri)
    assert "cret" not in f"{place!r}{place.shown}"
    assert "user" not in place.shown
    assert hidden("login se cret or se%20cret failed", place.secrets) == "login *** or *** failed"
    if uri.startswith("http"):
        assert place.uri == "http://127.0.0.1:1/x"
        assert place.environment == {
            "MLFLOW_TRACKING_USERNAME": "user",
            "MLFLOW_TRACKING_PASSWORD": "se cret",
        }


def test_the_address_is_the_option_then_the_environment_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert address(Results(tmp_path)).local
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one:1")
    assert address(Results(tmp_path)).uri == "http://one:1"
    assert address(Results(tmp_path), "http://two:2").shown == "http://two:2"
    assert not address(Results(tmp_path)).local


def test_what_libraries_print_passes_without_secrets(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        print("401 for se cret", file=Hiding(log, ["se cret"]))
    assert (tmp_path / "log").read_text() == "401 for ***\n"


def test_a_server_that_is_down_costs_a_warning_and_no_password(tmp_path: Path) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mirror = Mirror(Results(tmp_path), f"http://someone:sesame@127.0.0.1:{port}")
    mirror.begin("fake", "lab")
    for number in range(5000):  # more than a pipe holds: nothing may block
        mirror.started(f"run-{number}", {"objective": "x" * 50}, 0)
    mirror.end("FINISHED")
    assert "study sync-mlflow" in mirror.close(120)
    log = (tmp_path / "mlflow.log").read_text()
    assert "not written: 5002 messages" in log
    assert "sesame" not in log
    assert "someone" not in log


def test_a_grid_is_sealed_though_its_server_is_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = cell(1)
    run = LabelledRun(f"{cell_id(made)}-s0", made, {"objective": "k1"}, 0, cell_id(made))
    walk = Walk("fake", "lab", (run,), Results(tmp_path), WORK)
    summary = carry_out(walk, 1, mlflow_uri="http://someone:sesame@127.0.0.1:9")
    assert summary.sealed_now == [run.run_id]
    said = capsys.readouterr()
    assert "1 of 1 runs sealed" in said.out
    assert "study sync-mlflow" in said.err
    assert b"sesame" not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


def test_a_server_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mirror = Mirror(Results(tmp_path), f"http://127.0.0.1:{silent.getsockname()[1]}")
        mirror.begin("fake", "lab")
        mirror.end("FINISHED")
        assert "still being written" in mirror.close(0.1)
        assert mirror._process is not None
        mirror._process.kill()
        assert mirror._process.wait() == -signal.SIGKILL


def test_a_writer_that_is_killed_is_a_warning(tmp_path: Path) -> None:
    mirror = Mirror(Results(tmp_path))
    mirror.begin("fake", "lab")
    assert mirror._process is not None
    mirror._process.kill()
    for number in range(5000):
        mirror.started(f"run-{number}", {"objective": "x" * 50}, 0)
    mirror.end("FINISHED")
    assert "study sync-mlflow" in mirror.close(60)


def test_a_writer_that_cannot_start_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    mirror = Mirror(Results(tmp_path / "file" / "results"))
    assert "could not be started" in mirror.warning
    mirror.begin("fake", "lab")
    mirror.started("a", {}, 0)
    mirror.end("FINISHED")
    assert mirror.close() == mirror.warning


def test_a_damaged_database_is_set_aside_without_leaving_a_journal_and_a_locked_one_is_not(
    tmp_path: Path,
) -> None:
    database = tmp_path / "mlflow.db"
    assert set_damaged_aside(database) is None
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("create table t (x)")
        connection.execute("begin exclusive")
        assert set_damaged_aside(database) is None
        connection.rollback()
    assert set_damaged_aside(database) is None
    whole = database.read_bytes()
    for number, damaged in enumerate(
        (b"this is no database", whole[:100] + b"\xff" * (len(whole) - 100)), 1
    ):
        database.write_bytes(damaged)
        (tmp_path / "mlflow.db-journal").write_bytes(b"stale")
        assert set_damaged_aside(database) == tmp_path / f"mlflow.db.damaged-{number}"
        assert (tmp_path / f"mlflow.db.damaged-{number}").read_bytes() == damaged
        assert not database.exists()
        assert not (tmp_path / "mlflow.db-journal").exists()


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("eval/avg@2", "eval/avg_at_2"),
        ("a(b);\n", "a_b___"),
        ("train/loss", "train/loss"),
        ("/a//../b/", "_/a/_/__/b/_"),
        ("", "_"),
    ],
)
def test_metric_names_fit_their_alphabet_and_are_no_paths(name: str, spelling: str) -> None:
    assert metric_name(name) == spelling


def test_two_names_of_one_spelling_stay_two() -> None:
    names = ["a(b", "a)b", "a_b", "x" * 300, "x" * 301]
    found = spelled(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert all(len(spelling) <= MAX_NAME for spelling in found.values())


def test_text_is_what_every_database_stores() -> None:
    assert text("a\x00b\ud800é") == "a�b?é"
    assert text("x" * 10, 5) == "xxxx…"


def test_the_parent_never_imports_mlflow_or_torch() -> None:
    root = ROOT
    code = (
        "import sys, study.cli.carry_out; print([n for n in ('mlflow', 'torch', 'pandas',"
        " 'matplotlib') if n in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
