"""Helper processes: healthy, on loopback, and gone with the stage that wanted them, however it
ends.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.errors import SpecError
from study.models.server import leash, processes
from study.models.server.server import OWNER, SERVER, STAGE, ServerFailed, serve, sweep_servers

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what is checked here is read from /proc"
)

# An HTTP server that ignores SIGTERM; a child of it starts a grandchild in a session of its own and
# leaves it an orphan.
STUBBORN = '''
import http.server, json, os, signal, subprocess, sys, time
host, port, pids, *how = sys.argv[1:]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stay = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stay])
fork = f"""import subprocess, sys
quiet = {{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}}
print(subprocess.Popen([sys.executable, "-c", {stay!r}], start_new_session=True, **quiet).pid)"""
orphan = int(subprocess.run([sys.executable, "-c", fork], capture_output=True, text=True).stdout)
with open(pids + ".new", "w") as file:
    json.dump({"server": os.getpid(), "child": child.pid, "orphan": orphan,
               "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
               "stage": os.environ["STUDY_STAGE"]}, file)
os.rename(pids + ".new", pids)
print("the weights are being read", flush=True)
if "die" in how:
    sys.exit(7)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if "ill" in how else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("0.0.0.0" if "open" in how else host, int(port)), Answer).serve_forever()
'''
# A stage that serves and then waits to be killed. `worker` is started by `runner` and dies with it,
# as the study's workers do.
STAGE_PROGRAM = """
import ctypes, json, os, signal, subprocess, sys, time
from pathlib import Path
from study.models.server.server import serve
role, command, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
if role == "runner":
    subprocess.Popen([sys.executable, "-c", sys.argv[4], "worker", *sys.argv[2:]])
    time.sleep(600)
if role == "worker":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
log = folder / "log.txt"
with serve(command, health="/", log=log, timeout_s=30, stage="distill-1", grace_s=0.2) as server:
    (folder / "healthy").write_text(str(server.pid))
    time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[list[str]]:
    """The command template of the stubborn server; whatever a failed test left of it is ended."""
    (tmp_path / "server.py").write_text(STUBBORN, encoding="utf-8")
    yield [sys.executable, str(tmp_path / "server.py"), "{host}", "{port}", str(tmp_path / "pids")]
    for pid in family(tmp_path):
        processes.kill([pid])


def told(folder: Path) -> dict:
    return json.loads((folder / "pids").read_text())


