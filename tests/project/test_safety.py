"""Files, grids and records of others cannot run code here, write or read elsewhere, or carry
secrets away.
"""

import ast
import inspect
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from pydantic import ValidationError

import analysis
from study.errors import PrerequisiteError, RecordMismatch, SpecError
from study.record import folders
from study.record.checkpoints import Checkpoints
from study.record.schema import Record, seal_of
from study.record.secrets import hidden, secrets
from study.record.store import Results, one_name, read_record, write_record
from study.runner.graph.stages import RunPlan, stage_graph
from study.runner.verbs.publish import publish
from study.runner.work.artifacts import MANIFEST, seal_artifact, verify_artifact
from study.runner.work.execute import Work, execute_run, execute_stage
from study.runner.work.reporter import Reporter
from study.runner.work.worker import Failed, perform
from study.spec.grid.grid import load_grid
from study.spec.identity import cell_id
from study.spec.machine.profile import Profile
from study.spec.yaml.load import load
from tests.support.fake_work import WORK, cell
from tests.support.paths import ROOT
from tests.support.synthetic import record

OUTSIDE = [
    "../escaped",
    "../../escaped",
    "/tmp/escaped",
    "a/../../escaped",
    "a/b",
    "..",
    ".",
    "",
    "a\x00b",
    "a\\b",
]
TOKEN = "hf_abcdefghij0123456789"


# -- what the source may not do

CALLS = {"eval", "exec", "compile", "__import__"}  # as plain names: model.eval() is another thing
IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
DOTTED = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "pd.read_pickle",
    "torch.hub.load",
}


def offences(source: str) -> list[str]:
    """What a file does that can run the code of others, or a shell."""
    return [
        f"{node.lineno}: {what}" for node in ast.walk(ast.parse(source)) for what in _offences(node)
    ]  # type: ignore[attr-defined]


def _offences(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
        yield from (f"imports {name}" for name in names if name.partition(".")[0] in IMPORTS)
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"--trust[-_]remote[-_]code(=.*)?", node.value)
    ):
        yield "asks for remote code"
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if (
                isinstance(key, ast.Constant)
                and key.value == "trust_remote_code"
                and not _is(value, False)
            ):
                yield "trusts remote code"
    if isinstance(node, ast.Call):
        yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[str]:
    name, given = ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
    if name in CALLS or name.removeprefix("builtins.") in CALLS or name in DOTTED:
        yield f"calls {name}"
    if name.endswith("torch.load") and not _is(given.get("weights_only"), True):
        yield "torch.load without weights_only=True"
    if "trust_remote_code" in given and not _is(given["trust_remote_code"], False):
        yield "trusts remote code"
    if name.endswith(".from_pretrained") and not _is(given.get("trust_remote_code"), False):
        yield "from_pretrained without trust_remote_code=False"
    if re.search(r"Model\w*\.from_pretrained$", name) and not _is(
        given.get("use_safetensors"), True
    ):
        yield "a model without use_safetensors=True"
    if not _is(given.get("shell", ast.Constant(False)), False) or not _is(
        given.get("allow_pickle", ast.Constant(False)), False
    ):
        yield "a shell, or a pickle"
    if name == "YAML" and not _is(given.get("typ"), "safe"):
        yield "YAML that is not safe"


def _is(node: ast.AST | None, value: object) -> bool:
    return (
        isinstance(node, ast.Constant) and node.value is value
        if isinstance(value, bool)
        else getattr(node, "value", None) == value
    )


