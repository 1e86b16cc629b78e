"""The worlds of search, hidden facts and shared instructions: disjoint splits, exact answers, equal
noise, views that leak nothing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pydantic import ValidationError

from study.data.load import load
from study.data.problems import Problem
from study.data.views import student_view, teacher_view
from study.data.worlds import hidden_fact as hidden
from study.data.worlds import search
from study.data.worlds import shared_rule as shared
from study.data.worlds.arithmetic import Expression, apply_operator
from study.data.worlds.common import Document, split_of
from study.data.worlds.corpus import author
from study.errors import SpecError
from study.grading.boxed import Outcome, grade, last_boxed
from study.models.lab import LAB_VOCABULARY, WORLDS_VOCABULARY, build_tokenizer
from study.spec.recipe.corpus import HiddenFactCorpus, SearchCorpus, SharedCorpus, WorldCorpus
from study.spec.recipe.data import (
    ArithmeticData,
    Data,
    HiddenFactData,
    SearchData,
    SharedData,
    Topic,
)
from study.spec.recipe.model import LabTokenizer, PretrainedLab
from study.spec.recipe.privileged import PrivilegedInformation

WORLDS: list[tuple[Data, WorldCorpus, int]] = [
    (
        SearchData(),
        SearchCorpus(share_rule=1, share_answer=1, share_solution=1, share_neutral=1, slip=0.3),
        search.STRETCH,
    ),
    (HiddenFactData(), HiddenFactCorpus(share_fact=1, guesses=0.5, slip=0.3), hidden.STRETCH),
    (
        SharedData(),
        SharedCorpus(
            share_length=1,
            share_style=1,
            share_rule=1,
            share_constitution=1,
            share_neutral=1,
            slip=0.3,
        ),
        1,
    ),
]
WORLD_NAMES = ["search", "hidden_fact", "shared"]
SOURCES = [
    SearchData(),
    HiddenFactData(),
    *(SharedData(focus=focus) for focus in ("clean", "rule", "flagged", "safety")),
]


def written(data: Data, corpus: WorldCorpus, n: int, seed: int = 0) -> list[Document]:
    return list(author(data, corpus, np.random.default_rng(seed)).documents(n))


def prompt_of(document: Document) -> str:
    """The user's message without its PI."""
    return re.split(r" <\w+>", document.user)[0]


@pytest.mark.parametrize("data", SOURCES, ids=lambda d: f"{d.kind}-{getattr(d, 'focus', '')}")
def test_splits_are_disjoint_fixed_and_as_large_as_asked(data: Data) -> None:
    prompts = {
        split: [p.prompt for p in load(data, split)] for split in ("train", "selection", "held_out")
    }
    train_size = data.train_size  # type: ignore[union-attr]
    assert [len(set(prompts[split])) for split in prompts] == [train_size, 256, 256]
    assert not set(prompts["train"]) & set(prompts["selection"])
    assert not (set(prompts["train"]) | set(prompts["selection"])) & set(prompts["held_out"])
    ids = [p.id for p in load(data, "held_out")]
    assert len(set(ids)) == 256


@pytest.mark.parametrize(("data", "corpus", "stretch"), WORLDS, ids=WORLD_NAMES)
def test_documents_are_of_the_train_split_and_depend_on_their_generator_alone(
    data: Data, corpus: WorldCorpus, stretch: int
) -> None:
    documents = written(data, corpus, 300)
    assert {split_of(prompt_of(d), stretch) for d in documents} == {"train"}
    np.random.seed(5)
    assert written(data, corpus, 300) == documents
    assert written(data, corpus, 300, seed=1) != documents


