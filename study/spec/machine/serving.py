"""Where vLLM runs, as parts of a profile: the server that scores for a distillation's teacher, and
the engine that samples rollouts.

Never identity: which teacher tokens a stage needs is the recipe's (`study/spec/recipe/teacher.py`),
which machine returns them is not.
"""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec


class TeacherServer(Spec):
    """The server of a `distill` stage with `scoring: {kind: server}`; it lives as long as the
    stage.

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
    """vLLM through TRL's trainer, in place of transformers' `generate`: other draws of the same
    distribution.

    mode: colocate = in the trainer's process, sharing its GPU; server = one that already runs at
    `url`. sleep: free its memory while weights are updated (colocate). gpu_memory_utilization:
    share of a GPU's memory (colocate). tensor_parallel_size: processes that hold one copy together
    (colocate). max_model_length: positions; none: those of the model.
    """

    mode: Literal["colocate", "server"] = "colocate"
    url: str | None = None
    sleep: bool = False
    gpu_memory_utilization: float = Field(default=0.3, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    max_model_length: int | None = Field(default=None, ge=1)
