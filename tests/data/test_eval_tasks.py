"""Task pages: every one loads in lm-eval, renders its prompt, keeps all k samples; where problems
come from; the letters of choices.
"""

import json
import re
import runpy
from collections.abc import Sequence
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from study.data.hub.benchmarks import Benchmark, choice_order, is_held_out, read
from study.data.hub.eval_tasks import lm_eval_name, page_values
from study.errors import PrerequisiteError, SpecError
from study.evaluate.engine_lm import Chat
from study.evaluate.engines import Drawn
from study.evaluate.harness import evaluate_task
from study.evaluate.task_page import TASKS, Decoding, known_tasks, read_page
from study.grading.boxed import Outcome
from study.grading.choice import ChoiceGrader, letter
from study.grading.registry import open_grader
from study.models.sampling import Completion

SUFFIX = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
# Made-up rows in the schema of each source: the real ones are on the hub, GPQA behind a gate.
ROWS = {
    "math500": [
        {"problem": "What is $1+1$?", "answer": "2", "unique_id": "test/algebra/1.json", "level": 1}
    ],
    "aime24": [
        {"id": 60, "problem": "How many?", "solution": "So it is \\boxed{204}."},
        {"id": 61, "problem": "And now?", "answer": "25"},
    ],
    "aime25": [{"id": 0, "problem": "How many?", "answer": "70"}],
    "amc23": [{"id": 0, "problem": "How many?", "answer": "142.0"}],
    "gsm8k": [{"question": "Two ducks and one duck?", "answer": "2 + 1 = <<2+1=3>>3\n#### 3"}],
    "gpqa_diamond": [
        {
            "Record ID": "rec1",
            "Question": "Which particle?",
            "Correct Answer": "muon",
            "Incorrect Answer 1": "pion",
            "Incorrect Answer 2": "kaon",
            "Incorrect Answer 3": "tau\n",
        }
    ],
    "mmlu_pro": [
        {
            "question_id": 70,
            "question": "Which?",
            "options": [f"o{i}" for i in range(10)],
            "answer": "I",
            "answer_index": 8,
        }
    ],
}
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the"
    " form Answer: $Answer (without quotes) where $Answer is the answer to the"
    ' problem.\n\n{}\n\nRemember to put your answer on its own line after "Answer:".'
)


class Words:
    """A tokenizer of characters, as far as the harness asks for one."""

    chat_template = "there is one"

    def apply_chat_template(self, messages: list[dict[str, str]], **asked: object) -> str:
        (message,) = messages[:1]
        negation = "" if asked.get("enable_thinking") else "no "
        return f"[{message['role']}]{message['content']}[{negation}thinking]"

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [*([0] if add_special_tokens else []), *map(ord, text)]

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(map(chr, ids))


class Scripted:
    """An engine that says what it is told to, in turn."""

    name = "scripted"

    def __init__(self, *texts: str, context: int | None = None) -> None:
        self.texts, self.context, self.prompts = texts, context, []

    def draw(
        self, prompts: Sequence[list[int]], decoding: Decoding, *, k: int, seed: int, drawn: Drawn
    ) -> list[list[Completion]]:
        self.prompts = ["".join(map(chr, prompt)) for prompt in prompts]
        said = iter(self.texts * (k * len(prompts)))
        return [[Completion(tuple(map(ord, next(said))), False) for _ in range(k)] for _ in prompts]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for task, rows in ROWS.items():
        (tmp_path / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "dapo-math-17k.jsonl").write_text(
        "".join(json.dumps(dapo_row(i)) + "\n" for i in range(300))
    )
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    return tmp_path


def dapo_row(number: int) -> dict[str, object]:
    prompt = [{"role": "user", "content": DAPO.format(f"What is {number} + {number}?")}]
    return {
        "prompt": prompt,
        "reward_model": {"ground_truth": str(2 * number)},
        "extra_info": {"index": str(number)},
    }


def ran(
    task: str,
    engine: Scripted,
    *,
    k: int = 2,
    chat: Chat = Chat(),  # noqa: B008 - frozen
    **more: object,
):
    page = read_page(task)
    return evaluate_task(
        task,
        read(task, page.source).problems,
        engine,
        Words(),
        k=k,
        decoding=page.decoding,
        seed=0,
        grader=page.grader,
        chat=chat,
        **more,
    )


