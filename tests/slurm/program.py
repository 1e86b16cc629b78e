"""`study run` on the slow stages: RESULTS PROFILE_JSON K,K,...

A program of its own, so that tests can kill it.
"""

import sys
from pathlib import Path

from study.cli.carry_out import carry_out
from study.errors import StudyError
from study.record.store import Results
from study.runner.graph.walk import Walk
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id
from study.spec.machine.profile import Profile
from tests.slurm.slow_work import WORK
from tests.support.fake_work import cell

if __name__ == "__main__":
    root, profile, ks = (
        Path(sys.argv[1]),
        Profile.model_validate_json(sys.argv[2]),
        [int(k) for k in sys.argv[3].split(",")],
    )
    runs = [
        LabelledRun(f"{cell_id(cell(k))}-s0", cell(k), {"objective": f"k{k}"}, 0, cell_id(cell(k)))
        for k in ks
    ]
    try:
        results = Results.from_afar(root, profile)
        walk = Walk("slow", "lab", tuple(runs), results, WORK, profile)
        carry_out(walk, 2, mlflow=False)
    except StudyError as error:
        print(error)
        sys.exit(error.exit_code)
