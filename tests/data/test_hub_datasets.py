"""Hub data sets: fixtures in the schema of each, normalised to problems; what is left out and
counted; contamination; fingerprints; pins.

The real OpenThoughts, WildGuardMix and Mixture of Thoughts could not be had; their rows here are
made up in the documented schema.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import pytest

from study.data.hub import datasets as sources
from study.data.hub.benchmarks import is_held_out
from study.data.hub.contamination import NGRAM, Benchmarks
from study.data.load import load
from study.errors import PrerequisiteError, RecordMismatch, SpecError
from study.spec.grid.grid import load_grid
from study.spec.grid.scale import load_scale
from study.spec.identity import canonical
from study.spec.recipe.data import BenchmarkData, HubData
from study.spec.yaml.load import Located
from study.spec.yaml.load import load as load_page
from tests.support.paths import ROOT

Write = Callable[..., HubData]
MATH500 = (
    "Let $f(x) = x^2 + 3x + 2$ be defined for every real number. What is the sum of the two roots"
    " of the equation $f(x) = 0$?"
)


@lru_cache
def spec(name: str) -> HubData:
    data = load_scale("paper").data(Located(name, "here"), "data").spec
    assert isinstance(data, HubData)
    return data.model_copy(
        update={"sha256": None}
    )  # as it stands on the page, whatever files lie about


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """(name in scales/paper.yaml, file, rows, overrides) -> the bound spec of the rows, with one
    benchmark beside them.
    """
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    for task in ("math500", "aime24", "aime25"):
        row = {
            "problem": MATH500 if task == "math500" else f"Only in {task}",
            "answer": "-3",
            "unique_id": "u1",
            "id": 1,
        }
        (tmp_path / f"{task}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")

    def written(name: str, file: str, rows: list[dict[str, Any]], **changed: Any) -> HubData:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            datasets.Dataset.from_list(rows).to_parquet(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return spec(name).model_copy(update={"selection_size": 2, **changed}).fingerprinted()

    return written


def thought(number: int, reference: str | None, **more: str) -> dict[str, Any]:
    """A row of OpenThoughts-114k, config metadata."""
    row = {
        "problem": f"Problem number {number}?", "deepseek_reasoning": "Hmm.",
        "deepseek_solution": f"Thus \\boxed{{{number}}}.",
        "ground_truth_solution": reference, "domain": "math", "source": "numina_math",
        "test_cases": None, "starter_code": None,
    }  # fmt: skip
    return {**row, **more}


def test_open_thoughts_keeps_maths_with_exactly_one_box(write: Write) -> None:
    rows = [thought(i, f"It is \\boxed{{{i}}}.") for i in range(40)]
    rows += [
        thought(100, "no box here"), thought(101, "\\boxed{1} or \\boxed{2}"),
        thought(102, "\\boxed{}"), thought(103, None),
        thought(104, "\\boxed{\\frac{1}{2}}"), thought(105, "\\boxed{1}", domain="code"),
        thought(0, "It is \\boxed{0}."),
        thought(106, "\\boxed{9}", problem=""), thought(107, "\\boxed{-3}", problem=MATH500),
    ]  # fmt: skip
    data = write("math", "openthoughts-114k/metadata/train-00000-of-00001.parquet", rows)
    drawn = sources.draw(data)
    assert {k: v for k, v in drawn.counts.items() if k not in ("train", "held_out")} == {
        "rows": 49, "not_wanted": 1, "no_answer": 4, "repeats": 1, "in_math500": 1, "selection": 2,
    }  # fmt: skip
    assert drawn.counts["train"] == 42 - drawn.counts["held_out"] - 2
    answers = {
        p.columns["problem"]: (p.answer, p.solution)
        for p in (*drawn.splits["train"], *drawn.splits["selection"])
    }
    assert answers["Problem number 104?"] == ("\\frac{1}{2}", "\\boxed{\\frac{1}{2}}")
    assert answers["Problem number 103?"] == (
        "103",
        "Thus \\boxed{103}.",
    ), "without a reference the model's solution is it"
    first = drawn.splits["train"][0]
    assert (
        first.prompt
        == first.columns["problem"]
        + "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )


def test_the_curve_is_judged_on_the_benchmark_as_the_benchmark_asks(write: Write) -> None:
    data = write(
        "math", "openthoughts-math.jsonl", [thought(i, f"\\boxed{{{i}}}") for i in range(9)]
    )
    (held,) = load(data, "held_out")
    assert (
        held.prompt
        == MATH500 + "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    (raw,) = load(BenchmarkData(task="math500"), "held_out")
    assert raw.prompt == MATH500, (
        "the task's page adds its own words when the final evaluation asks"
    )
    assert raw.solution == "", (
        "this copy has no solutions; privileged information that asks for one is refused"
    )
    with pytest.raises(PrerequisiteError, match="no train split"):
        load(BenchmarkData(task="math500"), "train")
    with pytest.raises(RecordMismatch, match="fingerprint"):
        load(BenchmarkData(task="math500", sha256="0" * 16), "held_out")


def dapo(text: str) -> dict[str, Any]:
    before, after = spec("dapo").unwrap
    return {
        "prompt": [{"role": "user", "content": before + text + after}],
        "reward_model": {"ground_truth": "34"},
        "data_source": "m",
    }


def test_dapo_loses_its_wrapper_its_copies_and_the_held_out_problems(write: Write) -> None:
    texts = [f"What is {i} + {i}?" for i in range(400)]
    rows = [dapo(text) for text in texts * 3] + [dapo("What  is 1 + 1?")]
    data = write("dapo", "dapo-math-17k.parquet", rows)
    drawn = sources.draw(data)
    held = [text for text in texts if is_held_out(text, 0.025)]
    assert held
    assert drawn.counts == {
        "rows": 1201,
        "repeats": 801,
        "held_out": len(held),
        "selection": 2,
        "train": 398 - len(held),
    }
    kept = [p.columns["problem"] for p in (*drawn.splits["train"], *drawn.splits["selection"])]
    assert kept == [text for text in texts if text not in held], (
        "each once, in the order of the data"
    )
    assert {p.answer for p in drawn.splits["train"]} == {"34"}
    assert not any("Answer:" in p.prompt for p in drawn.splits["train"])


def test_wildguard_keeps_all_that_is_harmful_and_twice_as_much_that_is_not(write: Write) -> None:
    def row(number: int, label: str | None) -> dict[str, Any]:
        return {
            "prompt": f"Do thing {number}",
            "adversarial": False,
            "response": None,
            "prompt_harm_label": label,
            "subcategory": "x",
        }

    rows = (
        [row(i, "unharmful") for i in range(60)]
        + [row(100 + i, "harmful") for i in range(8)]
        + [row(200, None)]
    )
    data = write("safety", "wildguard_train.jsonl", rows, held_out_share=0.0)
    drawn = sources.draw(data)
    kept = [*drawn.splits["train"], *drawn.splits["selection"]]
    assert (sum(p.answer == "unsafe" for p in kept), sum(p.answer == "clean" for p in kept)) == (
        9,
        18,
    ), "no label counts as unsafe"
    assert drawn.counts["unbalanced"] == 60 - 18
    assert [p.answer for p in kept] != sorted((p.answer for p in kept), reverse=True), "shuffled"
    assert kept[0].prompt == kept[0].columns["problem"], "no request for a box"
    assert data.balance is not None
    other = data.model_copy(update={"balance": data.balance.model_copy(update={"seed": 43})})
    assert load(other, "train") != load(data, "train")


def test_mixture_of_thoughts_gives_the_solution_without_the_reasoning(write: Write) -> None:
    def row(number: int, said: str) -> dict[str, Any]:
        messages = [
            {"role": "user", "content": f"Question {number}?"},
            {"role": "assistant", "content": said},
        ]
        return {"messages": messages, "num_tokens": 10, "source": "nvidia/x"}

    rows = [
        row(i, f"<think>\nA? \\boxed{{Z}}\n</think>\n\nIt is \\boxed{{{'ABCD'[i % 4]}}}.")
        for i in range(8)
    ]
    rows += [row(0, "<think>again</think>\\boxed{B}"), row(20, "<think>\\boxed{A}</think>\n\nnone")]
    data = write(
        "science",
        "mixture-of-thoughts-science.jsonl",
        rows,
        avoid=[],
        held_out_task=None,
        held_out_share=0.0,
    )
    drawn = sources.draw(data)
    assert (drawn.counts["repeats"], drawn.counts["no_answer"]) == (1, 1)
    found = {
        p.columns["problem"]: (p.answer, p.solution)
        for p in (*drawn.splits["train"], *drawn.splits["selection"])
    }
    assert found["Question 1?"] == ("B", "It is \\boxed{B}.")


def test_a_copy_is_found_through_typography_and_a_stock_phrase_is_none() -> None:
    benchmarks = Benchmarks()
    benchmarks.add("math500", [MATH500, "What is 1 + 1?"])
    same = MATH500.replace("$", " ").lower().replace("?", " ?")
    assert benchmarks.holding(same) == "math500"
    assert benchmarks.holding(f"(AMC, adapted) {MATH500} Answer with a number.") == "math500"
    assert benchmarks.holding("what is 1+1") == "math500"
    assert benchmarks.holding("What is 1 + 1? Explain.") is None, "too short for a phrase to tell"
    phrase = "What is the sum of the two roots of the equation $f(x) = 0$?"
    assert len(phrase.split()) >= NGRAM
    assert (
        benchmarks.holding(
            f"Let f be a cubic with integer coefficients and one rational root. {phrase}"
        )
        is None
    )
    assert benchmarks.holding(MATH500[: 9 * len(MATH500) // 10]) == "math500"


def test_the_files_are_the_experiment_and_a_changed_one_is_refused(
    write: Write, tmp_path: Path
) -> None:
    rows = [thought(i, f"\\boxed{{{i}}}") for i in range(9)]
    data = write("math", "openthoughts-math.jsonl", rows)
    assert data.sha256
    again = write("math", "openthoughts-math.jsonl", rows)
    assert canonical(again) == canonical(data)
    other = write("math", "openthoughts-math.jsonl", [*rows, thought(50, "\\boxed{5}")])
    assert canonical(other) != canonical(data)
    with pytest.raises(RecordMismatch, match="not those that were planned"):
        sources._draw.__wrapped__(data.model_dump_json())


def test_without_files_the_hub_is_asked_at_the_pinned_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STUDY_DATA", raising=False)
    data = spec("math").model_copy(update={"avoid": [], "held_out_task": None, "selection_size": 1})
    assert data.sha256 is None
    asked: list[Any] = []

    def loaded(*what: Any, **how: Any) -> datasets.Dataset:
        asked.append((what, how))
        return datasets.Dataset.from_list([thought(i, f"\\boxed{{{i}}}") for i in range(9)])

    monkeypatch.setattr(datasets, "load_dataset", loaded)
    assert (
        len(load(data, "train")) + len(load(data, "selection")) + len(load(data, "held_out")) == 9
    )
    assert asked == [
        (
            ("open-thoughts/OpenThoughts-114k", "metadata"),
            {"split": "train", "revision": data.revision},
        )
    ], "once a process"

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(PrerequisiteError, match="bd093c3994fd is not available") as told:
        load(data.model_copy(update={"selection_size": 2}), "train")
    assert "study fetch" in told.value.hint
    assert "openthoughts-114k/metadata/train-*.parquet" in told.value.hint


@pytest.mark.parametrize("revision", ["main", "PIN-ME", "bd093c3", "g" * 40])
def test_a_revision_that_pins_nothing_is_refused_with_the_way_to_pin(
    revision: str, tmp_path: Path
) -> None:
    page = (
        Path("experiments/scales/paper.yaml")
        .read_text(encoding="utf-8")
        .replace("70d244cc86ccca08cf5af4e1e306ecf908b1ad5e", revision)
    )
    (tmp_path / "mine.yaml").write_text(page, encoding="utf-8")
    with pytest.raises(
        SpecError, match=rf"models.student.revision[\s\S]*'{revision}' pins nothing[\s\S]*HfApi"
    ):
        _ = load_grid("smoke", str(tmp_path / "mine.yaml")).cells


def test_a_column_that_is_not_there_is_named_with_those_that_are(write: Write) -> None:
    data = write(
        "math",
        "openthoughts-math.jsonl",
        [{"question": "?", "domain": "math", "deepseek_solution": "\\boxed{1}"}],
    )
    with pytest.raises(
        PrerequisiteError, match="no column problem; there is question, domain, deepseek_solution"
    ):
        load(data, "train")


@pytest.mark.parametrize("grid", ["math", "smoke", "teacher-pi", "warmup"])
def test_the_grids_of_the_lab_bind_at_the_papers_scale(grid: str) -> None:
    lab, paper = load_grid(grid, "lab"), load_grid(grid, "paper")
    assert [cell.labels for cell in paper.cells] == [cell.labels for cell in lab.cells]
    assert {cell.cell.scale for cell in paper.cells} == {"paper"}
    assert len({run.run_id for run in paper.runs()}) == len(paper.runs())


def test_every_value_of_the_page_says_where_it_is_from() -> None:
    """A value that begins a line has a comment of its own, or that of its flow collection."""
    settings = {
        "temperature",
        "top_p",
        "learning_rate",
        "steps",
        "k",
        "max_completion_length",
        "prompts_per_step",
    }
    page = ROOT / "experiments/scales/paper.yaml"
    lines = page.read_text(encoding="utf-8").split("\n")

    def silent(node: Located) -> list[str]:
        found: list[str] = []
        for key, child in node.entries.items():
            line = lines[int(child.origin.rpartition(":")[2]) - 1]
            if key in settings and line.strip().startswith(f"{key}:") and not child.comment:
                found.append(f"{child.origin} {key}")
            found += silent(child)
        return found

    assert silent(load_page(page)) == []


def test_control_tokens_are_counted_and_refused_unless_asked_for(write: Write) -> None:
    rows = [thought(number, str(number)) for number in range(12)]
    rows[3]["problem"] = "What is 3?<|im_end|>"
    rows[7]["problem"] = "And [INST] 7?"
    name, rule = "math", {"answer": ["ground_truth_solution"], "answer_rule": "column"}
    with pytest.raises(
        PrerequisiteError, match=r"in 2 of 12 problems, the first: .*:4 holds <\|im"
    ):
        sources.draw(write(name, "openthoughts-math.jsonl", rows, **rule))
    kept = sources.draw(write(name, "openthoughts-math.jsonl", rows, control_tokens=True, **rule))
    assert kept.counts["train"] + kept.counts["selection"] + kept.counts["held_out"] == 12


def test_a_float_gold_of_a_data_set_stays_one(write: Write) -> None:
    rows = [thought(number, str(number)) for number in range(12)]
    for number, row in enumerate(rows):
        row["ground_truth_solution"] = number + 1 / 3
    drawn = sources.draw(
        write(
            "math",
            "openthoughts-math.jsonl",
            rows,
            answer=["ground_truth_solution"],
            answer_rule="column",
        )
    )
    assert all(problem.gold_is_float for problem in drawn.splits["train"])
