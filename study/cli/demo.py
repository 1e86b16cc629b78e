"""`make demo`: show a collapse and its fix in about three minutes. `study verify --demo`: make the
demo's shipped stages again.

Student and teacher are shipped (`results/demo-stages`); the two distillations run here, in the
demo's own results folder, so that they do not count for another grid.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from study.cli import console
from study.cli.analyze import load_evidence, show_curves
from study.cli.carry_out import carry_out, processes, require_writable, walk_through
from study.errors import IncompleteResults, RunFailed, StudyError
from study.record.checkpoints import Checkpoints
from study.record.store import Results, read_record
from study.runner.engines.notices import Stopped
from study.runner.graph.stages import StageNode
from study.runner.verbs.demo import GRID, Remade, compare_stage, copy_stages, shipped_stages
from study.runner.work.execute import Work, execute_stage
from study.spec.grid.grid import load_grid
from study.spec.grid.labelled import LabelledRun

SHIPPED, RESULTS = Path("results/demo-stages"), Path("results/demo")

_BEFORE = """A student learns from its teacher's probabilities on its own answers (on-policy
distillation). Twice, from the same student and teacher, with one difference in the loss:
  biased_k1         the reverse KL on the student's likeliest token alone, differentiated as it is
  stop_gradient_k1  the same token, with the gradient stopped in the weight
"""
_NEXT = """What to type next:
  study explain RUN --results results/demo   the story of a run: settings, curve, completions
  study losses --k 1 --k 5                   why: the gradient of each loss next to the true one
  study plan --grid math --core              the grid behind the claims, and how long it takes
  study init --help                          the same question for your own student and teacher"""


def demo(results: Path = RESULTS, shipped: Path = SHIPPED, work: Work | None = None) -> None:
    """Run the demo from the shipped stages and say in plain words what happened."""
    grid, folder, work = load_grid(GRID), Results(results), work or Work()
    runs = grid.runs()
    started = time.monotonic()
    work.require_packages()
    require_writable(folder)
    nodes = shipped_stages(shipped, runs) if shipped.is_dir() else []
    copy_stages(nodes, shipped, folder)
    console.say(_BEFORE)
    _say_origin(nodes, shipped)
    try:
        walk = walk_through(grid, runs, folder, work)
        carry_out(walk, processes(None), mlflow=False, say_next=False)
    except Stopped as error:
        raise Stopped(error.message, hint="continue: make demo") from error
    show_curves(load_evidence(folder.runs, grid.name, grid.scale.name))
    _say_what_happened(runs, folder)
    console.say(f"took {console.duration(time.monotonic() - started)}", "dim")
    console.say(_NEXT)


def _say_origin(nodes: Sequence[StageNode], shipped: Path) -> None:
    if not nodes:
        console.warn(
            f"no stage of today's recipes is shipped in {shipped}: student and teacher are trained"
            " first, about five more minutes"
        )
        return
    names = " and ".join(node.id for node in nodes)
    console.say(f"{names}: shipped in {shipped}, hashes checked; not trained here", "dim")


def _say_what_happened(runs: Sequence[LabelledRun], results: Results) -> None:
    console.say()
    for run in runs:
        record = read_record(results.record(run.run_id))
        _, curve = record.series(_curve_name(record.history))
        score = next(iter(record.scores.values())).mean
        console.say(
            f"{run.labels['objective']}: right answers {100 * curve[0]:.0f} % before,"
            f" {100 * score:.0f} % after: the student {_word(curve[0], score)}."
        )
    console.say(
        "One seed shows that it can happen, not how often; the claims are about five base students"
        " (results/report.md).",
        "dim",
    )
    console.say()


def _word(before: float, after: float) -> str:
    if after < before / 2:
        return "collapsed"
    return "learned" if after > before else "did not learn"


def _curve_name(history: Mapping[str, object]) -> str:
    return next(name for name in history if name.startswith("eval/avg@"))


def verify_demo(folder: Path, shipped: Path = SHIPPED, work: Work | None = None) -> list[Remade]:
    """Make the shipped stages again below `folder` and compare every file, in about five minutes.

    Errors: IncompleteResults if none is shipped.
    """
    nodes = shipped_stages(shipped, load_grid(GRID).runs()) if shipped.is_dir() else []
    if not nodes:
        raise IncompleteResults(
            f"no stage of today's recipes is shipped in {shipped}",
            hint="run it in a checkout of the repository",
        )
    results, entry = Results(folder), work or Work()
    entry.require_packages()
    found: list[Remade] = []
    for node in nodes:
        console.status(f"making {node.id} again")
        checkpoints = Checkpoints(results.checkpoints(node.id))
        made = execute_stage(node, results, entry, _silent, checkpoints)
        found.append(compare_stage(shipped / node.id, made))
    return found


def _silent(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
    """Print no progress line, because `console.status` names the stage."""


def show_remade(found: Sequence[Remade]) -> None:
    """Print one line per stage. Errors: RunFailed if equal bytes were expected and differ."""
    for one in found:
        if not one.differing:
            console.say(f"{console.styled('bitwise equal', 'good')}  {one.stage}")
            continue
        style = "bad" if not one.passed else "warn"
        why = "; ".join(one.reasons) or "same kind of machine and packages"
        files = ", ".join(one.differing)
        console.say(f"{console.styled('other bytes', style)}  {one.stage}: {files} ({why})")
    if not all(one.passed for one in found):
        raise RunFailed(
            "a shipped stage of the demo is not what today's code makes",
            hint="ship it anew: study verify --demo --keep, then copy it from the kept folder",
        )


def main() -> int:
    """Entry point of `make demo`; return the exit code."""
    try:
        demo()
    except StudyError as error:
        console.warn(f"demo: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        console.warn("demo: interrupted")
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
