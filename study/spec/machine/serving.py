"""Where vLLM runs, as parts of a profile: the server of a distillation's teacher scores, and the
engine that samples rollouts.

Never part of identity: the recipe says which teacher tokens a stage needs
(`study/spec/recipe/teacher.py`); it does not matter which machine returns them.
"""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec


class TeacherServer(Spec):
    """The server of a `distill` stage with `scoring: {kind: server}`; it runs as long as the stage.

    command: starts a vLLM OpenAI server, up to its options; empty: `python -m
    vllm.entrypoints.openai.api_server` of this environment. options: more options of it
    (`--tensor-parallel-size 2`). gpus: which of the stage's GPUs it sees, counted from 0; none: all
    of them. timeout_s: seconds until it must be healthy.
    """

    command: list[str] = Field(default=[])
    options: list[str] = Field(default=[])
    gpus: list[int] | None = None
    timeout_s: float = Field(default=900.0, gt=0)


class Rollouts(Spec):
    """vLLM through TRL's trainer instead of transformers' `generate`: other samples of the same
    distribution.

    mode: colocate = in the trainer's process, on the same GPU; server = a running server at `url`.
    sleep: free its memory while weights are updated (colocate). gpu_memory_utilization: share of a
    GPU's memory (colocate). tensor_parallel_size: processes that hold one copy together (colocate).
    max_model_length: positions; none: those of the model.
    """

    mode: Literal["colocate", "server"] = "colocate"
    url: str | None = None
    sleep: bool = False
    gpu_memory_utilization: float = Field(default=0.3, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    max_model_length: int | None = Field(default=None, ge=1)