def family(folder: Path) -> list[int]:
    """Those of the server, its child and its orphan that live."""
    if not (folder / "pids").is_file():
        return []
    pids = [told(folder)[name] for name in ("server", "child", "orphan")]
    return [
        pid
        for pid in pids
        if str(folder) in _command_line(pid) or "time.sleep(600)" in _command_line(pid)
    ]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()  # empty for a zombie
    except OSError:
        return ""


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def stage(role: str, script: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """A process with a healthy server below it."""
    command = [
        sys.executable,
        "-c",
        STAGE_PROGRAM,
        role,
        json.dumps(script),
        str(folder),
        STAGE_PROGRAM,
    ]
    process = subprocess.Popen(command, start_new_session=True)
    until(lambda: (folder / "healthy").is_file())
    assert len(family(folder)) == 3
    return process


def test_a_server_is_healthy_in_the_block_and_gone_after_it(
    script: list[str], tmp_path: Path
) -> None:
    with serve(
        script,
        health="/",
        log=tmp_path / "log.txt",
        timeout_s=30,
        gpus=[1, 3],
        stage="distill-1",
        grace_s=0.2,
    ) as server:
        assert urllib.request.urlopen(server.url, timeout=5).status == 200
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert len(family(tmp_path)) == 3
        assert (told(tmp_path)["cuda"], told(tmp_path)["stage"]) == ("1,3", "distill-1")
        assert {listener.address for listener in processes.listeners(server.port)} == {"127.0.0.1"}
        marks = processes.environment(told(tmp_path)["orphan"])
        assert {STAGE, OWNER, SERVER} <= marks.keys()
        server.check()
    assert family(tmp_path) == []
    assert not processes.listeners(server.port)


def test_an_exception_in_the_block_ends_it_too(script: list[str], tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        serve(script, health="/", log=tmp_path / "log.txt", timeout_s=30, gpus=[], grace_s=0.2),
    ):
        raise ZeroDivisionError
    assert told(tmp_path)["cuda"] == ""
    assert family(tmp_path) == []


@pytest.mark.parametrize("role", ["stage", "runner"])
def test_it_dies_with_its_stage_and_with_the_stages_runner_by_sigkill(
    role: str, script: list[str], tmp_path: Path
) -> None:
    process = stage(role, script, tmp_path)
    process.kill()
    process.wait()
    until(lambda: not family(tmp_path))
    until(lambda: not _command_line(int((tmp_path / "healthy").read_text())))


def test_what_a_killed_leash_leaves_is_swept_by_its_marks(
    script: list[str], tmp_path: Path
) -> None:
    process = stage("stage", script, tmp_path)
    assert sweep_servers() == []  # its owner lives
    processes.kill(
        [int((tmp_path / "healthy").read_text()), process.pid]
    )  # the leash, and the stage before it can act
    process.wait()
    until(lambda: told(tmp_path)["server"] not in family(tmp_path))  # by its parent-death signal
    left = set(family(tmp_path))
    assert left == {told(tmp_path)["child"], told(tmp_path)["orphan"]}
    assert left <= set(sweep_servers())
    until(lambda: not family(tmp_path))


def test_the_stage_itself_cleans_up_after_a_killed_leash(script: list[str], tmp_path: Path) -> None:
    with serve(script, health="/", log=tmp_path / "log.txt", timeout_s=30, grace_s=0.2) as server:
        processes.kill([server.pid])
        until(lambda: told(tmp_path)["server"] not in family(tmp_path))
        with pytest.raises(ServerFailed, match=r"died \(exit code -9\)"):
            server.check()
    assert family(tmp_path) == []


@pytest.mark.slow
def test_a_server_that_never_gets_healthy_is_told_with_the_end_of_its_log(
    script: list[str], tmp_path: Path
) -> None:
    with (
        pytest.raises(ServerFailed, match=r"not healthy after 4 s .*it answers 503") as failure,
        serve(
            [*script, "ill"], health="/health", log=tmp_path / "log.txt", timeout_s=4, grace_s=0.2
        ),
    ):
        pytest.fail("the block of an ill server was entered")
    assert "the weights are being read" in failure.value.message
    assert "log.txt" in failure.value.hint
    assert family(tmp_path) == []


def test_a_server_that_dies_at_its_start_is_told_with_its_exit_code(
    script: list[str], tmp_path: Path
) -> None:
    with (
        pytest.raises(ServerFailed, match=r"before it was healthy \(exit code 7\)") as failure,
        serve([*script, "die"], health="/", log=tmp_path / "log.txt", timeout_s=30, grace_s=0.2),
    ):
        pytest.fail("the block of a dead server was entered")
    assert "the weights are being read" in failure.value.message
    assert family(tmp_path) == []  # what it had started went with it


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    command = ["no-such-program", "{host}:{port}"]
    with (
        pytest.raises(ServerFailed, match="cannot start no-such-program"),
        serve(command, health="/", log=tmp_path / "l", timeout_s=30),
    ):
        pytest.fail("nothing can have been healthy")


def test_a_server_open_to_other_machines_is_refused(script: list[str], tmp_path: Path) -> None:
    with (
        pytest.raises(
            ServerFailed, match=r"listens on 0\.0\.0\.0:\d+, which other machines can reach"
        ),
        serve([*script, "open"], health="/", log=tmp_path / "log.txt", timeout_s=30, grace_s=0.2),
    ):
        pytest.fail("the block of an open server was entered")
    assert family(tmp_path) == []


def test_a_command_must_take_its_address(tmp_path: Path) -> None:
    with (
        pytest.raises(SpecError, match=r"does not take \{host\}"),
        serve(["x", "{port}"], health="/", log=tmp_path / "l", timeout_s=1),
    ):
        pytest.fail("such a server would listen where it likes")


def test_a_taken_port_is_told_and_its_holder_is_not_mistaken_for_the_server(
    script: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(script, health="/", log=tmp_path / "log.txt", timeout_s=30, grace_s=0.2) as server:
        with (
            pytest.raises(ServerFailed, match=f"port {server.port} on 127.0.0.1 is taken"),
            serve(script, health="/", log=tmp_path / "l", timeout_s=1, port=server.port),
        ):
            pytest.fail("two servers on one port")
        idle = [sys.executable, "-c", "import time; time.sleep(600)", "{host}", "{port}"]
        monkeypatch.setattr("study.models.server.server._unused", lambda host, port: port)
        with (
            pytest.raises(ServerFailed, match="its processes do not listen"),
            serve(idle, health="/", log=tmp_path / "l", timeout_s=1, port=server.port, grace_s=0.2),
        ):
            pytest.fail("another program's answer was taken for the server's")


def test_a_named_port_is_used(script: list[str], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serve(
        script, health="/", log=tmp_path / "log.txt", timeout_s=30, port=port, grace_s=0.2
    ) as server:
        assert server.port == port


def test_a_leash_without_its_owner_starts_nothing(tmp_path: Path) -> None:
    touch = [
        sys.executable,
        "-m",
        "study.models.server.leash",
        "--owner",
        "1",
        "--",
        "touch",
        str(tmp_path / "made"),
    ]
    assert subprocess.run(touch, check=False).returncode == 143
    assert not (tmp_path / "made").exists()


def test_a_leash_ends_with_its_commands_code(tmp_path: Path) -> None:
    def code(program: str) -> int:
        command = [
            sys.executable,
            leash.__file__,
            "--owner",
            str(os.getpid()),
            "--",
            sys.executable,
            "-c",
            program,
        ]
        return subprocess.run(command, check=False).returncode

    assert code("raise SystemExit(3)") == 3
    assert code("import os; os.abort()") == 128 + signal.SIGABRT