@pytest.mark.parametrize("package", ["study", "analysis"])
def test_no_source_file_runs_the_code_of_others(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {
        path.relative_to(ROOT).as_posix(): told
        for path in files
        if (told := offences(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')", "exec(x)", "compile(x, 'a', 'exec')", "__import__('os')", "builtins.eval('1')",
        "import pickle",
        "from pickle import loads",
        "import yaml", "from joblib import load", "torch.load(p)",
        "torch.load(p, weights_only=False)", "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)", "a = {'trust_remote_code': True}",
        "a = ['--trust-remote-code']", "AutoTokenizer.from_pretrained(p)",
        "AutoModelForCausalLM.from_pretrained(p, trust_remote_code=False)",
        "subprocess.run(x, shell=True)", "os.system(x)", "YAML()",
        "YAML(typ='unsafe')", "np.load(p, allow_pickle=True)",
    ],
)  # fmt: skip
def test_the_walk_finds_each_of_them(source: str) -> None:
    assert offences(source)


def test_the_walk_lets_harmless_ones_pass() -> None:
    assert (
        offences(
            "model.eval()\nre.compile('a')\nsubprocess.run(x)\ntorch.load(p,"
            " weights_only=True)\nYAML(typ='safe')"
        )
        == []
    )


# -- weights and YAML


def test_pickled_weights_are_refused_with_one_message(tmp_path: Path) -> None:
    from study.models.loading import load_model

    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(
        PrerequisiteError,
        match=r"no \*\.safetensors \(pytorch_model\.bin\); pickled weights are never loaded",
    ) as caught:
        load_model(tmp_path)
    assert "save_pretrained" in caught.value.hint
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch owned']",
        "!!python/name:os.system",
        "!!binary aGk=",
        "!mine x",
    ],
)
def test_a_yaml_tag_is_an_error_with_its_line(tag: str, tmp_path: Path) -> None:
    page = tmp_path / "grid.yaml"
    page.write_text(f"name: x\nquestion: {tag}\n")
    with pytest.raises(SpecError, match=r"grid\.yaml:2: tags are not supported"):
        load(page)
    assert not Path("owned").exists()


