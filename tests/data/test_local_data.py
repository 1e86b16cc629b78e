"""Real problems from a local folder: the GSM8K layout, its refusals, and the fingerprint that ties
a grid to the content of its files.
"""

import gzip
import json
from pathlib import Path

import pytest

from study.data.jsonl import repeats
from study.data.load import load
from study.errors import PrerequisiteError, RecordMismatch
from study.grading.boxed import Outcome, grade
from study.spec.identity import stage_id
from study.spec.recipe.corpus import SolutionCorpus
from study.spec.recipe.data import JsonlData
from study.spec.recipe.model import Architecture, BpeTokenizer, PretrainedLab
from study.spec.recipe.training import Optimisation, SupervisedTraining
from study.train.supervised import encode, reference, write_documents

ROWS = [
    {
        "question": f"What is {i} + {i}?",
        "answer": f"{i} + {i} = <<{i}+{i}={2 * i}>>{2 * i}\n#### {2 * i}",
    }
    for i in range(40)
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JsonlData:
    for name, rows in (("train.jsonl", ROWS), ("test.jsonl", ROWS[:10])):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    return JsonlData(
        train="train.jsonl",
        held_out="test.jsonl",
        answer_after="####",
        selection_size=8,
        prompt_suffix=" Box it.",
    )


def test_gsm8k_rows_become_problems_in_disjoint_splits(data: JsonlData) -> None:
    train = load(data, "train")
    selection = load(data, "selection")
    held_out = load(data, "held_out")
    assert (len(train), len(selection), len(held_out)) == (32, 8, 10)
    assert not {p.prompt for p in train} & {p.prompt for p in selection}
    assert train[3].prompt == "What is 3 + 3? Box it."
    assert train[3].answer == "6"
    assert grade(reference(train[3]), "6") is Outcome.correct


def test_the_same_stage_reads_them_with_a_bpe_tokenizer(data: JsonlData) -> None:
    from study.models.lab import build_tokenizer

    recipe = PretrainedLab(
        name="student",
        data=data,
        corpus=SolutionCorpus(),
        tokenizer=BpeTokenizer(vocab_size=320),
        architecture=Architecture(
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=64,
        ),
        training=SupervisedTraining(
            steps=2,
            documents_per_step=40,
            optimisation=Optimisation(learning_rate=1e-3),
            max_length=256,
        ),
    )
    documents = write_documents(recipe, seed=0)
    assert len(documents) == 80
    tokenizer = build_tokenizer(recipe.tokenizer, [d.user + d.assistant for d in documents])
    row = encode(documents[:1], tokenizer, 256)[0]
    spoken = [i for i in row["labels"] if i != -100]
    assert tokenizer.decode(spoken, skip_special_tokens=True) == documents[0].assistant
    assert spoken[-1] == tokenizer.eos_token_id


def test_an_edited_file_is_another_experiment(data: JsonlData, tmp_path: Path) -> None:
    def identity(source: JsonlData) -> str:
        corpus, training = (
            SolutionCorpus(),
            SupervisedTraining(
                steps=1,
                documents_per_step=1,
                optimisation=Optimisation(learning_rate=1e-3),
                max_length=8,
            ),
        )
        architecture = Architecture(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
            num_key_value_heads=1, head_dim=8,
            max_position_embeddings=64,
        )  # fmt: skip
        return stage_id(
            PretrainedLab(
                name="s", architecture=architecture, data=source, corpus=corpus, training=training
            ),
            0,
        )

    before = data.fingerprinted()
    (tmp_path / "train.jsonl").write_text(
        json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1]), encoding="utf-8"
    )
    assert identity(before) != identity(data.fingerprinted())
    with pytest.raises(RecordMismatch, match="changed after the grid was planned"):
        load(before, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", r"train.jsonl:1: not JSON"),
        ('{"question": "q"}', r"no column 'answer'; the columns are question"),
        ('{"question": "q", "answer": "42"}', r"the answer holds no '####'"),
    ],
)
def test_a_bad_row_is_named_with_its_line(
    data: JsonlData, tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "train.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(PrerequisiteError, match=message):
        load(data, "train")


def test_a_missing_file_says_where_it_was_looked_for(data: JsonlData, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(PrerequisiteError, match="STUDY_DATA"):
        load(data, "held_out")


def test_a_packed_file_gives_the_same_problems(data: JsonlData, tmp_path: Path) -> None:
    packed = gzip.compress((tmp_path / "train.jsonl").read_bytes())
    (tmp_path / "train.jsonl.gz").write_bytes(packed)
    same = data.model_copy(update={"train": "train.jsonl.gz"}).fingerprinted()
    assert load(same, "train") == load(data, "train")


def test_a_gold_that_is_a_float_goes_with_every_completion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    rows = [{"question": f"{n} thirds?", "answer": n / 3} for n in (1, 2, 4, 5)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = JsonlData(train="x.jsonl", held_out="x.jsonl", selection_size=1)
    problem = load(found, "train")[1]
    sample = problem.sample(r"\boxed{2/3}", truncated=True)
    assert sample == (r"\boxed{2/3}", repr(2 / 3), True, "2 thirds?", True)


def test_repeats_are_told_by_split_and_across_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))

    def written(name: str, texts: list[str]) -> None:
        rows = [{"question": text, "answer": "1"} for text in texts]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    written("a.jsonl", ["one", "two", "two ", "three", "four"])
    written("b.jsonl", ["five", "three", "five"])
    data = JsonlData(train="a.jsonl", held_out="b.jsonl", selection_size=1)
    assert repeats(data) == [
        "train: 1 of 4 problems repeat an earlier one",
        "held_out: 1 of 3 problems repeat an earlier one",
        "1 of 3 held-out problems are also in training",
    ]
    written("b.jsonl", ["five", "six"])
    written("a.jsonl", ["one", "two"])
    assert repeats(data) == []
