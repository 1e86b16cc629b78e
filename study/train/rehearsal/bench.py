"""Run the real stages of a grid, a few steps each, on small random models of the true vocabulary.

As in the study: the stage's code, its objective, its privileged information, its optimiser and the
width of the head. Replaced: the weights (random), the number of layers, the length of completions,
the number of prompts, a server that scores for a teacher (its weights are in the process instead),
and the problems if the data is missing on this machine.
"""

import json
import re
import resource
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from study.data.load import load
from study.evaluate.probes import measure as measure_probe
from study.evaluate.run import evaluate
from study.models.lab import build_model, build_tokenizer
from study.models.loading import save
from study.record.checkpoints import Checkpoints
from study.spec.base import Spec
from study.spec.grid.cell import Cell
from study.spec.identity import canonical, parents
from study.spec.recipe.corpus import WorldCorpus
from study.spec.recipe.data import ArithmeticData, Data, LabData
from study.spec.recipe.model import Architecture, BpeTokenizer, LocalModel, Model
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.teacher import FrozenTeacher, PeriodicTeacher
from study.spec.recipe.training import Sampling
from study.train.build import build

PROMPTS, TOKENS, PROBLEMS = 4, 16, 2
SMALL = {"train_size": 64, "selection_size": 8, "held_out_size": 8}
WORLD = ArithmeticData.model_validate(SMALL)
# one in so many ids ends a turn of the stand-in teacher: random weights would never write the one
# real end token of 151,936
ENDING = 8


@dataclass(frozen=True)
class Measured:
    """Measured cost. seconds: of the whole stage after its models were made; peak_mb: of this
    process so far.
    """

    kind: str
    what: str
    parameters: int
    steps: int
    seconds: float
    tokens: int
    peak_mb: float


def moves_with_student(recipe: Model) -> bool:
    """Whether the teacher is the student itself and moves with it."""
    update = getattr(getattr(recipe, "training", None), "teacher_update", None)
    return update is not None and not isinstance(update, FrozenTeacher)