def benchmark_tasks() -> list[str]:
    return [task for task in known_tasks() if isinstance(read_page(task).source, Benchmark)]


def test_the_tasks_are_those_that_the_docs_name() -> None:
    assert known_tasks() == [
        "aime24", "aime25", "amc23", "boxed_math", "dapo_held_out", "gpqa_diamond", "gsm8k",
        "lab_hidden", "lab_math", "lab_search", "lab_shared", "math500", "mmlu_pro", "safety",
    ]  # fmt: skip
    with pytest.raises(SpecError, match=r"unknown evaluation task 'aime26'[\s\S]*aime24, aime25"):
        read_page("aime26")


@pytest.mark.parametrize("task", benchmark_tasks())
def test_every_page_loads_in_plain_lm_eval_and_declares_what_we_read(
    task: str, folder: Path
) -> None:
    page = read_page(task)
    name = lm_eval_name(task)
    found = TaskManager(include_path=str(TASKS), include_defaults=False).load(name)["tasks"][name]
    config = found.config
    assert config.metadata["version"] == float(page.version) == 1.0
    assert config.repeats == page.k
    kwargs = config.generation_kwargs
    assert {
        name: kwargs[name] for name in page.decoding.generation_kwargs()
    } == page.decoding.generation_kwargs()
    documents = list(found.test_docs())
    assert documents, "the page found its own problems"
    assert found.doc_to_target(documents[0]) == documents[0]["answer"]
    assert found.doc_to_text(documents[0]).startswith(documents[0]["prompt"])
    assert "\\boxed{}." in found.doc_to_text(documents[0])


def test_no_page_has_the_name_of_a_published_task() -> None:
    import lm_eval

    published = Path(lm_eval.__file__).with_name("tasks")
    named = re.compile(r"""^\s*-?\s*(?:task|group|tag)?:?\s*["']?([\w-]+)["']?\s*$""", re.MULTILINE)
    names = {
        name
        for page in published.rglob("*.yaml")
        for name in named.findall(page.read_text(encoding="utf-8", errors="replace"))
    }
    assert {"aime24", "gsm8k", "mmlu_pro"} <= names, "the pattern finds published names"
    ours = {task: lm_eval_name(task) for task in known_tasks()}
    assert not names & set(ours.values())
    assert {task: name for task, name in ours.items() if task != name} == {
        task: f"opd_{task}" for task in ("aime24", "aime25", "gsm8k", "mmlu_pro")
    }


def test_a_page_without_a_source_is_told_what_to_do() -> None:
    documents = runpy.run_path(str(TASKS / "boxed.py"))["documents"]
    assert "source" not in page_values("boxed_math")["metadata"]
    with pytest.raises(SpecError, match="has no problems of its own") as told:
        documents()
    assert "--metadata" in told.value.hint
    with pytest.raises(SpecError, match=r"its source is wrong: benchmark\.prompt: Field required"):
        documents(source={"kind": "benchmark", "files": ["x.jsonl"], "answer": ["answer"]})


@pytest.mark.parametrize("task", benchmark_tasks())
def test_benchmarks_use_the_papers_decoding_and_pin_a_commit(task: str) -> None:
    page = read_page(task)
    assert page.decoding == Decoding(0.6, 0.95, 16384)
    assert page.k >= 16 or task not in ("aime24", "aime25", "amc23")
    assert isinstance(page.source, Benchmark)
    assert page.source.revision is not None
    assert len(page.source.revision) == 40
    assert set(page.source.revision) <= set("0123456789abcdef")


def test_the_prompt_is_problem_and_suffix_inside_the_chat_template(folder: Path) -> None:
    engine = Scripted("\\boxed{2}")
    result = ran("math500", engine, chat=Chat(True, {"enable_thinking": False}))
    assert engine.prompts == [f"[user]What is $1+1$?{SUFFIX}[no thinking]"]
    assert list(result.prompts) == engine.prompts
    ran("math500", engine, chat=Chat(False))
    assert engine.prompts == [f"\0What is $1+1$?{SUFFIX}"], (
        "plain text gets the tokenizer's start token"
    )


def test_all_k_samples_are_graded_strictly_and_relaxedly(folder: Path) -> None:
    result = ran(
        "math500", Scripted("\\boxed{2}", "the answer is 2", "\\boxed{3}", "\\boxed{2.0}", "?"), k=5
    )
    assert result.outcomes == (
        (Outcome.correct, Outcome.unparsed, Outcome.wrong, Outcome.correct, Outcome.unparsed),
    )
    assert result.accuracy == pytest.approx(0.4)
    assert result.counts(Outcome.correct) == [2]
    assert result.counts(Outcome.correct, relaxed=True) == [3]
    assert len(result.completions[0]) == 5


