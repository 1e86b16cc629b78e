"""The command line as a user meets it: light, quick, and with one message for a mistake."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.cli import console, main
from study.cli.options import parse_seeds
from study.errors import RunFailed, SpecError
from tests.support.paths import ROOT

HEAVY = ("torch", "pandas", "mlflow", "matplotlib", "transformers", "scipy", "numpy")


def study(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "STUDY_DATA"} | {
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "120",
    }
    command = [sys.executable, "-m", "study.cli.main", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["plan", "--grid", "math"],
        ["show", "rlvr,biased_k5,standard"],
        ["run", "--help"],
        ["run", "--grid", "smoke", "--dry-run"],
    ],
)
def test_looking_loads_nothing_heavy_and_writes_nothing(
    arguments: list[str], tmp_path: Path
) -> None:
    code = f"""
import sys
from study.cli import main
sys.argv = ["study", *{arguments!r}]
try:
    main.main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_help_names_every_verb(tmp_path: Path) -> None:
    done = study("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in main.VERBS)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["plan", "--grid", "maths"],
            2,
            "study: no grid named 'maths'; did you mean 'math'?\n  -> known grids: core, full, ",
        ),
        (
            ["plan", "--grid", "math", "--only", "biased_k6"],
            2,
            "selects no run of this grid; did you mean",
        ),
        (["plan", "--grid", "math", "--seeds", "one"], 2, "--seeds 'one' is not a list of seeds"),
        (["plan", "--grid", "math", "--scale", "laboratory"], 2, "no scale named 'laboratory'"),
        (["report", "--scale", "laboratory"], 2, "no scale named 'laboratory'"),
        (["show", "biased_k5"], 2, "matches 3 cells"),
        (["plan", "--gird", "math"], 2, "No such option: --gird"),
        (["plna"], 2, "No such command 'plna'"),
    ],
)
def test_a_mistake_is_one_message_and_an_exit_code(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    done = study(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_misspelt_key_in_a_grid_of_the_working_folder_names_its_line(tmp_path: Path) -> None:
    page = tmp_path / "experiments" / "grids" / "mine.yaml"
    page.parent.mkdir(parents=True)
    text = (
        (ROOT / "experiments" / "grids" / "smoke.yaml")
        .read_text(encoding="utf-8")
        .replace("stop_gradient, k: 1", "stop_gradient, kk: 1")
    )
    page.write_text(text, encoding="utf-8")
    line = 1 + text[: text.index("kk:")].count("\n")
    done = study("plan", "--grid", "grids/mine.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"study: grids/mine.yaml:{line} objective.kk: unknown field 'kk'; did you mean 'k'?"
    )


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (SpecError("wrong", hint="do this"), 2),
        (RunFailed("one failed"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    raised: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def app(*, standalone_mode: bool) -> None:
        raise raised

    monkeypatch.setattr(main, "build_app", lambda: app)
    with pytest.raises(SystemExit) as leaving:
        main.main()
    assert leaving.value.code == code
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert str(raised) in shown


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`study show ... | head -1`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m study.cli.main show rlvr,full,standard | head -1"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith("distill-full_reverse_kl-from_grpo-120steps-")
    assert not done.stderr


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(*, standalone_mode: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "build_app", lambda: app)
    with pytest.raises(ZeroDivisionError):
        main.main()


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "results"), True),
        (OSError(errno.ENOSPC, "No space left on device", "results"), True),
        (OSError(errno.EIO, "Input/output error", "results"), False),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "results"), False),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_message(
    error: OSError,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "build_app", lambda: refuse)
    with pytest.raises(SystemExit if shown else OSError) as ended:
        main.main()
    if shown:
        assert isinstance(ended.value, SystemExit)
        assert ended.value.code == 1
        assert f"study: results: {error.strerror}\n  ->" in capsys.readouterr().err


def test_seeds_are_numbers_and_ranges() -> None:
    assert parse_seeds(None) is None
    assert parse_seeds("0,2-4,2") == (0, 2, 3, 4)
    far = ("0-99999999999", "2147483648", "4-2", "0-20000", "\u00b2", "9" * 5000)
    for wrong in ("", "a", "1-", "-1", "1.5", *far):
        with pytest.raises(SpecError):
            parse_seeds(wrong)


def test_tables_off_a_terminal_are_plain_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["name", "n"], [["a", 1], ["longer", 20]], right=[1])
    console.say("done", "good")
    console.status("never seen in a log")
    assert capsys.readouterr().out == "name     n\na        1\nlonger  20\ndone\n"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_tables_on_a_terminal_fold_into_its_width_and_lose_no_letter(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    cell, why = "distill-topk_biased-k5-from_grpo-0092bbfd", "no record yet [3 stages missing]"
    console.table(["cell", "why", "n"], [[cell, why, 5]], right=[2])
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= columns for line in lines)
    assert sorted("".join(lines[1:]).replace(" ", "")) == sorted(f"{cell}{why}5".replace(" ", ""))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.4, "3 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7200, "2.0 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.slow
def test_check_finds_every_shipped_file_right_and_names_a_wrong_one(tmp_path: Path) -> None:
    """Data files of other scales are not part of a clone, which is no fault of a grid."""
    page = tmp_path / "experiments" / "figures" / "99.yaml"
    page.parent.mkdir(parents=True)
    head = "number: 99\ntitle: t\ngrid: math\nscale: lab\nkind: curves\n"
    rows = "rows:\n  - {title: a, arms: [{objective: full}]}\n"
    page.write_text(head + rows, encoding="utf-8")
    done = study("check", cwd=tmp_path)
    assert done.returncode == 2
    assert "grids/math.yaml at lab: 24 cells, 120 runs" in done.stdout
    assert "ok  scales/gsm8k.yaml: not checked further: scales/gsm8k.yaml:" in done.stdout
    bad = [line for line in done.stdout.splitlines() if line.startswith("BAD")]
    problem = "objective=full names 2 cells of grid math, not one"
    assert bad == [f"BAD  figures/99.yaml: figures/99.yaml: {problem}"]


def test_planning_a_scale_without_its_data_names_the_missing_file(tmp_path: Path) -> None:
    planned = study("plan", "--grid", "smoke", "--scale", "gsm8k", cwd=tmp_path)
    assert planned.returncode == 1
    missing = "gsm8k-train.jsonl does not exist\n  -> set STUDY_DATA to the folder that holds it"
    assert missing in planned.stderr


def test_show_prints_value_origin_identity_and_the_papers_value(tmp_path: Path) -> None:
    done = study("show", "rlvr,biased_k20,standard", cwd=tmp_path)
    line = next(
        line
        for line in done.stdout.splitlines()
        if line.startswith("model.training.sampling.top_p")
    )
    assert line.split("  ")[0] == "model.training.sampling.top_p"
    assert "scales/lab.yaml:" in line
    assert "yes" in line
    assert "0.95 [W Table 1]" in line
    assert any(
        line.startswith("model.objective.k ") and "grids/math.yaml:" in line
        for line in done.stdout.splitlines()
    )