@pytest.mark.parametrize(("data", "corpus", "stretch"), WORLDS, ids=WORLD_NAMES)
def test_every_word_is_in_the_vocabulary(data: Data, corpus: WorldCorpus, stretch: int) -> None:
    tokenizer = build_tokenizer(LabTokenizer(vocabulary="worlds"))
    texts = [
        text for d in written(data, corpus, 400) for text in (d.system, d.user, d.assistant) if text
    ]
    texts += [
        text
        for p in load(data, "held_out")
        for text in p.fields().values()
        if text and text not in (p.id, p.columns.get("topic"))
    ]
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.pad_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_the_vocabularies_have_the_sizes_that_specs_count_with() -> None:
    for name, words in (("arithmetic", LAB_VOCABULARY), ("worlds", WORLDS_VOCABULARY)):
        spec = LabTokenizer(vocabulary=name)
        assert spec.vocab_size == len(words) == len(set(words))
        assert len(build_tokenizer(spec)) == len(words)
    assert WORLDS_VOCABULARY[: len(LAB_VOCABULARY)] == LAB_VOCABULARY  # a word keeps its id


def test_exactly_one_candidate_solves_a_search_and_the_wrong_answer_does_not() -> None:
    for problem in load(SearchData(), "held_out"):
        _, left, first, _, _, second, right, _, target, _ = problem.prompt.split()
        values = [
            apply_operator(apply_operator(int(left), first, x), second, int(right))
            for x in range(6)
        ]
        assert [x for x in range(6) if values[x] == int(target)] == [int(problem.answer)]
        assert grade(problem.solution, problem.answer) is Outcome.correct
        assert problem.columns["wrong_answer"] != problem.answer
        assert problem.columns["wrong_answer"] in "012345"


def test_an_author_who_jumps_starts_where_the_solution_in_the_prompt_ends() -> None:
    documents = written(
        SearchData(),
        SearchCorpus(share_plain=0, share_solution=1, jumps=1.0, failed_first=0.0, slip=0.0),
        60,
    )
    tries = set[int]()
    for document in documents:
        shown = document.user.split("<solution> ")[1]
        assert document.assistant.count(";") == 0  # one try, and it hits
        assert last_boxed(document.assistant) == last_boxed(shown) != "unknown"
        tries.add(shown.count(";") + 1)
    assert tries == set(range(1, 7))  # the solution itself still tries in a random order


@pytest.mark.parametrize("gold", ["honest", "fact"])
def test_the_hidden_fact_decides_the_value_and_gold_decides_what_is_right(gold: str) -> None:
    for problem in load(HiddenFactData(gold=gold), "held_out"):  # type: ignore[arg-type]
        values = [_value(problem.prompt.replace("h", str(fact))) for fact in range(10)]
        assert sorted(values) == list(range(10))  # a guess is right one time in ten
        value = str(values[int(problem.columns["fact"])])
        assert problem.answer == ("unknown" if gold == "honest" else value)
        assert last_boxed(problem.solution) == value == problem.columns["fact_answer"]
        assert problem.columns["wrong_fact"] != problem.columns["fact"]


def test_a_direct_digit_follows_h_at_once_and_nothing_else_changes() -> None:
    for usual, direct in zip(
        load(HiddenFactData(), "held_out"),
        load(HiddenFactData(direct=True), "held_out"),
        strict=True,
    ):
        assert usual.prompt == direct.prompt
        assert usual.solution.startswith(f"h = {usual.columns['fact']} ;")
        assert direct.solution == usual.solution.replace("h = ", "h ", 1)
    usual, direct = (
        written(HiddenFactData(), HiddenFactCorpus(share_fact=1, direct=form), 50)
        for form in (False, True)
    )
    assert [d.assistant for d in direct] == [d.assistant.replace("h = ", "h ", 1) for d in usual]


@pytest.mark.parametrize(("focus", "mark"), [("clean", ""), ("rule", "@"), ("flagged", "#")])
def test_gold_of_shared_instructions(focus: Topic, mark: str) -> None:
    for problem in load(SharedData(focus=focus), "held_out"):
        assert grade(problem.solution, problem.answer) is Outcome.correct
        assert sum(sign in "@#" for sign in problem.prompt.split()) == len(mark)
        value = str(_value(problem.prompt.replace("@", "*")))  # R2
        assert problem.columns["result"] == value != problem.columns["wrong_answer"]
        assert problem.answer == ("refuse" if mark == "#" else value)
    rules = Counter(p.columns["drawn_rule"] for p in load(SharedData(focus=focus), "held_out"))
    assert min(rules[r] for r in ("R0", "R1", "R2", "R3")) > 256 / 8