def test_answers_are_read_from_whatever_column_holds_them(folder: Path) -> None:
    assert [p.answer for p in read("aime24", read_page("aime24").source).problems] == ["204", "25"]
    assert read("gsm8k", read_page("gsm8k").source).problems[0].answer == "3"
    assert ran("amc23", Scripted("\\boxed{142}"), k=1).outcomes == ((Outcome.correct,),)


def test_choices_are_shuffled_by_the_problems_id_and_graded_as_letters(folder: Path) -> None:
    source = read_page("gpqa_diamond").source
    problem = read("gpqa_diamond", source).problems[0]
    shown = dict(line.split(") ") for line in problem.columns["choices"].splitlines())
    assert list(shown) == list("ABCD")
    assert sorted(shown.values()) == ["kaon", "muon", "pion", "tau"]
    assert shown[problem.answer] == "muon"
    engine = Scripted(f"\\boxed{{\\text{{{problem.answer}}}}}", "no idea")
    assert ran("gpqa_diamond", engine).outcomes == ((Outcome.correct, Outcome.unparsed),)
    assert "\nB) " in engine.prompts[0]
    assert "the letter of one choice, within \\boxed{}." in engine.prompts[0]


def test_the_order_of_choices_depends_on_the_id_alone_and_favours_no_place() -> None:
    assert choice_order("rec1", 4) == choice_order("rec1", 4)
    places = [choice_order(f"rec{i}", 4).index(0) for i in range(2000)]
    assert all(430 < places.count(place) < 570 for place in range(4))


def test_ten_choices_keep_their_order_and_letters(folder: Path) -> None:
    problem = read("mmlu_pro", read_page("mmlu_pro").source).problems[0]
    assert problem.answer == "I"
    assert problem.columns["choices"].splitlines()[8:] == ["I) o8", "J) o9"]
    assert ran("mmlu_pro", Scripted("\\boxed{I}", "\\boxed{E}")).outcomes == (
        (Outcome.correct, Outcome.wrong),
    )


def test_a_choice_that_is_no_letter_of_its_problem_is_refused(folder: Path) -> None:
    (folder / "mmlu_pro.jsonl").write_text(
        json.dumps({**ROWS["mmlu_pro"][0], "answer": "K"}) + "\n"
    )
    with pytest.raises(
        PrerequisiteError, match=r"mmlu_pro.jsonl:1: 'K' is not the letter of one of 10 choices"
    ):
        read("mmlu_pro", read_page("mmlu_pro").source)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("C", "C"), ("c", "C"), ("(C)", "C"), ("\\text{C}", "C"), ("\\textbf{(C)}", "C"),
        ("C) muon", "C"), ("C. muon", "C"),
        ("\\mathrm{C}:", "C"),
        ("$C$", "C"), (" { C } ", "C"), ("muon", None), ("AB", None), ("A, B", None), ("", None),
        ("3", None), ("\\boxed", None),
    ],
)  # fmt: skip
def test_the_letter_that_a_box_names(text: str, named: str | None) -> None:
    assert letter(text) == named


def test_the_choice_grader_knows_every_outcome_and_a_band() -> None:
    with open_grader("choice-1") as judge:
        assert judge.grade("\\boxed{C}", "C").outcome is Outcome.correct
        stated = judge.grade("The answer is (C).", "C")
        assert (stated.outcome, stated.relaxed) == (Outcome.unparsed, Outcome.correct)
        assert judge.grade("\\boxed{C}", "C", truncated=True).outcome is Outcome.truncated
        both = judge.grade("\\boxed{A, C}", "C")
        assert (both.outcome, both.relaxed) == (Outcome.wrong, Outcome.wrong)
        assert judge.grade("\\boxed{C}", "(c)").outcome is Outcome.correct
        with pytest.raises(ValueError, match="not a letter"):
            judge.grade("\\boxed{C}", "muon")
    assert isinstance(judge, ChoiceGrader)
    with open_grader("boxed-1") as other:
        assert other.version == "boxed-1"


