"""The check for circles of imports finds one made on purpose, wherever the import is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import circles
from tests.support.paths import ROOT

ABOVE = "from study.b import B\n"
INSIDE = "def f():\n    from study.b import B\n    return B\n"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import study.b\n"
RELATIVE = "from . import b\n"


def package(folder: Path, **files: str) -> Path:
    (folder / "study").mkdir()
    (folder / "analysis").mkdir()
    for name, text in {"__init__": "", **files}.items():
        (folder / "study" / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("text", [ABOVE, INSIDE, FOR_TYPES, RELATIVE])
def test_a_circle_is_found_wherever_the_import_is(tmp_path: Path, text: str) -> None:
    found = circles.check(
        package(tmp_path, a=text, b="from study.c import C\n", c="import study.a\n")
    )
    assert found == [
        "circle of imports through 3 files:",
        "  study/a.py imports study.b",
        "  study/b.py imports study.c",
        "  study/c.py imports study.a",
    ]


def test_imports_without_a_circle_pass(tmp_path: Path) -> None:
    text = "import json\nfrom study import c\nfrom study.c import C\n"
    assert circles.check(package(tmp_path, a=ABOVE, b=text, c="A = 1\n")) == []


def test_two_circles_are_two(tmp_path: Path) -> None:
    files = {"a": ABOVE, "b": "import study.a\n", "c": "import study.d\n", "d": "import study.c\n"}
    lines = circles.check(package(tmp_path, **files))
    assert [line for line in lines if line.startswith("circle")] == [
        "circle of imports through 2 files:",
        "circle of imports through 2 files:",
    ]


def test_the_command_passes_on_this_checkout() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.project.circles"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_names_the_files_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = package(tmp_path, a=ABOVE, b="import study.a\n")
    monkeypatch.setattr(circles, "ROOT", root)
    assert circles.main() == 1
    assert "study/a.py imports study.b" in capsys.readouterr().err
