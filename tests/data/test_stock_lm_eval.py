"""The stock `lm_eval` command runs our task pages on a small random model to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.data.hub.eval_tasks import TASKS
from tests.support.foreign_model import save_qwen3

ROWS = {
    "gsm8k.jsonl": [{"question": f"{i} ducks?", "answer": f"So many.\n#### {i}"} for i in range(2)],
    "mine.jsonl": [{"question": f"What is {i} + {i}?", "answer": 2 * i} for i in range(2)],
}
SOURCE = {
    "kind": "benchmark",
    "files": ["mine.jsonl"],
    "prompt": ["question"],
    "answer": ["answer"],
}


TASK_NAMES = ("opd_gsm8k", "lab_math", "lab_shared", "boxed_math")


@pytest.mark.slow
def test_plain_lm_eval_runs_our_pages(tmp_path: Path) -> None:
    """All in one command, which costs ten seconds; the source is for boxed_math, the others have
    their own.
    """
    for name, rows in ROWS.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = save_qwen3(tmp_path / "model", 0)
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu"),
        *("--model_args", f"pretrained={model}", "--include_path", str(TASKS)),
        *("--tasks", ",".join(TASK_NAMES), "--apply_chat_template", "--limit", "2"),
        *("--gen_kwargs", "max_gen_toks=3", "--output_path", str(tmp_path / "out")),
        *("--metadata", json.dumps({"source": SOURCE})),
    ]
    offline = {"STUDY_DATA": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        command, env={**os.environ, **offline}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (page,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(page.read_text())["results"]
    assert set(results) == set(TASK_NAMES)
    for scores in results.values():
        assert 0 <= scores["accuracy,graded"] <= 1