@dataclass
class Bench:
    """A folder with two random models of one tokenizer, and the stages that run on them."""

    folder: Path
    steps: int
    vocabulary: int
    hidden: int

    def __post_init__(self) -> None:
        tokenizer = stand_in_tokenizer()
        architecture = Architecture(
            hidden_size=self.hidden, intermediate_size=3 * self.hidden, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2,
            head_dim=max(8, self.hidden // 4), max_position_embeddings=4096,
        )  # fmt: skip
        for seed, name in enumerate(("first", "second")):
            model = build_model(architecture, self.vocabulary, seed)
            self.parameters = sum(p.numel() for p in model.parameters())
            # The second model is the teacher: its completions are documents only if they end.
            if name == "second" and model.generation_config:
                model.generation_config.eos_token_id = list(range(0, self.vocabulary, ENDING))
            save(model, tokenizer, self.folder / name)

    def stage(self, recipe: Model) -> Measured:
        made, out = self._small(recipe), self.folder / f"out-{len(list(self.folder.iterdir()))}"
        out.mkdir()
        told = _Told()
        own = ("student", "base", "teacher") if moves_with_student(recipe) else ("student", "base")
        inputs = {
            role: self.folder / ("first" if role in own else "second") for role in parents(recipe)
        }
        started = time.perf_counter()
        build(made, 0, inputs, out, told, Checkpoints(out.with_name(out.name + "-checkpoints")))
        words = [
            str(getattr(getattr(recipe, part, None), name, "") or "")
            for part, name in (("objective", "support"), ("corpus", "kind"))
        ]
        what = " ".join(
            [*filter(None, words), *(["with PI"] if getattr(recipe, "privileged", None) else [])]
        )
        return self._measured(recipe.kind, what, time.perf_counter() - started, _tokens(out))

    def evaluation(self, cell: Cell) -> Measured:
        changes = {
            "data": WORLD,
            "task": "lab_math",
            "k": 2,
            "problems": PROBLEMS,
            "grader": "boxed-1",
            "privileged": None,
            "prefix": None,
        }
        spec = cell.evaluation.model_copy(
            update={**changes, "sampling": _short(cell.evaluation.sampling)}
        )
        out = self.folder / "evaluation"
        out.mkdir()
        started = time.perf_counter()
        evaluate(spec, self.folder / "first", 0, out, _Told(), {})
        return self._measured(
            "evaluate", "lm-eval", time.perf_counter() - started, PROBLEMS * 3 * TOKENS
        )

    def probe(self, probe: Any, cell: Cell) -> Measured:
        small = probe.model_copy(
            update={
                "data": _stand_in(probe.data),
                "problems": PROBLEMS,
                "sampling": _short(probe.sampling),
            }
        )
        started = time.perf_counter()
        measure_probe(
            small,
            self.folder / "first",
            0,
            _Told(),
            {canonical(small.teacher): self.folder / "second"},
        )
        return self._measured(probe.kind, "probe", time.perf_counter() - started, PROBLEMS * TOKENS)

    def _measured(self, kind: str, what: str, seconds: float, tokens: int) -> Measured:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        return Measured(kind, what, self.parameters, self.steps, seconds, tokens, peak)

    def _small(self, recipe: Model) -> Model:
        """Return the same recipe on the random models: few steps, few prompts, short completions,
        problems of the lab's world.
        """
        here = LocalModel(path=str(self.folder / "first"), digest="0" * 16)
        changes: dict[str, Any] = dict.fromkeys(parents(recipe), here)
        # `distinct` returns stages only, and each of them has a training.
        training: Any = recipe.training  # pyright: ignore[reportAttributeAccessIssue]
        corpus: Any = getattr(recipe, "corpus", None)
        if isinstance(getattr(corpus, "sampling", None), Sampling):
            changes["corpus"] = corpus.model_copy(
                update={"sampling": _short(corpus.sampling), "correct_only": False}
            )
        # A world's documents are written from its own problems.
        if not isinstance(corpus, WorldCorpus):
            changes["data"] = _stand_in(recipe.data)  # pyright: ignore[reportAttributeAccessIssue]
        if privileged := getattr(recipe, "privileged", None):
            changes["privileged"] = _answered(privileged, changes["data"])
        return recipe.model_copy(update={**changes, "training": self._few(training)})

    def _few(self, training: Any) -> Spec:
        """Reduce the counts that the stage's settings have."""
        changes: dict[str, Any] = {"steps": self.steps}
        for name, value in (
            ("prompts_per_step", PROMPTS),
            ("documents_per_step", PROMPTS),
            ("max_length", 128),
        ):
            if hasattr(training, name):
                changes[name] = min(value, getattr(training, name))
        if getattr(training, "rollouts_per_prompt", 1) > 1:
            changes["rollouts_per_prompt"] = 2
        if isinstance(getattr(training, "teacher_update", None), PeriodicTeacher):
            changes["teacher_update"] = PeriodicTeacher(every=1)
        if hasattr(training, "scoring"):
            changes["scoring"] = "local"
        if hasattr(training, "sampling"):
            changes["sampling"] = _short(training.sampling)
            changes["curve"] = training.curve.model_copy(
                update={"every": max(1, self.steps), "problems": PROBLEMS, "k": 1}
            )
        return training.model_copy(update=changes)


def _stand_in(data: Data) -> LabData:
    """Return a few problems of the same world; of arithmetic where the data is not a world, since
    it may be missing on this machine.
    """
    return data.model_copy(update=SMALL) if isinstance(data, LabData) else WORLD


def _answered(privileged: PrivilegedInformation, data: LabData) -> PrivilegedInformation:
    """Return the same with `solution` in the place of columns that the stand-in's problems lack."""
    known = {"id", "prompt", "answer", "solution", *load(data, "train")[0].columns}
    template = re.sub(
        r"\{(\w+)\}",
        lambda field: field[0] if field[1] in known else "{solution}",
        privileged.template,
    )
    return privileged.model_copy(update={"template": template})


class _Told:
    """A progress report that is never read."""

    def __call__(self, _phase: str, _done: int, _total: int, _latest: dict[str, float]) -> None: ...


def _short(sampling: Sampling) -> Sampling:
    return sampling.model_copy(
        update={"max_completion_length": min(TOKENS, sampling.max_completion_length)}
    )


def _tokens(out: Path) -> int:
    file = out / "cost.json"
    return int(json.loads(file.read_bytes())["tokens_sampled"]) if file.is_file() else 0


def stand_in_tokenizer() -> PreTrainedTokenizerBase:
    """Make a small byte-level tokenizer with the chat template that TRL ships for Qwen3: a hub
    tokenizer is not available everywhere.
    """
    tokenizer = build_tokenizer(
        BpeTokenizer(vocab_size=300), ["What is 1 + 1? Put your answer in the box."] * 4
    )
    tokenizer.chat_template = (
        files("trl").joinpath("chat_templates", "qwen3.jinja").read_text(encoding="utf-8")
    )
    return tokenizer
