"""The help of the command line: whole lines, panels in order, examples that parse."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli import main, verbs
from tests.support.paths import ROOT

ORDER = {
    "Start": "init plan declare run status",
    "Look": "show diff losses logs explain",
    "Judge": "evaluate grade compare power screen regrade",
    "Report": "analyze report table figure reproduce",
    "Keep": "publish verify export clean fetch sync-mlflow check preflight rehearse",
}


def help_of(*arguments: str, columns: int = 80) -> str:
    shown = CliRunner().invoke(
        main.build_app(), [*arguments, "--help"], prog_name="study", env={"COLUMNS": str(columns)}
    )
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_panels_are_in_the_order_of_the_work() -> None:
    assert {panel: " ".join(names) for panel, names in verbs.by_panel().items()} == ORDER
    headings = re.findall(r"^(\w+):$", help_of(), flags=re.M)
    assert headings == ["Options", *ORDER]


@pytest.mark.parametrize("columns", [80, 200])
def test_no_help_line_is_cut_or_wrapped(columns: int) -> None:
    lines = help_of(columns=columns).splitlines()
    assert all(len(line) <= 80 for line in lines)
    for name, verb in verbs.VERBS.items():
        assert [line for line in lines if re.fullmatch(rf"  {name} +{re.escape(verb.help)}", line)]


def test_panels_on_a_terminal_cut_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "is_terminal", lambda: True)
    shown = help_of()
    for panel, names in verbs.by_panel().items():
        assert f"─ {panel} ─" in shown
        for name, verb in names.items():
            assert re.search(rf"│ {name} +{re.escape(verb.help)} +│", shown), name


@pytest.mark.parametrize("name", list(verbs.VERBS))
def test_each_verb_ends_with_examples_that_parse(name: str) -> None:
    examples = verbs.VERBS[name].examples
    assert examples
    title = "Examples:" if len(examples) > 1 else "Example:"
    ending = "\n".join([title, *(f"  {example}" for example in examples)])
    assert help_of(name).rstrip().endswith(ending)
    for example in examples:
        program, verb, *arguments = shlex.split(example)
        assert (program, verb) == ("study", name)
        main.load(name).make_context(name, arguments)  # a usage error would be raised here


def test_only_the_verb_in_use_is_imported() -> None:
    code = """
import sys
from study.cli import main
names = {verb.module for verb in main.VERBS.values()}
assert not names & set(sys.modules), names & set(sys.modules)
main.load("export")
assert names & set(sys.modules) == {"study.cli.export"}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["losses", "rehearse", "evaluate", "fetch", "preflight"])
def test_help_of_a_verb_that_trains_or_samples_loads_no_torch(name: str) -> None:
    code = (
        f"import sys; from study.cli import main; main.load({name!r}); print([n for n in"
        " ('torch', 'transformers', 'huggingface_hub', 'mlflow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(("typed", "meant"), [("plna", "plan"), ("analyse", "analyze")])
def test_a_mistyped_verb_gets_a_suggestion(typed: str, meant: str) -> None:
    shown = CliRunner().invoke(main.build_app(), [typed])
    assert shown.exit_code == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'" in shown.output


def test_the_readme_lists_every_verb_as_the_table_does() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert verbs.with_verbs(text) == text, "run: python -m study.cli.verbs README.md"


def test_a_readme_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("no marks\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "study.cli.verbs", str(page)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert verbs.BEGIN in done.stderr
    assert page.read_text(encoding="utf-8") == "no marks\n"
