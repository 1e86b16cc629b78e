"""The preflight that `study run` requires, once per content of the cells and state of the code."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from study.cli import console
from study.errors import PrerequisiteError
from study.record.provenance import code_hash
from study.record.store import Results
from study.spec.grid.grid import Grid, named


def require_contracts(grid: Grid, reference: str, results: Results) -> None:
    """Run the preflight in a separate process, because it imports the training stack.

    Its checks are kept in <results>/preflight/; what held before, with these cells and this code,
    is not checked again. Errors: PrerequisiteError that names the broken contracts.
    """
    path = results.root / "preflight" / f"{grid.name}-{_key(grid)}.json"
    if not _held(path):
        console.status("preflight: checking the contracts of the grid")
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [
            "preflight",
            "--grid",
            reference,
            "--scale",
            grid.scale.name,
            "--results",
            str(results.root),
            "--json",
            str(path),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "study.cli.main", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if not path.is_file():
            what = f"the preflight of {grid.name} could not run: {done.stderr.strip()}"
            raise PrerequisiteError(what, hint="study run --no-preflight skips it")
    broken = [check for check in _checks(path) if not check["passed"]]
    if broken:
        lines = [f"{check['name']} ({check['subject']}): {check['message']}" for check in broken]
        hint = (
            f"study preflight {named(reference, grid.scale.name)} shows all of them; study run"
            " --no-preflight runs it anyway"
        )
        raise PrerequisiteError(
            f"{len(broken)} contracts of {grid.name} do not hold\n  " + "\n  ".join(lines),
            hint=hint,
        )


def _held(path: Path) -> bool:
    return all(check["passed"] for check in _checks(path)) if path.is_file() else False


def _checks(path: Path) -> list[dict[str, Any]]:
    """Read the checks of a preflight; a file cut off while it was written counts as broken and is
    made again next time.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return [
            {
                "passed": False,
                "name": "preflight",
                "subject": str(path),
                "message": "its result is unreadable; type the command again",
            }
        ]


def _key(grid: Grid) -> str:
    text = "\n".join([code_hash(), *(cell.cell_id for cell in grid.cells)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