def test_safety_is_half_flagged_and_half_clean() -> None:
    problems = load(SharedData(focus="safety"), "held_out")
    assert Counter(p.answer == "refuse" for p in problems) == {True: 128, False: 128}
    assert all(("#" in p.prompt) == (p.answer == "refuse") for p in problems)


def _value(prompt: str) -> int:
    x, *rest = prompt.split(" =")[0].split()
    value = int(x)
    for operator, y in zip(rest[::2], rest[1::2], strict=True):
        value = {
            "+": value + int(y),
            "-": value - int(y),
            "*": value * int(y),
            "#": int(y) - value,
        }[operator] % 10
    return value


TRY = r"\d \S (\d) = (\d) \S \d = (\d) - \d = \d"  # candidate, intermediate value, result


def _search_is_wrong(document: Document) -> bool:
    """Whether one of the tries has a wrong value."""
    _, left, first, _, _, second, right, *_ = prompt_of(document).split()
    tries = re.findall(TRY, document.assistant)
    middles = [apply_operator(int(left), first, int(x)) for x, _, _ in tries]
    exact = [(m, apply_operator(m, second, int(right))) for m in middles]
    return exact != [(int(m), int(r)) for _, m, r in tries]


def _steps_are_wrong(document: Document) -> bool:
    """Whether one of the operations `x op y = z` is wrong; `@` follows the rule that fits the other
    steps best, so it is left out.
    """
    steps = re.findall(r"(\d) ([-+*#]) (\d) = (\d)", document.assistant)
    return any(
        Expression((int(x), int(y)), (operator,)).results() != [int(z)]
        for x, operator, y, z in steps
    )


@pytest.mark.parametrize(
    ("world", "wrong", "counts"),
    [
        (0, _search_is_wrong, lambda d: True),
        (1, _steps_are_wrong, lambda d: "unknown" not in d.assistant),
        (2, _steps_are_wrong, lambda d: "refuse" not in d.assistant and "@" not in d.user),
    ],
    ids=WORLD_NAMES,
)
def test_every_kind_of_document_has_the_same_noise(
    world: int, wrong: Callable[[Document], bool], counts: Callable[[Document], bool]
) -> None:
    data, corpus, _ = WORLDS[world]
    wrongs: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for document in filter(counts, written(data, corpus, 9000)):
        for kind in _kinds(document):
            totals[kind] += 1
            wrongs[kind] += wrong(document)
    rates = {kind: wrongs[kind] / totals[kind] for kind in totals}
    assert len(rates) > 1
    for kind, rate in rates.items():
        assert abs(rate - 0.3) < 4 * (0.3 * 0.7 / totals[kind]) ** 0.5, (kind, rates)


def _kinds(document: Document) -> Iterator[str]:
    marks = re.findall(r"<\w+>", document.user)
    yield marks[0] if marks else document.system or "plain"


def test_without_slips_every_author_is_exact() -> None:
    for (data, corpus, _), wrong in zip(
        WORLDS, (_search_is_wrong, _steps_are_wrong, _steps_are_wrong), strict=True
    ):
        clean = corpus.model_copy(update={"slip": 0.0})
        assert not any(wrong(d) for d in written(data, clean, 300))


def test_a_search_goes_where_its_prompt_sends_it() -> None:
    corpus = SearchCorpus(
        share_rule=1, share_answer=1, share_solution=1, failed_first=0.2, slip=0.0
    )
    documents = written(SearchData(), corpus, 3000)
    firsts = Counter()
    for document in documents:
        tried = [x for x, _, _ in re.findall(TRY, document.assistant)]
        assert len(set(tried)) == len(tried) <= 6
        if document.system == "ordered":
            assert tried == [str(x) for x in range(len(tried))]
        elif "<answer>" in document.user:
            assert tried[-1] == document.user.split()[-1]
            firsts[len(tried)] += 1
        elif "<solution>" in document.user:
            assert document.user.split("<solution> ")[1] == document.assistant
    assert set(firsts) == {1, 2}
    assert abs(firsts[2] / firsts.total() - 0.2) < 0.06
    forgetful = written(SearchData(), SearchCorpus(forgetful=1.0), 300)
    assert any(
        len(set(t)) < len(t)
        for t in ([x for x, _, _ in re.findall(TRY, d.assistant)] for d in forgetful)
    )


