"""A teacher behind a server: what is asked and read, what stands for tokens that it does not
return, and a stage that has one.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from study.errors import PrerequisiteError, SpecError
from study.models.loading import load_model
from study.models.logprobs import token_losses
from study.models.loss import bind
from study.models.server import processes
from study.models.server.client import ScoringFailed, scores
from study.models.server.scores import Returned, completed, coverage, cut_mass, with_written
from study.models.server.server import SERVER, ServerFailed
from study.spec.identity import canonical
from study.spec.machine.profile import Profile
from study.spec.machine.serving import TeacherServer
from study.spec.recipe.objective import PRESETS, Objective
from study.spec.recipe.teacher import ServerScoring, refused
from study.train import teachers
from tests.support.paths import ROOT
from tests.support.raw_server import Script, answering, dribble, whole
from tests.support.scoring_server import Score, serving, table
from tests.support.tiny_stages import distilled, history, run

K = 5
FILLED = Objective(support="student_topk", k=K, missing="student_value")


def of_model(folder: Path) -> Score:
    model = load_model(folder).eval()

    def score(ids: list[int]) -> list[list[float]]:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].log_softmax(-1).tolist()

    return score


def returned_of(logprobs_NV: torch.Tensor, tokens_N: torch.Tensor, k: int) -> Returned:
    values_NK, ids_NK = logprobs_NV.topk(k)
    return Returned(
        ids_NK,
        values_NK,
        logprobs_NV.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1),
        logprobs_NV.shape[-1],
    )


def random_sides(
    tokens: int = 6, vocabulary: int = 40
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(3)
    student_NV, teacher_NV = (
        2 * torch.randn(tokens, vocabulary, generator=drawn) for _ in range(2)
    )
    return (
        student_NV,
        teacher_NV.log_softmax(-1),
        torch.randint(vocabulary, (tokens,), generator=drawn),
    )


def server_recipe(objective: Objective, top_k: Any, **more: Any) -> Any:
    recipe = distilled(objective, **more)
    training = recipe.training.model_copy(update={"scoring": ServerScoring(top_k=top_k)})
    return type(recipe).model_validate(recipe.model_dump() | {"training": training.model_dump()})


# what is asked and what is read


def test_the_scores_are_those_of_the_tokens_after_the_prompt() -> None:
    rows, firsts, after = [[3, 9, 4, 7], [5, 6]], [2, 1], table()
    with serving(after) as server:
        found = scores(server.url, rows, firsts, 4, 64)
    assert [(s["model"], s["prompt"], s["prompt_logprobs"]) for s in server.seen] == [
        ("teacher", rows, 4)
    ]
    before, written = [9, 4, 5], [4, 7, 6]
    reference_NV = torch.tensor(after(before))
    assert torch.equal(found.ids_NK, reference_NV.topk(4).indices)
    assert torch.allclose(found.logprobs_NK, reference_NV.topk(4).values)
    assert found.written_N.tolist() == pytest.approx(
        [reference_NV[i, token].item() for i, token in enumerate(written)]
    )


def test_large_answers_come_in_several_requests_and_rows_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("study.models.server.client.AT_ONCE", 20)
    rows = [[1, 2, 3], [4, 5], [6] * 9, [7, 8]]
    with serving(table()) as server:
        found = scores(server.url, rows, [1] * 4, 4, 64)
    assert [s["prompt"] for s in server.seen] == [rows[:2], [rows[2]], [rows[3]]]
    assert len(found.written_N) == sum(len(row) - 1 for row in rows)


def place(*scored: tuple[str, object]) -> bytes:
    """An answer for the row 1, 2, 3 whose second position has these scores."""
    shown = {token: {"logprob": value} for token, value in scored}
    good = {str(token): {"logprob": -2.0} for token in range(3, 8)}
    choice = {"index": 0, "prompt_logprobs": [None, shown, good]}
    return json.dumps({"choices": [choice]}).encode()


FOUR = [("2", -1.0), ("5", -2.0), ("6", -2.0), ("7", -2.0)]
CHOICE = b'{"index": 0, "prompt_logprobs": [null, null, null]}'
UNUSABLE: dict[str, tuple[tuple[int, bytes], str]] = {
    "refused": ((400, b"prompt logprobs of 100"), r"refused a request \(400\)[\s\S]*max-logprobs"),
    "no json": ((200, b"no json"), "is not JSON"),
    "deep": ((200, b"[" * 200_000), "is not JSON"),
    "a list": ((200, b"[]"), "without prompt_logprobs"),
    "no scores": ((200, b'{"choices": [{"index": 0, "text": ""}]}'), "without prompt_logprobs"),
    "no index": ((200, b'{"choices": [{"prompt_logprobs": []}]}'), "without prompt_logprobs"),
    "short": (
        (200, b'{"choices": [{"index": 0, "prompt_logprobs": [null]}]}'),
        "scores of .1. tokens for rows of .3.",
    ),
    "one index twice": ((200, b'{"choices": [' + CHOICE + b"," + CHOICE + b"]}"), "answered once"),
    "another index": (
        (200, b'{"choices": [' + CHOICE.replace(b"0", b"1") + b"]}"),
        "answered once",
    ),
    "null": ((200, b'{"choices": [' + CHOICE + b"]}"), "no scores for token 2"),
    "written token missing": ((200, place(("9", -1.0))), "did not score token 2"),
    "too few": ((200, place(("2", -1.0))), "returned 1 tokens of a position"),
    "nan": ((200, place(("2", math.nan), *FOUR[1:])), "a value that is not a log-probability"),
    "minus infinity": (
        (200, place(("2", -math.inf), *FOUR[1:])),
        "a value that is not a log-probability",
    ),
    "above 0": ((200, place(("2", 0.5), *FOUR[1:])), "a value that is not a log-probability"),
    "true": ((200, place(("2", True), *FOUR[1:])), "a value that is not a log-probability"),
    "text": ((200, place(("2", "-1"), *FOUR[1:])), "a value that is not a log-probability"),
    "outside": ((200, place(*FOUR, ("64", -9.0))), "not one of the teacher's 64"),
    "negative id": ((200, place(*FOUR, ("-1", -9.0))), "not one of the teacher's 64"),
    "a word": ((200, place(*FOUR, ("the", -9.0))), "not one of the teacher's 64"),
    "one token twice": ((200, place(*FOUR, ("02", -9.0))), "one token twice"),
    "mass": ((200, place(("2", -0.1), ("5", -0.1), ("6", -9), ("7", -9))), "add up to 1.8"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_server_that_gives_no_scores_is_told_in_one_message(case: str) -> None:
    trouble, said = UNUSABLE[case]
    with serving(table()) as server:
        server.trouble = trouble
        with pytest.raises(ScoringFailed, match=said) as error:
            scores(server.url, [[1, 2, 3]], [1], 4, 64)
        assert server.url in str(error.value)
    with pytest.raises(ScoringFailed, match="no scores from the teacher server"):
        scores(server.url, [[1, 2, 3]], [1], 4, 64)  # it is gone


def test_a_rounding_error_above_0_is_0() -> None:
    row = [("2", 1e-7), ("5", -20.0), ("6", -20.0), ("7", -20.0)]
    with serving(table()) as server:
        server.trouble = (200, place(*row))
        found = scores(server.url, [[1, 2, 3]], [1], 4, 64)
    assert found.written_N[0] == 0.0


@pytest.mark.parametrize("script", [
    [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"],
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    [b"HTTP/1.1\r\n\r\n"],
    [whole(b" " * 3_000_000)],
    dribble(30),
], ids=["dead in the body", "bad chunk", "bad status line", "too large", "slow"])  # fmt: skip
def test_an_answer_that_breaks_or_does_not_end_is_one_error_with_the_server(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.models.server.client.ANSWER_S", 1.0)
    with answering(script) as url, pytest.raises(ScoringFailed) as error:
        scores(url, [[1, 2, 3]], [1], 4, 64)
    assert url in str(error.value)


# what stands for the tokens that are not returned


def test_a_row_is_completed_to_a_distribution_with_an_even_rest() -> None:
    _, teacher_NV, tokens_N = random_sides()
    returned = returned_of(teacher_NV, tokens_N, 6)
    row_NV = completed(returned, 40)
    assert torch.allclose(row_NV.exp().sum(-1), torch.ones(6), atol=1e-6)
    assert torch.allclose(row_NV.gather(-1, returned.ids_NK), returned.logprobs_NK)
    others = torch.ones_like(row_NV, dtype=torch.bool).scatter(-1, returned.ids_NK, False)
    assert all(len(set(row[mask].tolist())) == 1 for row, mask in zip(row_NV, others, strict=True))
    assert torch.equal(completed(returned_of(teacher_NV, tokens_N, 40), 40), teacher_NV)


def test_returned_tokens_that_the_student_does_not_have_are_cut() -> None:
    _, teacher_NV, tokens_N = random_sides()
    row_NV = completed(returned_of(teacher_NV, tokens_N, 40), 30)
    assert torch.equal(row_NV, teacher_NV[:, :30])
    assert torch.allclose(
        cut_mass(returned_of(teacher_NV, tokens_N, 40), 30), teacher_NV[:, 30:].exp().sum(-1)
    )


@pytest.mark.parametrize("missing", ["student_value", "floor", "intersection"])
def test_a_server_that_returns_k_tokens_is_the_teacher_that_the_policies_are_played_on(
    missing: Any,
) -> None:
    """Local and server agree where both know the teacher's k likeliest tokens and nothing more."""
    student_NV, teacher_NV, tokens_N = random_sides()
    objective = Objective(
        support="student_topk", k=K, missing=missing, normalisation="renormalised"
    )
    local = bind(objective)(student_NV, teacher_NV, tokens_N)
    result = token_losses(
        student_NV,
        torch.nn.Identity(),
        returned_of(teacher_NV, tokens_N, K),
        None,
        tokens_N,
        objective,
        chunk_tokens=4,
    )
    assert torch.allclose(result.loss_N, local.loss_N, atol=1e-6)
    assert torch.equal(result.diagnostics["support_size"], local.support_size_N)
    more = token_losses(
        student_NV,
        torch.nn.Identity(),
        returned_of(teacher_NV, tokens_N, 20),
        None,
        tokens_N,
        objective,
        chunk_tokens=9,
    )
    assert not torch.allclose(more.loss_N, local.loss_N, atol=1e-3)


