"""Prefixes, prompted models, probes and the lab preference; runs that need models beside their own;
SFT on a teacher's completions.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from study.data.load import load
from study.errors import PrerequisiteError
from study.evaluate import probes
from study.evaluate import run as final
from study.evaluate.engine_lm import Chat
from study.evaluate.harness import run_task
from study.grading.boxed import Outcome
from study.grading.polite import PoliteGrader
from study.models.loading import load_model, load_tokenizer
from study.objectives.optimum import geometric_mean, pi_optimum
from study.record.seeds import stream
from study.runner.graph.stages import read_by_run, run_graph, run_roles
from study.spec.grid.cell import Cell, models_beside
from study.spec.identity import canonical, cell_id, stage_id
from study.spec.recipe.corpus import TeacherSamples
from study.spec.recipe.evaluation import Evaluation, Prefix
from study.spec.recipe.model import LocalModel, SftModel
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.probe import Likelihood, PiOptimum
from study.spec.recipe.training import Sampling, SupervisedTraining
from study.train.supervised import teacher_documents
from tests.support.fake_work import cell, pretrained
from tests.support.random_models import random_models
from tests.support.tiny_stages import ARCHITECTURE, DATA, HERE, OPTIMISATION, SAMPLING, quiet

ONE = LocalModel(path="one", digest="1" * 64)
TWO = LocalModel(path="two", digest="2" * 64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return random_models(tmp_path_factory.mktemp("models"), ARCHITECTURE, "one", "two")


def beside(folders: dict[str, Path]) -> dict[str, Path]:
    return {canonical(ONE): folders["one"], canonical(TWO): folders["two"]}


def evaluated(spec: Evaluation, folders: dict[str, Path], out: Path) -> dict[str, Any]:
    out.mkdir()
    final.evaluate(spec, folders["one"], 0, out, quiet, beside(folders))
    return json.loads((out / "evaluation.json").read_text())


# --------------------------------------------------------------------------------------------------
# the optimum


def test_the_identity_of_the_geometric_mean_holds() -> None:
    generator = torch.Generator().manual_seed(0)
    student, *teachers = torch.randn(
        5, 7, 11, generator=generator, dtype=torch.float64
    ).log_softmax(-1)
    found = pi_optimum(student, torch.stack(teachers))
    assert torch.allclose(found["kl_teachers"], found["kl_geometric"] + found["heterogeneity"])
    assert (found["heterogeneity"] > 0).all()
    best, _ = geometric_mean(torch.stack(teachers))
    at_best = pi_optimum(best, torch.stack(teachers))
    assert torch.allclose(at_best["kl_teachers"], found["heterogeneity"])
    assert (found["kl_teachers"] > at_best["kl_teachers"]).all()


def test_teachers_that_agree_leave_nothing_behind() -> None:
    teacher = torch.randn(3, 5, dtype=torch.float64).log_softmax(-1)
    found = pi_optimum(teacher, torch.stack([teacher, teacher]))
    assert all(value.abs().max() < 1e-12 for value in found.values())


def test_a_probe_of_one_teacher_twice_sees_no_heterogeneity_and_of_two_prompts_some(
    folders: dict[str, Path],
) -> None:
    def measured(*templates: str) -> dict[str, float]:
        seen = tuple(PrivilegedInformation(template=text, placement="system") for text in templates)
        probe = PiOptimum(
            name="p", teacher=ONE, privileged=seen, data=DATA, problems=6, sampling=SAMPLING
        )
        return probes.measure(probe, folders["one"], 0, quiet, beside(folders))

    same, other = measured("styleA", "styleA"), measured("styleA", "styleB")
    assert same["heterogeneity"] == pytest.approx(0.0, abs=1e-6)
    assert other["heterogeneity"] > 1e-4
    assert other["kl_teachers"] == pytest.approx(
        other["kl_geometric"] + other["heterogeneity"], abs=1e-5
    )
    assert same["tokens"] == other["tokens"] > 0


def test_likelihood_is_that_of_the_model_token_by_token(folders: dict[str, Path]) -> None:
    probe = Likelihood(name="l", teacher=TWO, data=DATA, problems=5, sampling=SAMPLING)
    found = probes.measure(probe, folders["one"], 0, quiet, beside(folders))
    assert found["perplexity"] == pytest.approx(math.exp(found["nll"]))
    assert found["nll"] == pytest.approx(_slow_nll(probe, folders), rel=1e-5)
    own = probes.measure(
        probe.model_copy(update={"teacher": ONE}), folders["one"], 0, quiet, beside(folders)
    )
    assert own["nll"] < found["nll"]


def _slow_nll(probe: Likelihood, folders: dict[str, Path]) -> float:
    """One completion at a time, one forward pass for each prefix."""
    model, tokenizer = load_model(folders["one"]), load_tokenizer(folders["one"])
    problems = load(DATA, "held_out")[: probe.problems]
    rows = final.sample(
        load_model(folders["two"]), tokenizer, problems, SAMPLING, k=1, seed=stream(0, "likelihood")
    )
    values: list[float] = []
    for row in rows:
        messages = [{"role": "user", "content": row[0].problem.prompt}]
        ids: Any = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        for token in row[0].completion.ids:
            with torch.no_grad():
                values.append(
                    -float(
                        model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token]
                    )
                )
            ids = [*ids, token]
    return sum(values) / len(values)


# --------------------------------------------------------------------------------------------------
# prefixes and views


def test_what_continues_a_prefix_starts_with_it_and_is_graded_whole(
    folders: dict[str, Path],
) -> None:
    tokenizer, problems = load_tokenizer(folders["one"]), load(DATA, "held_out")[:3]
    begun = {
        p.prompt: tokenizer.encode(f"so \\boxed{{ {p.answer} }}", add_special_tokens=False)
        for p in problems
    }
    sampling = Sampling(max_completion_length=1)
    how: Any = {"k": 2, "sampling": sampling, "seed": 0}
    plain = run_task("lab_math", problems, load_model(folders["one"]), tokenizer, **how)
    result = run_task(
        "lab_math",
        problems,
        load_model(folders["one"]),
        tokenizer,
        **how,
        chat=Chat(prefixes=begun),
    )
    assert all(text.startswith("so \\boxed{") for row in result.completions for text in row)
    assert not any(text.startswith("so \\boxed{") for row in plain.completions for text in row)
    assert result.tokens == tuple((1, 1) for _ in problems)
    assert all(graded.relaxed is Outcome.correct for row in result.results for graded in row)


def test_a_prefix_is_the_first_part_of_one_sample_of_the_source(folders: dict[str, Path]) -> None:
    problems = load(DATA, "held_out")[:4]
    cut = {
        f: final.prefixes(Prefix(source=TWO, fraction=f), folders["two"], problems, SAMPLING, 0)
        for f in (0.2, 0.8)
    }
    for prompt, long in cut[0.8].items():
        assert long[: len(cut[0.2][prompt])] == cut[0.2][prompt]
    assert sum(map(len, cut[0.8].values())) > sum(map(len, cut[0.2].values()))


def test_prefix_and_prompt_change_the_evaluation_and_leave_no_greedy_answer(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    plain = Evaluation(task="lab_math", data=DATA, k=2, problems=4, sampling=SAMPLING)
    prompted = plain.model_copy(
        update={"privileged": PrivilegedInformation(template="styleB", placement="system")}
    )
    begun = plain.model_copy(update={"prefix": Prefix(source=TWO, fraction=0.5)})
    results = [
        evaluated(spec, folders, tmp_path / str(i))
        for i, spec in enumerate((plain, prompted, begun))
    ]
    assert [result["avg@1_greedy"] is None for result in results] == [False, True, True]
    texts = [(tmp_path / str(i) / "generations.jsonl.gz").read_bytes() for i in range(3)]
    assert len(set(texts)) == 3


def test_the_view_keeps_what_the_page_adds_to_the_prompt() -> None:
    chat = Chat(
        views={
            "1 + 1 =": [{"role": "system", "content": "R2"}, {"role": "user", "content": "1 + 1 ="}]
        }
    )
    assert chat.messages([{"role": "user", "content": "1 + 1 =\nBox it."}]) == [
        {"role": "system", "content": "R2"}, {"role": "user", "content": "1 + 1 =\nBox it."},
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------
# cells, stages, SFT


def test_a_run_waits_for_the_models_beside_it_and_keeps_their_ids_apart() -> None:
    plain, source = cell(), pretrained("elsewhere")
    probed = plain.model_copy(
        update={
            "evaluation": plain.evaluation.model_copy(
                update={"prefix": Prefix(source=source, fraction=0.5)}
            )
        }
    )
    assert cell_id(plain) != cell_id(probed)
    assert models_beside(probed) == (source,)
    assert {node.id for node in run_graph(probed, 0)} == {
        node.id for node in run_graph(plain, 0)
    } | {stage_id(source, 0)}
    assert read_by_run(probed, 0) == (stage_id(source, 0), stage_id(plain.model, 0))
    assert run_roles(probed, 0)["beside0"] == stage_id(source, 0)
    assert "beside0" not in run_roles(plain, 0)


def test_a_second_task_with_nothing_new_in_it_is_another_cell() -> None:
    plain = cell()
    second = plain.evaluation.model_copy(update={"name": "b"})
    more = Cell(scale=plain.scale, model=plain.model, evaluation=plain.evaluation, also=(second,))
    assert cell_id(plain) != cell_id(more)
    assert [one.score_name for one in more.evaluations] == ["lab_math", "b"]


def sft_from(teacher: TeacherSamples, steps: int = 2) -> SftModel:
    training = SupervisedTraining(
        steps=steps, documents_per_step=3, optimisation=OPTIMISATION, max_length=64
    )
    return SftModel(base=HERE, teacher=ONE, data=DATA, corpus=teacher, training=training)


def test_documents_of_a_teacher_are_its_finished_completions(folders: dict[str, Path]) -> None:
    corpus = TeacherSamples(sampling=Sampling(max_completion_length=60))
    documents = teacher_documents(sft_from(corpus), corpus, folders["one"], seed=5)
    assert len(documents) == 6
    assert [d.user for d in documents] == [
        d.user for d in teacher_documents(sft_from(corpus), corpus, folders["one"], seed=5)
    ]
    assert {d.user for d in documents} <= {p.prompt for p in load(DATA, "train")}


def test_a_teacher_that_is_never_right_is_told_and_not_waited_for(folders: dict[str, Path]) -> None:
    corpus = TeacherSamples(sampling=Sampling(max_completion_length=2), correct_only=True)
    with pytest.raises(PrerequisiteError, match="left 0 documents of 6"):
        teacher_documents(sft_from(corpus), corpus, folders["one"], seed=5)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("so 3 + 4 = 7 please ; \\boxed{ 7 }", Outcome.correct),
        ("so 3 + 4 = 7 please ; then 7 + 0 = 7 ; \\boxed{ 7 }", Outcome.wrong),
        ("\\boxed{ 7 }", Outcome.wrong),
        ("so 3 + 4 = 8 please ; \\boxed{ 8 }", Outcome.wrong),
        ("so 3 + 4 = 7 please ;", Outcome.unparsed),
        ("", Outcome.unparsed),
    ],
    ids=["polite", "half-polite", "no-step", "wrong", "no-box", "empty"],
)
def test_the_lab_preference_asks_for_a_right_answer_and_politeness(
    text: str, outcome: Outcome
) -> None:
    assert PoliteGrader().grade(text, "7").outcome is outcome