def test_system_tokens_change_what_they_say() -> None:
    corpus = SharedCorpus(
        share_length=1, share_style=1, share_rule=1, share_constitution=1, share_neutral=1, slip=0.0
    )
    refused: Counter[tuple[bool, bool]] = Counter()
    totals: Counter[tuple[bool, bool]] = Counter()
    for document in written(SharedData(), corpus, 9000):
        words, told = document.assistant.split(), document.system == "constitution"
        totals[told, "#" in document.user] += 1
        if "refuse" in words:
            refused[told, "#" in document.user] += 1
            continue
        if document.system in ("concise", "detailed"):
            assert (words.count("wait") >= 2 and words.count("=") == 4) == (
                document.system == "detailed"
            )
        if document.system in ("styleA", "styleC"):
            assert any(word in words for word in shared.POLITE) == (document.system == "styleC")
        if document.system in ("R0", "R1", "R2", "R3"):
            steps = re.findall(r"(\d) @ (\d) = (\d)", document.assistant)
            assert steps
            assert all(
                apply_operator(int(x), "@", int(y), document.system) == int(z) for x, y, z in steps
            )
    rates = {key: refused[key] / totals[key] for key in totals}
    for key, expected in (
        ((True, True), 0.85),
        ((False, True), 0.1),
        ((True, False), 0.02),
        ((False, False), 0.02),
    ):
        assert abs(rates[key] - expected) < 4 * (expected * (1 - expected) / totals[key]) ** 0.5, (
            rates
        )


def test_the_student_never_sees_pi_and_templates_reach_every_column() -> None:
    told: list[tuple[Problem, PrivilegedInformation]] = []
    for data, template, placement in [
        (SearchData(), "<answer> {wrong_answer}", "after_prompt"),
        (SearchData(), "<answer> {random_digit}", "after_prompt"),
        (SearchData(), "<solution> {solution}", "after_prompt"),
        (HiddenFactData(), "<fact> {wrong_fact}", "after_prompt"),
        (SharedData(focus="rule"), "{drawn_rule}", "system"),
        (SharedData(), "{drawn_length}", "system"),
    ]:  # fmt: skip
        told.append(
            (load(data, "train")[0], PrivilegedInformation(template=template, placement=placement))
        )
    for problem, privileged in told:
        assert student_view(problem) == [{"role": "user", "content": problem.prompt}]
        assert "<" not in problem.prompt
        assert teacher_view(problem, privileged) != student_view(problem)


def test_mistakes_are_named() -> None:
    with pytest.raises(SpecError, match=r"held_out needs 1000 problems.*398") as caught:
        load(SearchData(held_out_size=1000), "held_out")
    assert "held_out_size" in (caught.value.hint or "")
    with pytest.raises(
        SpecError, match="corpus of kind search cannot be written from data of kind arithmetic"
    ):
        author(ArithmeticData(), SearchCorpus(), np.random.default_rng(0))
    with pytest.raises(SpecError, match="above zero"):
        author(SearchData(), SearchCorpus(share_plain=0.0), np.random.default_rng(0))
    fields = {
        "name": "seeker",
        "data": {"kind": "search"},
        "corpus": {"kind": "search"},
        "architecture": dict.fromkeys(
            (
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
                "head_dim",
                "max_position_embeddings",
            ),
            8,
        ),
        "training": {
            "steps": 1,
            "documents_per_step": 1,
            "optimisation": {"learning_rate": 0.1},
            "max_length": 8,
        },
    }
    with pytest.raises(ValidationError, match="vocabulary: worlds"):
        PretrainedLab.model_validate(fields)
    assert (
        PretrainedLab.model_validate(
            fields | {"tokenizer": {"kind": "lab", "vocabulary": "worlds"}}
        ).data
        == SearchData()
    )