def test_held_out_dapo_is_a_share_by_text_without_dapos_own_wrapper(folder: Path) -> None:
    page = read_page("dapo_held_out")
    problems = read("dapo_held_out", page.source).problems
    expected = [i for i in range(300) if is_held_out(f"What is {i} + {i}?", page.source.held_out)]
    assert [p.prompt for p in problems] == [f"What is {i} + {i}?" for i in expected]
    assert [p.answer for p in problems] == [str(2 * i) for i in expected]
    assert 0 < len(expected) < 30
    share = sum(is_held_out(str(i), 0.025) for i in range(20_000)) / 20_000
    assert 0.02 < share < 0.03
    assert is_held_out("a  b\n c", 0.5) == is_held_out("a b c", 0.5)


def test_copies_of_a_problem_count_once_and_two_texts_with_one_id_are_refused(folder: Path) -> None:
    row = ROWS["math500"][0]
    path = folder / "math500.jsonl"
    path.write_text(f"{json.dumps(row)}\n\n{json.dumps(row)}\n")
    assert len(read("math500", read_page("math500").source).problems) == 1
    path.write_text(f"{json.dumps(row)}\n{json.dumps({**row, 'problem': 'Another?'})}\n")
    with pytest.raises(
        PrerequisiteError, match=r"math500.jsonl:2: id 'test/algebra/1.json' appears twice"
    ):
        read("math500", read_page("math500").source)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "has no problems"), ("{\n", r"math500.jsonl:1: not JSON"),
        ("[]\n", r"math500.jsonl:1: not a JSON object"),
        ('{"question": "x"}\n', "no column problem; there is question"),
        ('{"problem": "x", "unique_id": "1"}\n', "no column answer"),
        ('{"problem": "x", "unique_id": "1", "answer": " "}\n', "column 'answer' is empty"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_its_line(folder: Path, content: str, complaint: str) -> None:
    (folder / "math500.jsonl").write_text(content)
    with pytest.raises(PrerequisiteError, match=complaint):
        read("math500", read_page("math500").source)


def test_without_folder_and_hub_there_is_one_message_with_both_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the hub\nmore lines")

    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(PrerequisiteError) as caught:
        read("gpqa_diamond", read_page("gpqa_diamond").source)
    message = str(caught.value)
    assert "no file gpqa_diamond.jsonl in STUDY_DATA" in message
    assert (
        "Idavidrein/gpqa at 633f5ee89ab8 is not available (ConnectionError: Couldn't reach the hub)"
        in message
    )
    assert "STUDY_DATA=FOLDER" in message
    assert "gated: accept its terms" in message
    assert "more lines" not in message


def test_a_page_without_a_revision_never_asks_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDY_DATA", raising=False)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("it asked"))
    unpinned = read_page("math500").source.model_copy(update={"revision": None})
    with pytest.raises(PrerequisiteError, match="pins no revision"):
        read("math500", unpinned)


def test_the_hub_is_asked_for_the_pinned_revision_and_gives_the_same_problems(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    source = read_page("gsm8k").source
    local = read("gsm8k", source)
    monkeypatch.delenv("STUDY_DATA")
    asked: list[object] = []

    def load_dataset(*place: object, **which: object) -> list[dict[str, object]]:
        asked.append((place, which))
        return ROWS["gsm8k"]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    found = read("gsm8k", source)
    assert asked == [(("openai/gsm8k", "main"), {"split": "test", "revision": source.revision})]
    assert found.problems == local.problems
    assert found.sha256 == local.sha256
    assert found.origin["revision"] == source.revision
    assert local.origin["name"] == "gsm8k.jsonl"
    assert str(folder) not in json.dumps(local.origin)


def test_prompts_that_leave_no_room_are_refused_before_anything_is_drawn(folder: Path) -> None:
    engine = Scripted("x", context=400)
    with pytest.raises(
        PrerequisiteError, match=r"400 positions; [\s\S]*--max-completion-length \d+"
    ):
        ran("math500", engine, fits=True)
    assert engine.prompts == []


def test_own_settings_change_a_page_and_greedy_is_one_sample() -> None:
    page = read_page("aime24").changed(
        k=None, temperature=0.0, top_p=None, max_completion_length=64
    )
    assert (page.k, page.decoding) == (1, Decoding(0.0, 0.95, 64))
    with pytest.raises(SpecError, match="16 samples at temperature 0"):
        read_page("aime24").changed(k=16, temperature=0.0)
