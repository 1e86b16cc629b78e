"""The pool of symbolic workers and the server that they are forked from: limits, replacement,
threads, forks, and what a worker may not do.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from study.grading.symbolic.pool import SymbolicPool
from study.grading.symbolic.server import fork_server
from tests.support.paths import ROOT

pytest.importorskip("math_verify")


@pytest.mark.slow
def test_a_worker_that_only_waits_is_killed_and_one_that_died_replaced() -> None:
    with SymbolicPool(deadline_s=0.2) as pool:
        assert pool.equal([("x", "x+0")]) == [True]
        (worker,) = pool.worker_pids
        os.kill(worker, signal.SIGSTOP)  # no processor time passes: only the wall clock can tell
        assert pool.equal([("a+b", "b+a")]) == [None]
        assert _ends(worker)
        assert pool.equal([("b+c", "c+b")]) == [True]
        os.kill(pool.worker_pids[0], signal.SIGKILL)  # one that dies by itself is replaced as well
        assert pool.equal([("a+d", "d+a"), ("a+c", "c+a")])[1] is True


@pytest.mark.slow
def test_a_worker_without_memory_gives_no_verdict_or_a_wrong_one_but_does_not_grow() -> None:
    with SymbolicPool(deadline_s=2, memory_bytes=600 * 2**20) as pool:
        assert pool.equal([("10^{9} + 10^{10^{9}}", "7"), ("a+b", "b+a")])[1] is True


@pytest.mark.slow
def test_a_pool_works_in_threads_and_after_pickling() -> None:
    pool = pickle.loads(pickle.dumps(SymbolicPool(workers=1)))
    found: list[list[bool | None]] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(pool.equal([(f"{n}+x", f"x+{n}")])))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert found == [[True]] * 3


def test_workers_end_with_their_owner_however_it_dies() -> None:
    code = """
import time
from study.grading.symbolic.pool import SymbolicPool
from study.grading.symbolic.server import fork_server

pool = SymbolicPool()
pool.equal([("x", "x+0")])
print(pool.worker_pids[0], fork_server().process.pid, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert len(pids) == 2
    assert all(_ends(pid) for pid in pids)


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _alive(pid)


def _alive(pid: int) -> bool:
    """A zombie that nobody has asked for yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_worker_can_write_no_file_and_start_no_process(tmp_path: Path) -> None:
    script = ROOT / "study" / "grading" / "symbolic" / "worker.py"
    code = f"import runpy, os; w = runpy.run_path({str(script)!r}); w['_confine'](4 * 2**30)\n"
    code += "from subprocess import run\n"
    code += (
        "for act in (lambda: os.system('true'), lambda: open('made', 'w'), lambda:"
        " os.remove('kept'), lambda: run(['true'])):\n"
    )
    code += (
        "    try:\n        act()\n        print('done')\n    except PermissionError:\n       "
        " print('refused')\n"
    )
    (tmp_path / "kept").write_text("kept")
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["refused"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_killed_worker_is_replaced_in_a_fraction_of_a_second() -> None:
    with SymbolicPool() as pool:
        pool.equal([("x", "x+0")])
        spent: list[float] = []
        for number in range(4):
            (worker,) = pool.worker_pids
            os.kill(worker, signal.SIGKILL)
            assert _ends(worker)
            before = _used()
            assert pool.equal([(f"{number}+y", f"y+{number}")]) == [True]
            spent.append(_used() - before)
    # processor time: a start from nothing takes over a second of it, however idle the machine is;
    # the first replacement also loads what sympy imports late
    assert min(spent) < 0.5


def _used() -> float:
    """Processor seconds of the processes below this one, and of those that ended under them."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


@pytest.mark.slow
def test_a_server_that_was_killed_is_started_again() -> None:
    with SymbolicPool() as pool:
        assert pool.equal([("x", "x+0")]) == [True]
        server = fork_server().process
        server.kill()
        server.wait()
        time.sleep(1.5)  # the worker looks for its server once a second
        assert pool.equal([("y", "y+0")]) == [True]
        assert fork_server().process.pid != server.pid


def test_pairs_of_one_inquiry_share_its_deadline() -> None:
    towers = [(f"9^{{9^{{9^{{{n}}}}}}}", "7") for n in range(5, 9)]
    with SymbolicPool(deadline_s=0.5) as pool:
        pool.equal([("x", "x+0"), ("y", "y+0")])
        inquiry = pool.submit([("a+b", "b+a"), *towers])
        pool.wait_all([inquiry])
        assert [finding.verdict for finding in inquiry.findings] == [True, *[None] * 4]
        assert sum(finding.seconds for finding in inquiry.findings) <= 0.5
        # with less than the whole deadline no verdict came; a new inquiry may spend all of it
        assert pool.submit([("a+b", "b+a")]).done
        assert not pool.submit(towers[1:2]).done


def test_nobody_waits_for_a_cancelled_inquiry() -> None:
    with SymbolicPool() as pool:
        inquiries = [pool.submit([(f"{n}+z", f"z+{n}")]) for n in range(50)]
        pool.cancel(inquiries[1:])
        pool.wait_all(inquiries[:1])
        assert inquiries[0].verdicts == {("0+z", "z+0"): True}
        assert not any(inquiry.done for inquiry in inquiries[1:])
        assert pool.equal([("1+z", "z+1")]) == [True]


def test_a_forked_process_starts_workers_of_its_own() -> None:
    code = """
import os
from study.grading.symbolic.pool import SymbolicPool
pool = SymbolicPool()
assert pool.equal([("x", "x+0")]) == [True]
before = pool.worker_pids
child = os.fork()
if child == 0:
    right = pool.equal([("y", "y+0")]) == [True] and pool.worker_pids != before
    os._exit(0 if right else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert pool.equal([("z", "z+0")]) == [True] and pool.worker_pids == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_server_may_fork_and_kill_but_write_no_file(tmp_path: Path) -> None:
    script = ROOT / "study" / "grading" / "symbolic" / "worker.py"
    code = f"""
import os, runpy, signal, sys
worker = runpy.run_path({str(script)!r})
worker["_forbid_files"]()
sys.addaudithook(worker["_refuse_in_server"])
child = os.fork()
if child == 0:
    signal.pause()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
for act in (lambda: open("made", "w"), lambda: os.system("true"), lambda: os.remove("kept")):
    try:
        act()
        print("done")
    except PermissionError:
        print("refused")
"""
    (tmp_path / "kept").write_text("kept")
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["refused"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
