"""A whole `study run` on torch-free stages, as a program that tests start, kill and start again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from study.record.schema import content
from study.record.store import Results, read_records
from study.runner.graph.stages import RunPlan, stage_graph
from study.runner.work.execute import execute_run, execute_stage
from study.spec.identity import cell_id
from tests.support.fake_work import WORK, cell
from tests.support.paths import ROOT

# Before 3.12.8 Python does not preload the main module: every worker would execute its imports
# again, 0.1 s per task. So they are below the guard.
PROGRAM = """
if __name__ == "__main__":
    import os
    import sys
    from pathlib import Path
    from study.cli.carry_out import carry_out
    from study.errors import StudyError
    from study.record.store import Results
    from study.runner.graph.walk import Walk
    from study.spec.grid.labelled import LabelledRun
    from study.spec.identity import cell_id, repeated, run_name
    from study.spec.machine.profile import Profile
    from tests.support.fake_work import WORK, cell

    profile = Profile.model_validate_json(os.environ.get("STUDY_TEST_PROFILE", "{}"))
    ks = [int(k) for k in sys.argv[3].split(",")]
    cells = [(k, cell(k), cell_id(cell(k))) for k in ks]
    repeats = range(int(os.environ.get("STUDY_TEST_REPEATS", "1")))
    runs = [
        LabelledRun(run_name(i, 0, r), repeated(c, r), {"objective": f"k{k}"}, 0, i)
        for k, c, i in cells
        for r in repeats
    ]
    results = Results(Path(sys.argv[1]))
    workers = int(sys.argv[2])
    try:
        walk = Walk("fake", "lab", tuple(runs), results, WORK, profile)
        carry_out(walk, workers, mlflow=False)
    except StudyError as error:
        print(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
"""
KS = (1, 2, 3)


def start(
    results: Path,
    *,
    ks: tuple[int, ...] = KS,
    jobs: int = 2,
    fault: str = "",
    profile: Mapping[str, object] | None = None,
    place: Path | None = None,
    **environment: str,
) -> subprocess.Popen[str]:
    """Start the program on `results`, in its own process group. place: the folder of the program,
    its log and its marker.
    """
    place = place or results.parent
    marks = {"STUDY_TEST_LOG": str(place / "built.log"), "STUDY_TEST_MARKER": str(place / "over")}
    marks |= {
        "STUDY_TEST_PROFILE": json.dumps(profile or {}),
        "STUDY_TEST_FAULT": fault,
        "PYTHONPATH": str(ROOT),
    }
    program = place / "program.py"
    if not program.exists():  # a second process may be reading it
        program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(results), str(jobs), ",".join(map(str, ks))]
    env = os.environ | marks | environment
    return subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def built(results: Path) -> list[str]:
    return (results.parent / "built.log").read_text().split()


def contents(results: Path) -> dict[str, bytes]:
    return {record.run: content(record) for record in read_records(results / "runs")}


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def make_undisturbed(results: Results, ks: Sequence[int] = KS) -> dict[str, bytes]:
    """Return the records of the runs, made in this process, one after the other."""
    for k in ks:
        plan = plan_of(k)
        for node in stage_graph(plan.cell.model, 0):
            execute_stage(node, results, WORK, silent)
        execute_run(plan, results, WORK, silent)
    return contents(results.root)


def silent(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
    assert 0 <= done <= total
    assert phase
    assert isinstance(latest, dict)


def plan_of(k: int) -> RunPlan:
    return RunPlan(f"{cell_id(cell(k))}-s0", cell_id(cell(k)), cell(k), 0)


def workers(results: Path) -> list[int]:
    """Return the processes of this machine that have a file below `results` open (a worker's
    log).
    """
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(results) in str(handle.readlink()) for handle in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:
            continue  # it ended, or this user may not read it
    return found


def descendants(parent: int) -> set[int]:
    """Return a process and everything below it; the fork server's workers are its grandchildren."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int(
                (process / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except OSError:
            continue  # it ended meanwhile
    found = {parent}
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return found
