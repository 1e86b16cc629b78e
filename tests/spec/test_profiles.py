"""Profiles: the shipped pages mean something, a typing error in one is told with file and line, and
nothing of them is identity.
"""

from pathlib import Path

import pytest

from study.errors import PrerequisiteError, SpecError
from study.record.store import Results
from study.runner.engines.slurm.queue import parameters, raw_lines
from study.runner.verbs.check import check_profile
from study.spec.grid.scale import load_scale
from study.spec.machine.profile import Profile, Resources, Slurm, load_profile

NAMES = ("laptop", "node-8gpu", "cluster", "h200", "a100x8", "rtx-pro-6000x10", "cpu-core")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_is_read(name: str) -> None:
    assert check_profile(name, None).startswith("engine")


def test_a_name_of_300_letters_is_refused_with_its_line(tmp_path: Path) -> None:
    page = tmp_path / "long.yaml"
    page.write_text(f"profile: {'p' * 300}\n")
    with pytest.raises(SpecError, match=r"long\.yaml:1 profile: .*at most 100 characters"):
        load_profile(str(page))
    page.write_text(f"scale: {'s' * 300}\nextends: lab\n")
    with pytest.raises(SpecError, match=r"long\.yaml:1 scale: .*at most 100 characters"):
        load_scale(str(page))


def test_the_laptop_is_what_runs_without_a_profile() -> None:
    laptop = load_profile("laptop")
    assert laptop.model_copy(update={"profile": "default", "resources": {}}) == Profile()
    assert laptop.resources_for("distill") == Resources()


def test_the_cluster_gives_every_job_a_time_limit() -> None:
    cluster = load_profile("cluster")
    assert all(
        cluster.resources_for(kind).time_min
        for kind in ("pretrain", "sft", "grpo", "distill", "evaluate")
    )


def page(folder: Path, text: str) -> Path:
    (folder / "experiments" / "profiles").mkdir(parents=True, exist_ok=True)
    path = folder / "experiments" / "profiles" / "mine.yaml"
    path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "profile: mine\nresources: {distil: {gpus: 1}}\n",
            "no stage kind 'distil'; did you mean 'distill'?",
        ),
        ("profile: mine\nkeep: {default: none}\n", "no stage kind 'default'"),
        ("profile: other\n", "its `profile` is 'other'"),
        (
            "profile: mine\nslurm: {partiton: gpu}\n",
            (
                "profiles/mine.yaml:2 slurm.partiton: unknown field 'partiton'; did you mean"
                " 'partition'?"
            ),
        ),
        ("profile: mine\nengine: slum\n", "profiles/mine.yaml:2 engine"),
    ],
)
def test_study_check_names_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_profile("mine", page(tmp_path, text))
    assert said in caught.value.message


def test_what_sbatch_is_told() -> None:
    slurm = Slurm(
        partition="gpu",
        account="us",
        qos="cheap",
        constraint="h100",
        sbatch=["--exclude node7", "--exclusive"],
        setup=["module load x"],
    )
    told = parameters(slurm, Resources(gpus=4, cpus=16, memory_gb=1.5, time_min=240), "a name")
    wanted = {
        "job_name": "a name", "time": 240, "mem": "1536M", "cpus_per_task": 16, "gpus_per_node": 4,
        "nodes": 1, "ntasks_per_node": 1,
        "partition": "gpu", "account": "us", "qos": "cheap", "constraint": "h100",
        "setup": ["module load x"], "signal_delay_s": 120,
        "srun_args": ["--cpus-per-task", "16"], "wckey": None,
        "additional_parameters": {"requeue": True, "exclude": "node7", "exclusive": True},
    }  # fmt: skip
    assert told == wanted


def test_a_raw_gres_line_replaces_the_gpus() -> None:
    told = parameters(Slurm(sbatch=["--gres=gpu:a100:2"]), Resources(gpus=2, time_min=10), "x")
    assert "gpus_per_node" not in told
    assert told["additional_parameters"]["gres"] == "gpu:a100:2"
    assert told["signal_delay_s"] == 120
    assert (
        parameters(Slurm(), Resources(time_min=4), "x")["signal_delay_s"] == 60
    )  # a quarter of a short limit


@pytest.mark.parametrize(
    "line", ["exclusive", "-p gpu", "--a b c", "--a=b c", "", "--time=5", "--signal=USR1"]
)
def test_a_raw_line_that_is_none_or_the_runners_own_is_refused(line: str) -> None:
    with pytest.raises(SpecError, match=r"slurm\.sbatch"):
        raw_lines([line])


def test_places_are_those_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_DISK", "/disk/7")
    profile = Profile(engine="slurm", artifacts="/shared/a", scratch="$NODE_DISK/work")
    results = Results.of(Path("results"), profile)
    assert (results.artifacts, results.scratch) == (Path("/shared/a"), Path("/disk/7/work"))
    monkeypatch.delenv("NODE_DISK")
    with pytest.raises(
        PrerequisiteError,
        match=r"`scratch: \$NODE_DISK/work` of the profile names a variable that is not set",
    ):
        Results.of(Path("results"), profile)
    assert (
        Results.from_afar(Path("results"), profile).scratch is None
    )  # the node that submits has no such disk