@pytest.mark.parametrize(
    "name",
    [name for name, (fields, _) in PRESETS.items() if fields.get("missing", "exact") == "exact"],
)
def test_everything_returned_is_the_local_teacher(name: str) -> None:
    student_NV, teacher_NV, tokens_N = random_sides()
    fields = PRESETS[name][0]
    k = {"k": K} if str(fields.get("support", "full")) not in ("full", "sampled") else {}
    objective, head = Objective(**fields, **k, temperature=1.5), torch.nn.Identity()
    losses = [
        token_losses(student_NV, head, teacher, other, tokens_N, objective, chunk_tokens=9)
        for teacher, other in ((teacher_NV, head), (returned_of(teacher_NV, tokens_N, 40), None))
    ]
    assert torch.allclose(losses[0].loss_N, losses[1].loss_N, atol=1e-6)
    assert losses[0].diagnostics.keys() <= losses[1].diagnostics.keys()
    for key, values in losses[0].diagnostics.items():
        assert torch.allclose(values, losses[1].diagnostics[key], atol=1e-5), key
    assert torch.equal(losses[1].diagnostics["teacher_coverage"], torch.ones(6))


@pytest.mark.parametrize("gradient", ["score_function", "through"])
def test_the_written_token_is_always_known_to_the_sampled_form(gradient: Any) -> None:
    student_NV, teacher_NV, tokens_N = random_sides()
    objective = Objective(support="sampled", gradient=gradient)
    result = token_losses(
        student_NV,
        torch.nn.Identity(),
        returned_of(teacher_NV, tokens_N, 2),
        None,
        tokens_N,
        objective,
        chunk_tokens=9,
    )
    exact = bind(objective)(student_NV, teacher_NV, tokens_N).loss_N
    assert torch.allclose(result.loss_N, exact, atol=1e-5)
    ids_NK = with_written(returned_of(teacher_NV, tokens_N, 2), tokens_N).ids_NK
    assert all(
        (token in row[:2]) == (row[2] == 40)
        for token, row in zip(tokens_N.tolist(), ids_NK.tolist(), strict=True)
    )


