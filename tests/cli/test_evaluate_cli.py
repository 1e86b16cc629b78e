"""`study evaluate` as a stranger uses it: a model that the harness did not make, a lab model, and
everything that can be refused early.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from study.cli.main import build_app
from study.errors import PrerequisiteError, RecordMismatch, SpecError
from study.evaluate import generations
from study.evaluate import run as final
from study.evaluate.engines import VllmEngine
from study.evaluate.request import Request
from study.evaluate.standalone import evaluate_all, prepare
from study.evaluate.task_page import Decoding
from study.grading.boxed import Outcome
from study.models.lab import LAB_VOCABULARY, build_model, build_tokenizer
from study.models.loading import save
from study.record.store import Results
from study.runner.verbs.model_folder import find_model_folder
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import Architecture, LabTokenizer
from study.spec.recipe.training import Sampling
from tests.support import foreign_model

SHAPE = Architecture(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return foreign_model.save(tmp_path_factory.mktemp("models") / "stranger", bias="1}{\\boxed")


@pytest.fixture(scope="module")
def lab_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "lab"
    save(build_model(SHAPE, len(LAB_VOCABULARY), seed=0), build_tokenizer(LabTokenizer()), place)
    return place


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [
        {"question": f"What is {i} + {i}?", "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"}
        for i in range(6)
    ]
    place = tmp_path / "data"
    place.mkdir()
    (place / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("STUDY_DATA", str(place))
    monkeypatch.chdir(tmp_path)
    return place


class Screen:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.notes: list[str] = []

    def progress(self, task: str, samples: int, of: int, tokens: int) -> None:
        self.seen.append((task, samples, of))

    def note(self, text: str) -> None:
        self.notes.append(text)


def evaluated(
    model: Path,
    output: Path,
    *tasks: str,
    screen: Screen | None = None,
    request: Request | None = None,
    **wanted: object,
):
    prepared = prepare(
        tasks or ("gsm8k",), **{"k": 3, "limit": 4, "max_completion_length": 12, **wanted}
    )
    return evaluate_all(
        prepared,
        find_model_folder(str(model), Results(Path("results"))),
        request or Request(batch_size=6),
        output,
        screen or Screen(),
    )


def typed(*words: str) -> None:
    build_app()(["evaluate", *words], standalone_mode=False)


def test_a_strangers_model_is_evaluated_and_the_screen_says_with_what(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(
        str(folder),
        "--tasks",
        "gsm8k",
        "--k",
        "2",
        "--limit",
        "3",
        "--max-completion-length",
        "10",
        "--temperature",
        "0.9",
        "--seed",
        "5",
    )
    screen = capsys.readouterr()
    assert "stranger (weights" in screen.out
    assert "gsm8k (3 problems x 2, from gsm8k.jsonl)" in screen.out
    for word in (
        "avg@2",
        "pass@2",
        "maj@2",
        "truncated",
        "mean tokens",
        "math-1",
        "0.9",
        "0.95",
        "bootstrap",
    ):
        assert word in screen.out
    content = json.loads(Path("evaluations/stranger/gsm8k/evaluation.json").read_bytes())
    assert (content["k"], content["n"], content["temperature"], content["seed"]) == (2, 3, 0.9, 5)
    assert str(folder.parent) not in json.dumps(content), "no path of this machine"
    assert sorted(path.name for path in Path("evaluations/stranger/gsm8k").iterdir()) == [
        "evaluation.json",
        generations.NAME,
    ]


def test_counts_measures_and_generations_agree(folder: Path, tmp_path: Path) -> None:
    screen = Screen()
    (content,) = evaluated(folder, tmp_path / "out", screen=screen)
    assert content == json.loads((tmp_path / "out/gsm8k/evaluation.json").read_bytes())
    per_problem = [sum(content[f"{outcome}_counts"][p] for outcome in Outcome) for p in range(4)]
    assert per_problem == [3] * 4
    assert [m["name"] for m in content["measures"]] == ["avg@3", "pass@2", "pass@3", "maj@3"]
    assert (
        content["measures"][0]["strict"]["mean"]
        == pytest.approx(content["avg@3"])
        == sum(content["correct_counts"]) / 12
    )
    assert all(
        r >= s
        for r, s in zip(content["relaxed_correct_counts"], content["correct_counts"], strict=True)
    )
    stored = generations.read(tmp_path / "out/gsm8k" / generations.NAME)
    assert stored.header.model == f"stranger {content['digest']}"
    assert (stored.header.k, stored.header.max_completion_length, stored.header.seed) == (3, 12, 0)
    assert [p.id for p in stored.problems] == content["problem_ids"]
    for name in ("truncated", "unparsed", "correct"):
        assert [p.outcomes.count(name) for p in stored.problems] == content[f"{name}_counts"]
    assert sum(sum(p.tokens) for p in stored.problems) == content["tokens_sampled"]
    assert screen.seen[0] == ("gsm8k", 0, 12)
    assert screen.seen[-1] == ("gsm8k", 12, 12)
    assert content["data"]["name"] == "gsm8k.jsonl"
    assert {"torch", "transformers", "lm_eval", "math_verify"} <= set(content["packages"])


def test_the_same_seed_is_the_same_bytes_and_another_is_not(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        evaluated(folder, tmp_path / name, request=Request(batch_size=6, seed=seed))
        torch.manual_seed(99)
    a, b, c = ((tmp_path / name / "gsm8k" / generations.NAME).read_bytes() for name in "abc")
    assert a == b
    texts = [
        [
            p.completions
            for p in generations.read(tmp_path / name / "gsm8k" / generations.NAME).problems
        ]
        for name in "ac"
    ]
    assert texts[0] != texts[1]
    assert b != c


def test_what_is_there_is_shown_again_and_never_overwritten(folder: Path, tmp_path: Path) -> None:
    (first,) = evaluated(folder, tmp_path / "out")
    before = (tmp_path / "out/gsm8k/evaluation.json").read_bytes()
    screen = Screen()
    (again,) = evaluated(folder, tmp_path / "out", screen=screen)
    assert again == json.loads(json.dumps(first))
    assert "not made again" in screen.notes[0]
    with pytest.raises(SpecError, match="holds another evaluation: k 3 there, 2 now"):
        evaluated(folder, tmp_path / "out", k=2)
    assert (tmp_path / "out/gsm8k/evaluation.json").read_bytes() == before
    (tmp_path / "out/gsm8k/evaluation.json").write_text("{}")
    with pytest.raises(RecordMismatch, match="is no evaluation"):
        evaluated(folder, tmp_path / "out")


def test_an_evaluation_that_is_interrupted_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(generations, "write", full)
    with pytest.raises(PrerequisiteError, match="No space left"):
        evaluated(folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_greedy_is_one_sample_and_needs_no_seed(folder: Path, tmp_path: Path) -> None:
    rows = [
        evaluated(
            folder, tmp_path / str(seed), k=None, temperature=0.0, request=Request(seed=seed)
        )[0]
        for seed in (0, 1)
    ]
    assert rows[0]["k"] == 1
    texts = [
        [
            p.completions
            for p in generations.read(tmp_path / str(s) / "gsm8k" / generations.NAME).problems
        ]
        for s in (0, 1)
    ]
    assert texts[0] == texts[1]


def test_a_lab_model_on_its_own_task_and_on_one_that_it_cannot_read(
    lab_folder: Path, tmp_path: Path
) -> None:
    screen = Screen()
    lab, words = evaluated(
        lab_folder, tmp_path / "out", "lab_math", "gsm8k", screen=screen, max_completion_length=8
    )
    assert lab["grader"] == "boxed-1"
    assert lab["notes"] == []
    assert "unknown to this model's tokenizer" in words["notes"][0]
    assert words["notes"][0] in screen.notes
    assert words["grader"] == "math-1"


def test_a_chat_template_that_writes_the_date_is_noted(lab_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lab_folder, tmp_path / "dated")
    template = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    (tmp_path / "dated" / "chat_template.jinja").write_text(template, encoding="utf-8")
    screen = Screen()
    (page,) = evaluated(
        tmp_path / "dated", tmp_path / "out", "lab_math", screen=screen, max_completion_length=4
    )
    (note,) = page["notes"]
    assert "the chat template writes today's date into every prompt" in note
    assert note in screen.notes


def test_a_model_without_a_chat_template_is_told_what_to_do(tmp_path: Path) -> None:
    base = foreign_model.save(tmp_path / "base", template=None)
    with pytest.raises(PrerequisiteError, match=r"has no chat template[\s\S]*--no-chat-template"):
        evaluated(base, tmp_path / "out")
    (content,) = evaluated(base, tmp_path / "out", request=Request(chat=False))
    assert content["chat_template"] is False


def test_a_completion_that_does_not_fit_the_model_is_refused_with_the_number_that_does(
    tmp_path: Path,
) -> None:
    short = foreign_model.save(tmp_path / "short", positions=220)
    with pytest.raises(PrerequisiteError, match="220 positions") as caught:
        evaluated(short, tmp_path / "out", max_completion_length=None)
    number = caught.value.hint.split()[-1]
    assert evaluated(short, tmp_path / "out", max_completion_length=int(number))[0]["n"] == 4
    assert caught.value.hint == f"--max-completion-length {number}"


def test_everything_wrong_is_refused_before_a_model_is_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown evaluation task 'math5000'"):
        typed(str(tmp_path), "--tasks", "gsm8k,math5000")
    with pytest.raises(SpecError, match="boxed_math has no problems of its own"):
        typed(str(tmp_path), "--tasks", "boxed_math")
    with pytest.raises(SpecError, match="names no task"):
        typed(str(tmp_path), "--tasks", ",")
    with pytest.raises(SpecError, match="3 samples at temperature 0"):
        typed(str(tmp_path), "--tasks", "gsm8k", "--k", "3", "--temperature", "0")
    if "vllm" not in sys.modules:
        with pytest.raises(PrerequisiteError, match=r"vllm[\s\S]*opd-study\[gpu\]"):
            typed(str(tmp_path), "--tasks", "gsm8k", "--backend", "vllm")


def test_a_model_that_is_none_says_what_is_there_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path / "results")
    with pytest.raises(PrerequisiteError, match=r"no config.json"):
        find_model_folder(str(tmp_path), results)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PrerequisiteError, match=r"holds an adapter[\s\S]*merge"):
        find_model_folder(str(tmp_path), results)
    with pytest.raises(PrerequisiteError, match=r"there is no folder ./nowhere"):
        find_model_folder("./nowhere", results)
    with pytest.raises(
        SpecError, match=r"'distill-0000' is not a model[\s\S]*organisation/model@revision"
    ):
        find_model_folder("distill-0000", results)

    def offline(*_: object, **__: object) -> str:
        raise OSError("no connection\nat all")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(
        PrerequisiteError,
        match=r"could not download model org/name@main \(OSError: no connection\)",
    ):
        find_model_folder("org/name@main", results)


def test_a_hub_model_goes_by_the_commit_that_was_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / commit
    snapshot.symlink_to(folder)
    asked: list[object] = []

    def fetch(repository: str, *, revision: str | None, ignore_patterns: Sequence[str]) -> str:
        asked.append((repository, revision, "*.bin" in ignore_patterns, "*.py" in ignore_patterns))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    source = find_model_folder("org/name@main", Results(tmp_path))
    assert source.name == "org/name@0123456789ab"
    assert asked == [("org/name", "main", True, True)]
    assert source.digest == find_model_folder(str(folder), Results(tmp_path)).digest


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "pickled"
    place.mkdir()
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (place / path.name).write_bytes(path.read_bytes())
    (place / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(PrerequisiteError, match="pickled weights are never loaded"):
        evaluated(place, tmp_path / "out")


def test_vllm_gets_the_same_settings_and_a_seed_for_each_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    class LLM:
        def __init__(self, **settings: object) -> None:
            asked.append(settings)
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=4096))

        def generate(
            self,
            prompts: list[dict[str, list[int]]],
            settings: list[SimpleNamespace],
            use_tqdm: bool,
        ) -> list[SimpleNamespace]:
            one = SimpleNamespace(token_ids=[5, 2], finish_reason="stop")
            cut = SimpleNamespace(token_ids=[5, 5], finish_reason="length")
            asked.append(
                [
                    (prompt["prompt_token_ids"], vars(own))
                    for prompt, own in zip(prompts, settings, strict=True)
                ]
            )
            return [SimpleNamespace(outputs=[one, cut]) for _ in prompts]

    monkeypatch.setitem(
        sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=SimpleNamespace)
    )
    engine, seen = VllmEngine(Path("model"), seed=3), []
    rows = engine.draw(
        [[1], [1, 2]],
        Decoding(0.6, 0.95, 16),
        k=2,
        seed=3,
        drawn=lambda *numbers: seen.append(numbers),
    )
    assert [[completion.truncated for completion in row] for row in rows] == [[False, True]] * 2
    assert rows[0][0].ids == (5, 2)
    assert seen == [(4, 8)]
    assert engine.context == 4096
    assert asked[0]["trust_remote_code"] is False
    (first, own), (second, other) = asked[1]
    assert (first, second) == ([1], [1, 2])
    assert {name: own[name] for name in ("n", "temperature", "top_p", "max_tokens")} == {
        "n": 2,
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 16,
    }
    assert own["seed"] != other["seed"]


def test_a_runs_final_evaluation_stores_its_generations_and_may_name_its_grader(
    lab_folder: Path, tmp_path: Path
) -> None:
    spec = Evaluation(
        task="lab_math",
        data=ArithmeticData(held_out_size=5),
        k=2,
        sampling=Sampling(max_completion_length=8),
    )
    assert spec.grader == "boxed-1"
    contents = []
    for name, own in (
        ("a", spec),
        ("b", spec),
        ("math", spec.model_copy(update={"grader": "math-1"})),
    ):
        out = tmp_path / name
        out.mkdir()
        final.evaluate(own, lab_folder, 0, out, lambda *_: None, {})
        contents.append(json.loads((out / "evaluation.json").read_bytes()))
    assert contents[0] == contents[1]
    assert contents[2]["grader"] == "math-1"
    assert contents[2]["problem_ids"] == contents[0]["problem_ids"]
    a, b, math = (tmp_path / name / generations.NAME for name in ("a", "b", "math"))
    assert a.read_bytes() == b.read_bytes()
    stored = generations.read(a)
    assert (stored.header.model, stored.header.seed, stored.header.grader) == ("lab", 0, "boxed-1")
    assert [p.outcomes.count("truncated") for p in stored.problems] == contents[0][
        "truncated_counts"
    ]
    graded_again = generations.read(math)
    assert [replace(p, outcomes=()) for p in graded_again.problems] == [
        replace(p, outcomes=()) for p in stored.problems
    ]
