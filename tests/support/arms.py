"""Hand-made arms, files of rows and the command `study compare`, for the tests of comparing."""

import json
from pathlib import Path

from typer.testing import CliRunner

from analysis.compare.arms import Arm, Scores, problems_hash
from study.cli.main import build_app

KNOWN = {
    "task": "t",
    "grader": "math-1",
    "temperature": "1",
    "top_p": "1",
    "max_completion_length": "64",
}


def scores(
    counts: list[int],
    *,
    seed: int | None = 0,
    ids: list[str] | None = None,
    k: int = 4,
    **settings: str,
) -> Scores:
    names = ids or [f"p{i}" for i in range(len(counts))]
    return Scores(
        "x",
        seed,
        tuple(map(float, counts)),
        (k,) * len(counts),
        problems_hash(names),
        tuple(names),
        {**KNOWN, **settings},
    )


def arm(*bases: Scores, key: str = "a", task: str | None = "t") -> Arm:
    return Arm(key, key, task, bases, {"model": key})


def rows(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(*arguments: object) -> str:
    done = CliRunner().invoke(build_app(), ["compare", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return " ".join(done.output.split())
