"""Define what an evaluation without a grid needs: the tasks, the model folder and the settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study.data.hub.benchmarks import Problems
from study.evaluate.task_page import Page

Backend = Literal["hf", "vllm"]


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk.

    name: the model's name without a path, as reports show it; digest: hash of its weights.
    """

    name: str
    folder: Path
    digest: str


@dataclass(frozen=True)
class Request:
    """Settings of an evaluation.

    chat: whether prompts go through the chat template; thinking: the template's `enable_thinking`.
    """

    backend: Backend = "hf"
    seed: int = 0
    batch_size: int = 16
    chat: bool = True
    thinking: bool = False
    dtype: str = "auto"


@dataclass(frozen=True)
class EvalTask:
    """A task's settings and its problems."""

    page: Page
    data: Problems
