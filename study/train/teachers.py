"""Provide the scores of a distillation's teacher: its weights in this process, or a vLLM server
that the stage starts and ends.

    # a model, or a `ServerTeacher`: inputs of a micro-batch -> Returned
    with teacher_of(recipe, folder) as teacher: ...

The server is that of `study.models.server.server` (loopback, leash, health check) with the command
of the profile; it gets no privileged text beyond the token ids that it is sent. With several
processes the first one starts it and sends its address to the others, on one machine. Axes: B
responses, T completion tokens, N the valid ones of them.

Errors: `ServerFailed` where it does not start or dies, `ScoringFailed` where it refuses,
`PrerequisiteError` on more than one machine.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from study.errors import PrerequisiteError, SpecError
from study.models.loading import load_model
from study.models.server.client import SERVED, ScoringFailed, scores
from study.models.server.scores import Returned
from study.models.server.server import Server, ServerFailed, serve
from study.spec.machine.serving import TeacherServer
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.teacher import ServerScoring

# Started as a module: `vllm serve` needs metadata that some builds lack.
VLLM = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
FLAGS = ("--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1")


class ServerTeacher:
    """Score the rows of a micro-batch with a server. check: raises the better message when the
    server is dead.
    """

    def __init__(
        self, url: str, scoring: ServerScoring, rows: int, check: Callable[[], None] = lambda: None
    ) -> None:
        self.url, self.scoring, self.rows, self.check = url, scoring, rows, check

    def __call__(self, inputs: Mapping[str, Any]) -> Returned:
        """Return one position for every valid place of `completion_mask`, in its order; the
        teacher's prompt precedes each completion.
        """
        prompts, completions = (
            _rows(inputs[f"{part}_ids"], inputs[f"{part}_mask"])
            for part in ("teacher_prompt", "completion")
        )
        written = [
            prompt + completion for prompt, completion in zip(prompts, completions, strict=True)
        ]
        try:
            found = scores(
                self.url,
                written,
                [len(prompt) for prompt in prompts],
                self.scoring.top_k,
                self.rows,
            )
        except ScoringFailed:
            self.check()
            raise
        device = inputs["completion_ids"].device
        return Returned(
            found.ids_NK.to(device),
            found.logprobs_NK.to(device),
            found.written_N.to(device),
            found.rows,
        )


@contextlib.contextmanager
def teacher_of(recipe: DistilledModel, folder: Path) -> Iterator[PreTrainedModel | ServerTeacher]:
    """Yield the teacher of a stage for as long as the block lasts.

    Call it after the trainer's arguments are made: they join the processes.
    """
    training = recipe.training
    if isinstance(training.scoring, str):
        yield load_model(folder, dtype=getattr(torch, training.teacher_dtype))
        return
    rows = int(AutoConfig.from_pretrained(str(folder), trust_remote_code=False).vocab_size)
    with _started(folder, training.teacher_dtype) as (url, check):
        yield ServerTeacher(url, training.scoring, rows, check)


@contextlib.contextmanager
def _started(folder: Path, dtype: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (address, check) in every process; the first one has the server."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes != int(os.environ.get("LOCAL_WORLD_SIZE", str(processes))):
        hint = (
            "let `launch` in the profile start the processes of one machine,"
            " or use `scoring: local`"
        )
        raise PrerequisiteError(
            "a teacher server answers only the processes of its own machine,"
            " and these run on several",
            hint=hint,
        )
    if int(os.environ.get("RANK", "0")):
        yield _broadcast_url(None), lambda: None
        return
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_serving(folder, dtype))
        except BaseException:
            _broadcast_url("")
            raise
        yield _broadcast_url(server.url), server.check


def _broadcast_url(url: str | None) -> str:
    """Return the first process's address in all of them."""
    found = broadcast_object_list([url])[0]
    if not found and url is None:
        raise ServerFailed(
            "the first process could not start the teacher's server",
            hint="its message is in the stage's log.txt",
        )
    return str(found)


@contextlib.contextmanager
def _serving(folder: Path, dtype: str) -> Iterator[Server]:
    """Run the server; at its end copy its output to this process's own output, the stage's log."""
    settings = TeacherServer.model_validate_json(os.environ.get("STUDY_TEACHER_SERVER") or "{}")
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "teacher-server.log"
        try:
            with serve(
                command(folder, dtype, settings), health="/health", log=log,
                timeout_s=settings.timeout_s, gpus=_gpus(settings.gpus),
                stage="distill",
            ) as server:  # fmt: skip
                yield server
        finally:
            if log.is_file():
                sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
                sys.stderr.flush()


def command(folder: Path, dtype: str, settings: TeacherServer) -> list[str]:
    """Return the server's command line; {host} and {port} are filled in where it is started."""
    where = ["--host", "{host}", "--port", "{port}"]
    model = ["--model", str(folder), "--served-model-name", SERVED, "--dtype", dtype]
    return [*(settings.command or VLLM), *model, *where, *FLAGS, *settings.options]


def _gpus(wanted: list[int] | None) -> list[str] | None:
    """Return the names in CUDA_VISIBLE_DEVICES of GPUs given by their places among those that this
    stage sees.
    """
    if wanted is None:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    if any(not 0 <= place < len(names) for place in wanted):
        hint = (
            "give the stage more GPUs in the profile (resources), or name others in"
            " teacher_server.gpus"
        )
        raise SpecError(
            f"teacher_server.gpus names {wanted}, and the stage sees {len(names)} GPUs", hint=hint
        )
    return [names[place] for place in wanted]


def _rows(ids_BT: Tensor, mask_BT: Tensor) -> list[list[int]]:
    return [
        [token for token, valid in zip(*row, strict=True) if valid]
        for row in zip(ids_BT.tolist(), mask_BT.tolist(), strict=True)
    ]