def test_coverage_counts_the_students_tokens_and_their_probability() -> None:
    student_NV = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]]).log()
    returned = Returned(
        torch.tensor([[0, 3], [2, 3]]), torch.tensor([[-0.1, -3.0]] * 2), torch.zeros(2), 4
    )
    found = coverage(returned, torch.tensor([[0, 1], [0, 1]]), student_NV)
    assert found["teacher_coverage"].tolist() == [0.5, 0.0]
    assert found["teacher_coverage_mass"].tolist() == pytest.approx([0.5, 0.0])


# what may be declared


def test_local_scoring_is_no_part_of_an_identity_and_a_server_is() -> None:
    recipe = distilled(FILLED)
    assert "scoring" not in canonical(recipe)
    ids = {canonical(server_recipe(FILLED, top_k)) for top_k in (20, 100, "all")}
    assert len(ids | {canonical(recipe)}) == 4
    assert (
        Profile(teacher_server=TeacherServer(command=["x"])).environment("sft")[
            "STUDY_TEACHER_SERVER"
        ]
        == ""
    )


@pytest.mark.parametrize(
    ("objective", "top_k", "said"),
    [
        (Objective(), 20, "needs the teacher's whole distribution"),
        (Objective(support="student_topk", k=K), 20, "choose what stands for a missing one"),
        (
            Objective(support="teacher_topk", k=30),
            20,
            "needs the teacher's k likeliest tokens, and top_k is 20",
        ),
        (
            Objective(support="student_topk", k=K, missing="floor", temperature=2.0),
            20,
            "different temperatures of teacher and student",
        ),
        (Objective(), 0, "greater than or equal to 1"),
    ],
)
def test_a_loss_that_a_server_cannot_give_is_refused(
    objective: Objective, top_k: int, said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        server_recipe(objective, top_k)


def test_different_temperatures_where_they_are_asked_for() -> None:
    """The student's logits are divided, the teacher's stay at 1."""
    student_NV, teacher_NV, tokens_N = random_sides()
    hot = FILLED.model_copy(update={"temperature": 2.0})
    assert refused(hot, ServerScoring(top_k=20, different_temperatures=True)) is None
    head, returned = torch.nn.Identity(), returned_of(teacher_NV, tokens_N, 20)
    mixed = token_losses(student_NV, head, returned, None, tokens_N, hot, chunk_tokens=9).loss_N
    cold = token_losses(
        student_NV / 2, head, returned, None, tokens_N, FILLED, chunk_tokens=9
    ).loss_N
    assert torch.allclose(mixed, cold, atol=1e-6)


# a stage that has one


@contextlib.contextmanager
def threaded(folder: Path, _dtype: str) -> Iterator[Any]:
    with serving(of_model(folder)) as server:
        server.check = lambda: None  # type: ignore[attr-defined]
        yield server


@pytest.mark.slow
def test_a_stage_whose_server_returns_everything_is_the_stage_with_a_local_teacher(
    lab_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teachers, "_serving", threaded)
    objective = Objective(support="student_topk", k=K)
    local = history(run(distilled(objective), lab_models, tmp_path / "local"))
    server = history(run(server_recipe(objective, "all"), lab_models, tmp_path / "server"))
    assert server.keys() - local.keys() == {"train/teacher_coverage", "train/teacher_coverage_mass"}
    for name, column in local.items():
        assert [value is None for value in server[name]] == [value is None for value in column], (
            name
        )
        assert server[name][1:] == pytest.approx(column[1:], rel=1e-3, abs=1e-5), name
    assert server["train/teacher_coverage"][1:] == [1.0, 1.0]


def test_a_stage_with_a_small_top_k_says_what_was_covered_and_leaves_out_what_it_cannot_know(
    lab_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teachers, "_serving", threaded)
    columns = history(run(server_recipe(FILLED, 7), lab_models, tmp_path / "d"))
    assert all(0 < share < 1 for share in columns["train/teacher_coverage"][1:])
    assert all(0 < share < 1 for share in columns["train/teacher_coverage_mass"][1:])
    assert columns["train/teacher_coverage"][0] is None
    absent = {
        "train/reverse_kl",
        "train/teacher_entropy",
        "train/teacher_topk_mass",
        "train/teacher_cut_mass",
    }
    assert not absent & columns.keys()
    assert columns["train/topk_overlap"][-1] is not None
    trace = json.loads((tmp_path / "d" / "guard.json").read_text())["trace"]
    assert all(value is None for value in trace.get("train/reverse_kl", []))


def test_the_stage_starts_its_server_and_ends_it(
    lab_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The command of the profile, completed by what vLLM is told; what the server said is in the
    stage's output.
    """
    server = TeacherServer(
        command=[sys.executable, "-m", "tests.support.scoring_server"],
        options=["--option", "7"],
        timeout_s=60,
    )
    for name, value in Profile(teacher_server=server).environment("distill").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        "PYTHONPATH",
        os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    )
    columns = history(run(server_recipe(FILLED, 7, steps=1), lab_models, tmp_path / "d"))
    assert 0 < columns["train/teacher_coverage"][-1] <= 1  # pyright: ignore[reportOptionalOperand]
    said = json.loads(capfd.readouterr().err.partition("asked for ")[2].splitlines()[0])
    wanted = {
        "--model": str(lab_models["teacher"]),
        "--served-model-name": "teacher",
        "--dtype": "float32",
        "--max-logprobs": "-1",
    }
    assert (
        said.items()
        >= (
            wanted
            | {
                "--logprobs-mode": "processed_logprobs",
                "--option": "7",
                "--host": "127.0.0.1",
            }
        ).items()
    )
    assert not [
        pid
        for pid, marks in processes.marked(SERVER).items()
        if str(os.getpid()) in marks.get("STUDY_OWNER", "")
    ]


def test_without_a_profile_the_server_is_vllm_of_this_environment(tmp_path: Path) -> None:
    words = teachers.command(tmp_path, "bfloat16", TeacherServer())
    assert words[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    assert words[words.index("--dtype") + 1] == "bfloat16"


def test_a_server_that_does_not_start_ends_the_stage(
    lab_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = TeacherServer(command=[sys.executable, "-c", "raise SystemExit('no such model')"])
    monkeypatch.setenv("STUDY_TEACHER_SERVER", broken.model_dump_json())
    with pytest.raises(ServerFailed, match="ended before it was healthy"):
        run(server_recipe(FILLED, 7), lab_models, tmp_path / "d")


def test_the_server_sees_the_gpus_that_the_profile_gives_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert teachers._gpus([1]) == ["6"]
    assert teachers._gpus(None) is None
    with pytest.raises(SpecError, match="the stage sees 2 GPUs"):
        teachers._gpus([2])


def test_a_server_is_for_the_processes_of_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with (
        pytest.raises(PrerequisiteError, match="run on several"),
        teachers._started(tmp_path, "float32"),
    ):
        pass