# -- paths


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_id_is_one_part_of_a_path(name: str, tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    for place in (
        results.run,
        results.record,
        results.stage,
        results.artifact,
        results.checkpoints,
        one_name,
    ):
        with pytest.raises(RecordMismatch, match="not the id of a run or a stage"):
            place(name)
    with pytest.raises(RecordMismatch):
        results.partial(name, "owner")


def made(results: Results, k: int = 1) -> Path:
    plan = RunPlan(f"{cell_id(cell(k))}-s0", cell_id(cell(k)), cell(k), 0)
    for node in stage_graph(plan.cell.model, 0):
        execute_stage(node, results, WORK, lambda *_: None)
    execute_run(plan, results, WORK, lambda *_: None)
    return results.record(plan.run_id)


@pytest.mark.parametrize(
    ("field", "value"),
    [("run", "../x"), ("cell", "/etc/x"), ("run", "a\x00"), ("stages", {"distill": "../../x"})],
)
def test_a_record_with_a_path_for_an_id_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    results = Results(tmp_path)
    path = made(results)
    content = json.loads(path.read_bytes()) | {field: value}
    path.write_text(json.dumps(content | {"seal": seal_of(content)}))
    with pytest.raises(RecordMismatch, match=field):
        read_record(path)
    with pytest.raises(ValidationError):
        Record.model_validate(content)
    with pytest.raises(RecordMismatch, match=field):
        publish(results, tmp_path / "records")
    assert not (tmp_path / "records").exists()


def test_a_record_under_the_name_of_another_run_is_refused(tmp_path: Path) -> None:
    runs = load_grid("smoke").runs()
    write_record(tmp_path / f"{runs[0].run_id}.json", record(runs[0], 0.3, 0.8))
    (tmp_path / f"{runs[1].run_id}.json").write_bytes(
        (tmp_path / f"{runs[0].run_id}.json").read_bytes()
    )
    with pytest.raises(RecordMismatch, match="holds the record of another run"):
        analysis.load(tmp_path, grid="smoke")


def sealed_artifact(folder: Path) -> Path:
    partial, target = folder / "partial", folder / "stage-00000000"
    partial.mkdir(parents=True)
    (partial / "weights").write_bytes(b"weights")
    seal_artifact(partial, target, {"id": target.name})
    return target


@pytest.mark.parametrize(
    "key", ["../outside", "../../outside", "/etc/hostname", "sub/../../outside", "a\x00b"]
)
def test_a_manifest_that_names_files_elsewhere_is_refused(key: str, tmp_path: Path) -> None:
    target = sealed_artifact(tmp_path / "a")
    outside = tmp_path / "a" / "outside"
    outside.write_bytes(b"weights")
    manifest = json.loads((target / MANIFEST).read_bytes())
    (target / MANIFEST).write_text(
        json.dumps(manifest | {"files": {key: manifest["files"]["weights"]}})
    )
    with pytest.raises(RecordMismatch, match=r"outside the folder|is missing"):
        verify_artifact(target)
    assert outside.exists()


def test_a_link_in_an_artifact_is_refused_when_it_is_sealed_and_when_it_is_read(
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "sub").mkdir(parents=True)
    (elsewhere / "sub" / "weights").write_bytes(b"weights")
    for name, points_to in (("weights", elsewhere / "sub" / "weights"), ("sub", elsewhere / "sub")):
        partial = tmp_path / f"partial-{name}"
        partial.mkdir()
        (partial / name).symlink_to(points_to)
        with pytest.raises(RecordMismatch, match="is a link"):
            folders.seal_folder(partial, tmp_path / "target", {}, MANIFEST)
    assert not (tmp_path / "target").exists()
    target = sealed_artifact(tmp_path / "b")
    (target / "weights").unlink()
    (target / "weights").symlink_to(elsewhere / "sub" / "weights")  # the right bytes, for now
    with pytest.raises(RecordMismatch, match="weights is missing"):
        verify_artifact(target)


def test_a_link_for_a_folder_inside_an_artifact_is_refused(tmp_path: Path) -> None:
    partial, target = tmp_path / "partial", tmp_path / "stage-00000000"
    (partial / "sub").mkdir(parents=True)
    (partial / "sub" / "weights").write_bytes(b"weights")
    seal_artifact(partial, target, {"id": target.name})
    (target / "sub").rename(tmp_path / "elsewhere")
    (target / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordMismatch, match="is missing"):
        verify_artifact(target)


def test_a_link_for_a_checkpoint_is_removed_and_what_it_points_to_stays(tmp_path: Path) -> None:
    checkpoints, kept = Checkpoints(tmp_path / "checkpoints" / "stage-1"), tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    checkpoints.folder.mkdir(parents=True)
    (checkpoints.folder / "step-5").symlink_to(kept)
    assert checkpoints.latest() is None
    assert (kept / "file").read_text() == "mine"


@pytest.mark.parametrize("word", ["../../escaped", "/tmp/escaped", "a/b"])
def test_labels_of_a_grid_reach_no_path(word: str, tmp_path: Path) -> None:
    page = (
        (ROOT / "experiments/grids/smoke.yaml")
        .read_text(encoding="utf-8")
        .replace("name: smoke", f"name: {word}")
    )
    page = page.replace("biased_k1:", f"{word}:")
    (tmp_path / "odd.yaml").write_text(page)
    grid = load_grid(str(tmp_path / "odd.yaml"))
    for run in grid.runs():
        assert one_name(run.run_id) == run.run_id
        assert re.fullmatch(r"[a-z0-9_.-]+", run.run_id)


# -- servers


def test_servers_bind_to_loopback_by_default() -> None:
    from study.models.server import server as servers

    assert servers.LOOPBACK == "127.0.0.1"
    assert inspect.signature(servers.serve).parameters["host"].default == servers.LOOPBACK
    recipes = re.findall(r"mlflow ui .*", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert recipes
    assert all("--host 127.0.0.1" in recipe for recipe in recipes)


# -- secrets


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "WANDB_API_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "AWS_SECRET",
    ):
        monkeypatch.setenv(name, f"{TOKEN}-{name}")
    monkeypatch.setenv("PLAIN_VARIABLE", "plain-but-mine-42")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{TOKEN}@127.0.0.1:1")


def everything_below(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.usefixtures("secretive")
def test_no_variable_of_the_environment_ends_in_what_a_run_leaves(tmp_path: Path) -> None:
    results = Results(tmp_path)
    path = made(results)
    Reporter("task", results.run(path.parent.name) / "status.json")(
        "train", 1, 2, {"train/loss": 1.0}
    )
    written = everything_below(tmp_path)
    assert b"train/loss" in written
    for word in (
        TOKEN,
        "plain-but-mine-42",
        "HF_TOKEN",
        os.environ.get("HOME", "/root"),
        str(tmp_path),
    ):
        assert word.encode() not in written


def leaking(*_: Any) -> None:
    raise OSError(f"401 for https://hub/x?token={os.environ['HF_TOKEN']}")


@pytest.mark.usefixtures("secretive")
def test_a_failure_does_not_repeat_a_secret_of_the_environment(tmp_path: Path) -> None:
    node, results = stage_graph(cell(1).model, 0)[0], Results(tmp_path)
    entry = Work(
        build="tests.project.test_safety:leaking", evaluate="tests.project.test_safety:leaking"
    )
    failed = perform(
        node, results, entry, Profile(), lambda *_: None, Checkpoints(tmp_path / "checkpoints")
    )
    assert isinstance(failed, Failed)
    assert failed.error == "OSError: 401 for https://hub/x?token=***"
    assert "leaking" in failed.trace
    assert TOKEN not in f"{failed}"


def test_what_counts_as_a_secret() -> None:
    environment = {
        "HF_TOKEN": "a-token", "AWS_SECRET_ACCESS_KEY": "an-aws-key", "DB_PASSWORD": "password1",
        "API_KEY": "short",
        "TOKENIZERS_PARALLELISM": "false-but-long", "KEYBOARD": "qwertyuiop",
    }  # fmt: skip
    assert secrets(environment) == {"a-token", "an-aws-key", "password1"}
    assert hidden("a b", also=["b"]) == "a ***"


@pytest.mark.parametrize("name", [
    "AZURE_STORAGE_KEY", "OPENAI_KEY", "GITHUB_PAT", "PGPASSWORD", "SMTP_PASS", "SSHPASS",
    "MYAPIKEY", "db_password", "CLIENT_SECRET", "GH_TOKEN_RO", "SSH_PASSPHRASE", "KEY",
])  # fmt: skip
def test_a_name_that_says_secret(name: str) -> None:
    assert secrets({name: "hush-hush"}) == {"hush-hush"}


@pytest.mark.parametrize("name", ["PATH", "KEYMAP", "MONKEY", "COMPAT", "TOKENIZERS_PARALLELISM"])
def test_a_name_that_does_not(name: str) -> None:
    assert secrets({name: "hush-hush"}) == set()


def test_a_password_inside_a_url_is_a_secret_whatever_its_variable_is_called() -> None:
    environment = {
        "HTTPS_PROXY": "http://me:p%40ssword@proxy:3128",
        "PIP_INDEX_URL": "https://glpat-12345@host/simple",
        "DATABASE_URL": "postgresql+psycopg://u:pa:ss:word@db/x",
        "GIT": "ssh://deployer@host/x",
    }
    found = secrets(environment)
    assert found == {"p%40ssword", "p@ssword", "glpat-12345", "pa:ss:word"}
    assert hidden("failed: ftp://a:bc@host/d") == "failed: ftp://a:***@host/d"
    assert hidden("see https://host/a@b and me@host") == "see https://host/a@b and me@host"


def test_every_spelling_of_a_secret_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "p\u00e4ss w\"or'd/+%\\"
    monkeypatch.setenv("MY_KEY", secret)
    messages = [
        secret, repr(secret), ascii(secret), json.dumps(secret), repr(secret.encode()),
        json.dumps(secret, ensure_ascii=False), quote(secret), quote(secret, safe=""),
        quote_plus(secret), quote(secret, safe="").lower(), shlex.quote(secret), f"{[secret]}",
    ]  # fmt: skip
    for message in messages:
        assert "ss" not in hidden(f"cannot log in with {message}").replace("***", ""), message
