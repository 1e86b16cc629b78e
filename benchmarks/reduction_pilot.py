"""Pilot: what each reduction does to stopping, with end tokens that agree and that do not.

    python benchmarks/reduction_pilot.py [--steps 20] [--seeds 900 901] [--out FOLDER]

Arms: {full reverse KL, sampled token} x {response_mean, token_mean, constant} x {aligned,
mismatched}, and the constant advantage, in which no teacher is, under response_mean and constant.
One base: the student and the teacher of the demo (`results/demo-stages`), of which the student is
first trained for 200 steps on documents that run on after their answer in 40 % of the cases, so
that it is undecided where to stop. aligned: the teacher as it is. mismatched: the teacher with the
embedding rows of its end token and of an unused token exchanged, so that it ends with another token
than the student. A completion may have 96 tokens; the teacher's have about 22. `constant` divides
by 48 tokens.

One CPU thread; an arm takes about half a minute on a free core. A finished arm is kept in --out and
not run again. Prints a Markdown table: accuracy and truncated fraction of 256 samples (128 held-out
problems, two each) before and after, by training seed. A pilot on one base: no verdict rests on it.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from study.models.lab import END, SYSTEM
from study.models.loading import load_model, load_tokenizer, save
from study.record.checkpoints import Checkpoints
from study.spec.grid.scale import load_scale
from study.spec.recipe.model import DistilledModel, LocalModel, PretrainedLab, SftModel
from study.spec.recipe.objective import Objective
from study.spec.yaml.load import Located
from study.train.build import build

STUDENT, TEACHER = "pretrain-547a46b8", "grpo-28570710"
SHIPPED = Path("results/demo-stages")
UNUSED = SYSTEM  # prompts without a system token never contain it
RUN_ON, SFT_STEPS, LIMIT, DIVISOR = 0.4, 200, 96, 48
HERE = LocalModel(path="unused", digest="unused")
REDUCTIONS: dict[str, dict[str, Any]] = {
    "response_mean": {},
    "token_mean": {"reduction": "token_mean"},
    "constant": {"reduction": "constant", "constant_tokens": DIVISOR},
}
SAMPLED = {"support": "sampled", "gradient": "score_function"}
SCORE, TRUNCATED = "eval/avg@2", "eval/truncated_fraction"


def arms() -> dict[tuple[str, str, str], Objective]:
    """Return (teacher, loss, reduction) -> objective."""
    forms = {"full": {}, "sampled": SAMPLED}
    found = {
        (teacher, form, reduction): Objective.model_validate(fields | divisor)
        for teacher in ("mismatched", "aligned")
        for form, fields in forms.items()
        for reduction, divisor in REDUCTIONS.items()
    }
    for reduction in ("response_mean", "constant"):
        fields = SAMPLED | {"advantage": 1.0} | REDUCTIONS[reduction]
        found["no teacher", "advantage 1", reduction] = Objective.model_validate(fields)
    return found


def undecided(out: Path) -> Path:
    """Train the shipped student on documents of which a share runs on after the answer."""
    scale = load_scale("lab")
    student = scale.model(Located("student", "pilot"), "student").spec
    assert isinstance(student, PretrainedLab)
    sft = scale.model(Located("warm_r", "pilot"), "student").spec
    assert isinstance(sft, SftModel)
    # Documents are batched by length, long ones first in every 50 steps: at a constant learning
    # rate the short ones of the last steps, which all end, would decide where the student stops.
    optimisation = sft.training.optimisation.model_copy(update={"lr_scheduler_type": "cosine"})
    recipe = SftModel(
        base=HERE,
        data=student.data,
        corpus=student.corpus.model_copy(update={"share_run_on": RUN_ON}),
        training=sft.training.model_copy(update={"steps": SFT_STEPS, "optimisation": optimisation}),
    )
    return stage(recipe, 900, {"base": SHIPPED / STUDENT}, out / "student")


def exchanged(out: Path) -> Path:
    """Write the teacher with the embedding rows of END and UNUSED exchanged."""
    folder = out / "teacher-mismatched"
    if not folder.is_dir():
        model, tokenizer = load_model(SHIPPED / TEACHER), load_tokenizer(SHIPPED / TEACHER)
        rows: Any = tokenizer.convert_tokens_to_ids([END, UNUSED])
        # the same matrix twice where the embeddings are tied
        layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
        matrices = {layer.weight.data_ptr(): layer.weight for layer in layers}
        with torch.no_grad():
            for weight in matrices.values():
                weight[rows] = weight[rows[::-1]].clone()
        save(model, tokenizer, folder)
    return folder


def stage(recipe: Any, seed: int, inputs: dict[str, Path], folder: Path) -> Path:
    """Build a stage once; a folder without history.json is an interrupted one and is made again."""
    if (folder / "history.json").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checkpoints = Checkpoints(folder.with_name(f"{folder.name}-checkpoints"))
    build(recipe, seed, inputs, folder, lambda *_: None, checkpoints)
    return folder


def distilled(objective: Objective, steps: int) -> DistilledModel:
    scale = load_scale("lab")
    training = scale.training(Located("standard", "pilot"), None).spec
    sampling = training.sampling.model_copy(update={"max_completion_length": LIMIT})
    curve = training.curve.model_copy(update={"every": min(steps, training.curve.every)})
    training = training.model_copy(update={"steps": steps, "sampling": sampling, "curve": curve})
    data = scale.data(Located("math", "pilot"), "data").spec
    return DistilledModel(
        student=HERE, teacher=HERE, data=data, objective=objective, training=training
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[900, 901])
    parser.add_argument("--out", type=Path, default=Path("results/demo/reduction-pilot"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    teachers = {"aligned": SHIPPED / TEACHER, "mismatched": exchanged(options.out)}
    start = undecided(options.out)
    print(f"steps {options.steps}, training seeds {options.seeds}, limit {LIMIT} tokens\n")
    print("| teacher | loss | reduction | seed | accuracy | truncated | tokens |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for seed in options.seeds:
        for (teacher, form, reduction), objective in arms().items():
            inputs = {"student": start, "teacher": teachers.get(teacher, SHIPPED / TEACHER)}
            name = "-".join((teacher, form, reduction, str(options.steps), f"s{seed}"))
            folder = options.out / name.replace(" ", "_")
            stage(distilled(objective, options.steps), seed, inputs, folder)
            print(row(folder, [teacher, form, reduction, str(seed)]), flush=True)


def row(folder: Path, labels: list[str]) -> str:
    """Return a Markdown row: the measures before and after training."""
    columns = json.loads((folder / "history.json").read_text())["columns"]

    def change(name: str, digits: int) -> str:
        seen = [value for value in columns[name] if value is not None]
        return f"{seen[0]:.{digits}f} -> {seen[-1]:.{digits}f}"

    measures = [change(SCORE, 3), change(TRUNCATED, 3), change("eval/mean_tokens", 0)]
    return f"| {' | '.join([*labels, *measures])} |"


if __name__ == "__main__":
    main()
