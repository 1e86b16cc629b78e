"""The copy of the code that a run starts from: what processes import that start later, also after
an edit; what is refused; when it is removed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study.errors import PrerequisiteError
from study.record.owner import owner
from study.record.provenance import code_hash
from study.record.store import Results
from study.runner.verbs.clean import References, waste
from study.runner.work import code_copy as module
from study.runner.work.code_copy import copy_code, environment, imported_first
from tests.support.harness import (
    KS,
    contents,
    descendants,
    finish,
    make_undisturbed,
    start,
    wait_for,
)
from tests.support.paths import ROOT

NOTHING = References(frozenset(), frozenset())


def imported(copy: Path, *arguments: str, folder: Path = ROOT) -> str:
    """Where a process that is started in `folder` imports the package from."""
    program = "import study.runner.work.worker as worker; print(worker.__file__)"
    command = [sys.executable, *(arguments or ("-c", program))]
    env = os.environ | environment(copy)
    ended = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return ended.stdout.strip()


def test_a_process_imports_the_copy_also_where_the_checkout_is_the_working_folder(
    tmp_path: Path,
) -> None:
    copy = copy_code(Results(tmp_path))
    assert copy == tmp_path / "code" / code_hash()
    assert imported(copy).startswith(str(copy))
    listed = imported(copy, "-m", "study.record.owner")
    assert listed == ""


def test_the_copy_is_made_once(tmp_path: Path) -> None:
    copy = copy_code(Results(tmp_path))
    inode = (copy / "study" / "errors.py").stat().st_ino
    assert copy_code(Results(tmp_path)) == copy
    assert (copy / "study" / "errors.py").stat().st_ino == inode
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.parametrize("what", ["changed", "missing", "added", "beside", "link"])
def test_a_copy_that_is_not_the_code_is_made_anew(tmp_path: Path, what: str) -> None:
    """Also one that came with somebody's results folder: what lies first on the path is run."""
    copy = copy_code(Results(tmp_path))
    errors = copy / "study" / "errors.py"
    match what:
        case "changed":
            errors.write_text("raise SystemExit(9)")
        case "missing":
            errors.unlink()
        case "added":
            (copy / "study" / "torch.py").write_text("raise SystemExit(9)")
        case "beside":
            (copy / "numpy.py").write_text("raise SystemExit(9)")
        case _:
            errors.rename(tmp_path / "errors.py")
            errors.symlink_to(tmp_path / "errors.py")
    copy_code(Results(tmp_path))
    assert imported(copy).startswith(str(copy))
    assert not errors.is_symlink()
    assert sorted(path.name for path in copy.iterdir()) == ["study"]
    assert not (copy / "study" / "torch.py").exists()


def test_foreign_bytecode_is_not_run(tmp_path: Path) -> None:
    copy = copy_code(Results(tmp_path))
    cache = copy / "study" / "__pycache__"
    cache.mkdir(exist_ok=True)
    foreign = cache / f"errors.{sys.implementation.cache_tag}.pyc"
    foreign.write_bytes(b"made elsewhere")
    copy_code(Results(tmp_path))
    assert not foreign.exists()


def test_code_that_changed_since_the_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "checkout" / "study"
    shutil.copytree(module._PACKAGE, package)
    monkeypatch.setattr(module, "_PACKAGE", package)
    copy_code(Results(tmp_path / "before"))
    (package / "errors.py").write_text((package / "errors.py").read_text() + "# edited\n")
    with pytest.raises(PrerequisiteError, match="was changed while this command was starting"):
        copy_code(Results(tmp_path / "after"))
    assert not list((tmp_path / "after" / "code").iterdir())


def test_no_room_for_the_copy_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device")])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(PrerequisiteError, match="No space left on device"):
        copy_code(Results(tmp_path))


def test_the_environment_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", "/one")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with imported_first(tmp_path):
        assert os.environ["PYTHONPATH"].split(os.pathsep)[:2] == [str(tmp_path), "/one"]
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ["PYTHONPATH"] == "/one"
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.slow
def test_an_edit_during_a_run_does_not_reach_its_workers(tmp_path: Path) -> None:
    """The checkout is edited while a stage runs, and the worker server is killed: the workers that
    start later still have the code that the run started from.
    """
    checkout, results = tmp_path / "checkout", tmp_path / "results"
    for name in ("study", "tests"):
        shutil.copytree(ROOT / name, checkout / name)
    process = start(results, jobs=1, PYTHONPATH=str(checkout), STUDY_TEST_STEP_S="0.3")
    log = tmp_path / "built.log"
    wait_for(lambda: log.exists() and "pretrain" in log.read_text())
    for edited in ("execute.py", "worker.py"):
        path = checkout / "study" / "runner" / "work" / edited
        path.write_text("raise RuntimeError('two states of the code')\n")
    for server in (pid for pid in descendants(process.pid) if is_worker_server(pid)):
        os.kill(server, signal.SIGKILL)
    code, output = finish(process)
    assert code == 0, output
    wanted = make_undisturbed(Results(tmp_path / "undisturbed"))
    assert contents(results) == wanted
    manifests = [json.loads(path.read_bytes()) for path in results.glob("artifacts/*/stage.json")]
    assert {manifest["code"] for manifest in manifests} == {code_hash()}
    assert len(manifests) == len(KS) + 3


def is_worker_server(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"multiprocessing.forkserver" in command


# Removed by `study clean`


def test_a_copy_goes_when_no_run_needs_it(tmp_path: Path) -> None:
    results = Results(tmp_path)
    copy = copy_code(results)
    assert [(item.path, item.what, item.sure) for item in waste(results, NOTHING)] == [
        (copy, "code", True)
    ]


def test_a_copy_stays_while_a_session_lives_or_a_job_may_wait(tmp_path: Path) -> None:
    results = Results(tmp_path)
    copy = copy_code(results)
    note = results.root / "jobs" / "distill-00000000.json"
    note.parent.mkdir()
    note.write_text(json.dumps({"job": "7", "code": copy.name}))
    assert not waste(results, NOTHING)
    outcome = note.parent / "distill-00000000" / "outcome.json"
    outcome.parent.mkdir()
    outcome.write_text(json.dumps({"job": "7", "event": "Finished"}))
    assert [item.path for item in waste(results, NOTHING)] == [copy]
    session = {"grid": "g", "scale": "lab", "started": 0.0, "runs": [], "stages": []}
    (results.root / "present").mkdir()
    (results.root / "present" / "me.json").write_text(json.dumps(session | {"owner": owner()}))
    assert not waste(results, NOTHING)
