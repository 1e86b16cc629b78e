"""These tests need the second environment that `make vllm-test` makes: without STUDY_VLLM=1 they
are not collected.
"""

import os

collect_ignore_glob = [] if os.environ.get("STUDY_VLLM") == "1" else ["test_*.py"]
