"""These tests need the Slurm that tests/slurm/run.sh starts: without STUDY_SLURM=1 they are not
collected.
"""

import os

collect_ignore_glob = [] if os.environ.get("STUDY_SLURM") == "1" else ["test_*.py"]
