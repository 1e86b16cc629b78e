"""The distribution: its wheel works in an empty environment elsewhere, its metadata gives ranges,
its pins are one consistent set.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from study import __version__
from tests.support.paths import ROOT
from tests.tree import PAGE, tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in requirements:
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), (
            f"{requirement} is not an exact pin"
        )
    return {
        canonicalize_name(r.name): Version(str(r.specifier).removeprefix("=="))
        for r in requirements
    }


def declared(extra: str | None = None) -> list[Requirement]:
    lines = PROJECT["dependencies"] if extra is None else EXTRAS[extra]
    return [
        requirement
        for requirement in map(Requirement, lines)
        if requirement.name != PROJECT["name"]
    ]


@pytest.mark.parametrize("extra", [None, "lab", "dev", "wandb"])
def test_every_declared_range_holds_its_pin(extra: str | None) -> None:
    pinned = pins()
    for requirement in declared(extra):
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(pinned[name]), (
            f"{requirement} does not hold {pinned[name]}"
        )


@pytest.mark.parametrize("extra", [None, "lab", "gpu", "wandb"])
def test_metadata_gives_ranges_and_not_pins(extra: str | None) -> None:
    for requirement in declared(extra):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, f"{requirement} should have a lower and an upper bound"


def test_the_core_has_no_training_stack() -> None:
    heavy = {"torch", "transformers", "trl", "vllm", "lm-eval", "mlflow", "datasets", "accelerate"}
    assert heavy.isdisjoint(canonicalize_name(requirement.name) for requirement in declared())
    assert heavy - {"vllm"} <= {
        canonicalize_name(requirement.name) for requirement in declared("lab")
    }


def test_this_environment_is_the_pinned_one() -> None:
    """The tests speak for the pins only where they ran with them; a local build suffix (+cpu) is
    the same release.
    """
    pinned = pins()
    for requirement in [*declared(), *declared("lab")]:
        name = canonicalize_name(requirement.name)
        assert Version(version(name)).public == pinned[name].public, (
            f"{name} {version(name)} is installed"
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(ROOT),
    ]
    run(command, out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment with the wheel and its core dependencies, from the
    index that pip is set up for.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    run([sys.executable, "-m", "venv", str(home / "env")], home)
    python = home / "env" / "bin" / "python"
    run(
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            "--constraint",
            str(ROOT / "constraints.txt"),
            str(wheel),
        ],
        home,
    )
    return python.parent


def run(command: list[str], folder: Path, *, expect: int = 0) -> str:
    """Standard output and error of a command that must end with `expect`; PYTHONPATH does not leak
    into it.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == expect, (
        f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout + done.stderr


@pytest.mark.network
def test_the_wheel_installs_cleanly_without_the_training_stack(
    elsewhere: Path, tmp_path: Path
) -> None:
    assert "No broken requirements" in run(
        [str(elsewhere / "python"), "-m", "pip", "check"], tmp_path
    )
    installed = run([str(elsewhere / "python"), "-m", "pip", "list", "--format=freeze"], tmp_path)
    assert "torch==" not in installed
    assert f"opd_study=={__version__}" in installed.replace("-", "_")


@pytest.mark.network
def test_the_wheel_works_in_any_folder(elsewhere: Path, tmp_path: Path) -> None:
    study = str(elsewhere / "study")
    assert "plan" in run([study, "--help"], tmp_path)
    assert "biased_k1" in run([study, "plan", "--grid", "grids/smoke.yaml"], tmp_path)
    assert "stop_gradient_k20" in run([study, "plan", "--grid", "math"], tmp_path)
    assert "BAD" not in run([study, "check"], tmp_path)
    assert not list(tmp_path.iterdir()), "looking at a plan leaves nothing behind"


@pytest.mark.network
def test_the_wheel_ships_every_experiment_page(elsewhere: Path, tmp_path: Path) -> None:
    code = "import study, pathlib; print(pathlib.Path(study.__file__).parent / '_experiments')"
    shipped = Path(run([str(elsewhere / "python"), "-c", code], tmp_path).strip())
    assert ROOT not in shipped.parents
    for page in (ROOT / "experiments").rglob("*.yaml"):
        assert (shipped / page.relative_to(ROOT / "experiments")).read_bytes() == page.read_bytes()


@pytest.mark.network
def test_a_grid_in_the_working_folder_comes_first(elsewhere: Path, tmp_path: Path) -> None:
    grids = tmp_path / "experiments" / "grids"
    grids.mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "grids" / "smoke.yaml", grids / "smoke.yaml")
    text = (grids / "smoke.yaml").read_text(encoding="utf-8")
    (grids / "smoke.yaml").write_text(text.replace("biased_k1:", "mine_k1:"), encoding="utf-8")
    assert "mine_k1" in run([str(elsewhere / "study"), "plan", "--grid", "smoke"], tmp_path)


@pytest.mark.network
def test_running_without_the_lab_extra_says_what_to_install(
    elsewhere: Path, tmp_path: Path
) -> None:
    said = run([str(elsewhere / "study"), "run", "--grid", "smoke"], tmp_path, expect=1)
    assert "opd-study[lab]" in said
    assert "Traceback" not in said


def test_the_page_of_files_is_that_of_the_files() -> None:
    assert PAGE.read_text(encoding="utf-8") == tree(), "write it anew: python -m tests.tree"


def test_the_readme_names_every_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- tree:begin -->")[2].partition("<!-- tree:end -->")[0]
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for place in ("study", "analysis")
        for path in (ROOT / place).glob("*/*.py")
    }
    rooms = {room for room in rooms if room.startswith("study/")}
    assert rooms <= {f"study/{name}" for name in re.findall(r"^  (\w+)/", shown, re.MULTILINE)}
    linked = re.findall(r"\]\(([\w./]+)\)", text)
    assert [path for path in linked if not (ROOT / path).exists()] == []


def test_pre_commit_and_make_check_run_the_same_commands() -> None:
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    hooks = re.findall(r"entry: \.venv/bin/([^,}\n]+)", config)
    recipe = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    commands = re.findall(r"^\t\$\((?:BIN\)/|STUDY\))(.*)$", recipe, re.MULTILINE)
    wanted = {"study" + c if c.startswith(" ") else c for c in commands}
    assert {_bare(hook) for hook in hooks} == {_bare(command) for command in wanted}


def _bare(command: str) -> str:
    """Without the paths and interpreters that differ between a hook and a Makefile."""
    words = command.removesuffix(" .").split()
    return " ".join(w for w in words if w != "--pythonpath" and not w.startswith("$(BIN)"))
