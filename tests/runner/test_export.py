"""`study export`: what it writes loads with transformers alone; what it cannot write it refuses in
one message with the next command.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from study.cli.export import export
from study.errors import IncompleteResults, PrerequisiteError, RecordMismatch, SpecError, StudyError
from study.record.checkpoints import Checkpoints
from study.record.schema import Record
from study.record.store import Results
from study.runner.graph.stages import RunPlan, stage_graph
from study.runner.verbs.card import count_parameters
from study.runner.work.artifacts import drop_weights, resolve_model, weights_digest
from study.runner.work.execute import Work, execute_run, execute_stage
from study.spec.grid.cell import Cell
from study.spec.identity import cell_id
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import DistilledModel, LocalModel, PretrainedLab
from study.spec.recipe.objective import Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.training import DistillTraining, SupervisedTraining
from tests.support.resumed_stages import CORPUS, SHARED
from tests.support.tiny_stages import ARCHITECTURE, DATA

WORK = Work(evaluate="tests.runner.test_export:evaluate")


def evaluate(
    spec: Evaluation, model_dir: Path, seed: int, out: Path, report: Any, beside: Any
) -> None:
    """Sixteen problems of which four are solved, whatever the model says."""
    counts = {
        "correct_counts": [4] * 4 + [0] * 12,
        "truncated_counts": [0] * 16,
        "unparsed_counts": [0] * 16,
    }
    how = {"temperature": 1.0, "top_p": 1.0, "max_completion_length": 10, "grader": "boxed-1"}
    result = {
        "task": spec.task,
        "k": 4,
        "n": 16,
        "avg@k": 0.25,
        "mean_tokens": 5.0,
        **how,
        **counts,
    }
    result |= {"problem_ids": [f"p{i}" for i in range(16)], "tokens_sampled": 320}
    (out / "evaluation.json").write_text(json.dumps(result))


def base(name: str) -> PretrainedLab:
    untrained = SupervisedTraining(
        steps=0, documents_per_step=4, optimisation=SHARED["optimisation"], max_length=64
    )
    return PretrainedLab(
        name=name, architecture=ARCHITECTURE, data=DATA, corpus=CORPUS, training=untrained
    )


def cell() -> Cell:
    shared: dict[str, Any] = SHARED | {"steps": 3}
    training = DistillTraining(prompts_per_step=4, **shared)
    pi = PrivilegedInformation(template="<answer> {answer}")
    objective = Objective(support="student_topk", k=5)
    model = DistilledModel(
        student=base("a"),
        teacher=base("b"),
        data=DATA,
        objective=objective,
        training=training,
        privileged=pi,
    )
    return Cell(
        scale="lab",
        model=model,
        evaluation=Evaluation(
            task="lab_math", data=DATA, k=4, problems=16, sampling=SHARED["sampling"]
        ),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Record]:
    """A finished run whose distillation kept every step."""
    results = Results(tmp_path_factory.mktemp("results"))
    for node in stage_graph(cell().model, 0):
        execute_stage(
            node,
            results,
            WORK,
            quiet,
            Checkpoints(results.checkpoints(node.id), every_s=0, keep="all"),
        )
    return results, execute_run(
        RunPlan(f"{cell_id(cell())}-s0", cell_id(cell()), cell(), 0), results, WORK, quiet
    )


def quiet(*_: object) -> None:
    """A report that nobody reads."""


@pytest.fixture
def copied(made: tuple[Results, Record], tmp_path: Path) -> tuple[Results, Record]:
    """The same to damage."""
    shutil.copytree(made[0].root, tmp_path / "results")
    return Results(tmp_path / "results"), made[1]


@pytest.mark.parametrize("name", ["whole", "end", "stage"])
def test_a_run_is_exported_by_its_id_its_end_or_its_stage(
    name: str, made: tuple[Results, Record], tmp_path: Path
) -> None:
    results, record = made
    names = {"whole": record.run, "end": record.run[-11:], "stage": record.stages["distill"]}
    export(names[name], tmp_path / "model", results=results.root)
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files == {
        "README.md", "model.safetensors", "config.json", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }  # fmt: skip
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    scores = "| lab_math | 0.2500 | 4 | 16 |"
    for part in (
        "topk_biased, k = 5",
        "`<answer> {answer}`",
        "| steps | 3 |",
        scores,
        "far too small",
        record.run,
    ):
        assert part in card, part
    assert str(results.root) not in card


def test_it_loads_with_transformers_alone_and_computes_the_same(
    made: tuple[Results, Record], tmp_path: Path
) -> None:
    results, record = made
    export(record.run, tmp_path / "deep" / "model", results=results.root)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "deep" / "model")
    messages = [{"role": "user", "content": "3 + 4 ="}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert tokenizer.decode(prompt["input_ids"][0]) == "<user> 3 + 4 = <assistant>"
    folders = (results.artifact(record.stages["distill"]), tmp_path / "deep" / "model")
    ours, theirs = (AutoModelForCausalLM.from_pretrained(folder) for folder in folders)
    with torch.no_grad():
        assert torch.equal(ours(**prompt).logits, theirs(**prompt).logits)
    assert count_parameters(tmp_path / "deep" / "model") == sum(
        p.numel() for p in theirs.parameters()
    )


def test_its_digest_makes_it_a_local_model(
    made: tuple[Results, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, record = made
    export(record.run, tmp_path / "model", results=results.root)
    digest = weights_digest(tmp_path / "model")
    assert f"digest {digest}" in capsys.readouterr().out
    assert f"digest: {digest}}}" in (tmp_path / "model" / "README.md").read_text()
    assert (
        resolve_model(LocalModel(path=str(tmp_path / "model"), digest=digest)) == tmp_path / "model"
    )


def test_a_kept_step_is_another_model_with_no_scores(
    made: tuple[Results, Record], tmp_path: Path
) -> None:
    results, record = made
    export(record.run, tmp_path / "one", step=1, results=results.root)
    export(record.run, tmp_path / "last", results=results.root)
    assert weights_digest(tmp_path / "one") != weights_digest(tmp_path / "last")
    card = (tmp_path / "one" / "README.md").read_text()
    assert "these weights are of step 1" in card
    assert "0.2500" not in card
    AutoModelForCausalLM.from_pretrained(tmp_path / "one")


def test_a_stage_on_the_way_has_no_scores_either(
    made: tuple[Results, Record], tmp_path: Path
) -> None:
    results, record = made
    export(record.stages["teacher"], tmp_path / "teacher", results=results.root)
    assert "No run has evaluated this model." in (tmp_path / "teacher" / "README.md").read_text()


def test_a_folder_that_holds_something_is_left_alone(
    made: tuple[Results, Record], tmp_path: Path
) -> None:
    results, record = made
    (tmp_path / "mine").write_text("mine")
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(SpecError, match="there already") as refusal:
            export(record.run, taken, results=results.root)
        assert "choose another" in refusal.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    export(record.run, tmp_path / "empty", results=results.root)


def refused(
    name: str, error: type[StudyError], results: Results, tmp_path: Path, step: int | None = None
) -> StudyError:
    with pytest.raises(error) as refusal:
        export(name, tmp_path / "out", step=step, results=results.root)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name], (
        "nothing half-written is left"
    )
    assert refusal.value.hint
    return refusal.value


def test_names_that_fit_none_or_several(made: tuple[Results, Record], tmp_path: Path) -> None:
    results, record = made
    assert "write more" in refused("pretrain-", SpecError, results, tmp_path).hint
    assert (
        record.run in refused(record.run.replace("topk", "topq"), SpecError, results, tmp_path).hint
    )
    assert (
        record.run in refused(record.cell.rpartition("-")[2], SpecError, results, tmp_path).hint
    ), "a cell's id lies inside a run's"
    assert "study run" in refused("zzz", SpecError, results, tmp_path).hint
    assert "study run" in refused("", SpecError, Results(tmp_path / "nowhere"), tmp_path).hint


def test_what_is_not_there_yet(copied: tuple[Results, Record], tmp_path: Path) -> None:
    results, record = copied
    results.run("other-00000000-s1").mkdir()
    assert (
        "--only other-00000000 --seeds 1"
        in refused("other-00000000-s1", IncompleteResults, results, tmp_path).hint
    )
    shutil.rmtree(results.artifact(record.stages["distill"]))
    assert (
        f"--only {record.cell} --seeds 0"
        in refused(record.run, IncompleteResults, results, tmp_path).hint
    )


def test_what_was_not_kept(copied: tuple[Results, Record], tmp_path: Path) -> None:
    results, record = copied
    refusal = refused(record.run, PrerequisiteError, results, tmp_path, step=9)
    assert "kept are 1, 2" in refusal.message
    drop_weights(results.artifact(record.stages["distill"]))
    refusal = refused(record.run, PrerequisiteError, results, tmp_path)
    assert "not kept" in refusal.message
    assert f"rm {results.record(record.run)}; study run" in refusal.hint, (
        "a run with its record is done and makes nothing again"
    )


@pytest.mark.parametrize(
    "file", ["model.safetensors", "stage.json", "steps/step-1/model.safetensors"]
)
def test_a_damaged_artifact_is_not_exported(
    file: str, copied: tuple[Results, Record], tmp_path: Path
) -> None:
    results, record = copied
    path = results.artifact(record.stages["distill"]) / file
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "rm -r" in refused(record.run, RecordMismatch, results, tmp_path).hint


def test_an_unknown_recipe_is_told(copied: tuple[Results, Record], tmp_path: Path) -> None:
    """An artifact that an older version made, under settings that are no more."""
    results, record = copied
    path = results.artifact(record.stages["distill"]) / "stage.json"
    manifest: Mapping[str, Any] = json.loads(path.read_bytes())
    path.write_text(json.dumps({**manifest, "recipe": {"kind": "distil"}}))
    assert manifest["code"] in refused(record.run, RecordMismatch, results, tmp_path).hint
