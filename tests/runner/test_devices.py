"""Packing: never two tasks on a GPU, everything that fits alone runs in the end, a large task is
not starved by small ones.
"""

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.errors import PrerequisiteError
from study.runner.engines.devices import (
    PATIENCE,
    Slots,
    cores,
    parse_listing,
    require,
    size,
    visible_gpus,
)
from study.spec.machine.profile import Profile, Resources

GPUS = [str(i) for i in range(8)]


def gpus_of(environment: dict[str, str]) -> list[str]:
    return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name]


def test_eight_cells_of_one_gpu_fill_a_node_of_eight() -> None:
    slots, one = Slots(64, GPUS), Resources(gpus=1, cpus=8)
    taken = [gpus_of(slots.take(f"cell{i}", one)) for i in range(8) if slots.fits(f"cell{i}", one)]
    assert sorted(chain.from_iterable(taken)) == GPUS
    assert not slots.fits("ninth", one)
    slots.free("cell3")
    assert slots.fits("ninth", one)
    assert gpus_of(slots.take("ninth", one)) == ["3"]


def test_a_task_without_gpus_sees_none_and_counts_its_cores() -> None:
    slots = Slots(2, GPUS)
    assert slots.take("a", Resources(cpus=2)) == {"CUDA_VISIBLE_DEVICES": ""}
    assert not slots.fits("b", Resources(gpus=1))
    with pytest.raises(ValueError, match="does not fit"):
        slots.take("b", Resources(gpus=1))


def test_larger_tasks_are_asked_first() -> None:
    asked = [
        Resources(gpus=1, cpus=2),
        Resources(gpus=4),
        Resources(cpus=8),
        Resources(gpus=1, cpus=8),
    ]
    assert [(r.gpus, r.cpus) for r in sorted(asked, key=size)] == [(4, 1), (1, 8), (1, 2), (0, 8)]


def test_what_can_never_fit_is_told_before_anything_is_spent() -> None:
    profile = Profile(resources={"distill": Resources(gpus=9), "sft": Resources(cpus=65)})
    with pytest.raises(PrerequisiteError, match="kind distill needs 9 GPUs; there are 8"):
        require(Slots(64, GPUS), ["pretrain", "distill"], profile)
    with pytest.raises(PrerequisiteError, match="kind sft needs 65 processor cores; there are 64"):
        require(Slots(64, GPUS), ["sft"], profile)
    require(
        Slots(64, GPUS), ["pretrain", "evaluate"], profile
    )  # what the grid does not need is not looked at


tasks = st.lists(
    st.builds(Resources, gpus=st.integers(0, 4), cpus=st.integers(1, 6)), min_size=1, max_size=30
)


@settings(max_examples=200, deadline=None)
@given(tasks, st.data())
def test_every_task_runs_once_and_no_gpu_is_shared(
    wanted: list[Resources], data: st.DataObject
) -> None:
    slots, gpus = Slots(6, GPUS[:4]), {}
    waiting, running, done = {f"t{i}": r for i, r in enumerate(wanted)}, {}, set()
    while waiting or running:
        for name in sorted(waiting, key=lambda name: size(waiting[name])):
            if slots.fits(name, waiting[name]):
                gpus[name] = gpus_of(slots.take(name, waiting[name]))
                running[name] = waiting.pop(name)
                assert len(gpus[name]) == running[name].gpus
        busy = list(chain.from_iterable(gpus[name] for name in running))
        assert len(busy) == len(set(busy))
        assert sum(r.cpus for r in running.values()) <= 6
        assert (
            running  # the machine never stands idle while a task waits: everything here fits alone
        )
        ended = data.draw(st.sampled_from(sorted(running)))
        slots.free(ended)
        done.add(ended)
        del running[ended]
    assert done == {f"t{i}" for i in range(len(wanted))}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_large_task_starts_although_small_ones_never_stop_coming(data: st.DataObject) -> None:
    patience = data.draw(st.integers(0, 5))
    slots, large, small = (
        Slots(64, GPUS, patience),
        Resources(gpus=8),
        Resources(gpus=data.draw(st.integers(1, 3))),
    )
    number, running = 0, []
    while slots.fits(f"s{number}", small):
        slots.take(f"s{number}", small)
        running.append(f"s{number}")
        number += 1
    for _ in range(100):
        if slots.fits("large", large):
            break
        ended = data.draw(st.sampled_from(running))  # one ends, and another is already there
        running.remove(ended)
        slots.free(ended)
        number += 1
        if not slots.fits("large", large) and slots.fits(f"s{number}", small):
            slots.take(f"s{number}", small)
            running.append(f"s{number}")
    assert not running
    assert gpus_of(slots.take("large", large)) == GPUS


def test_a_reservation_ends_when_its_holder_asks_no_more() -> None:
    slots, large, small = Slots(64, GPUS[:2], 0), Resources(gpus=2), Resources(gpus=1)
    slots.take("first", small)
    assert not slots.fits("large", large)
    assert not slots.fits("small", small)  # the free GPU is kept for the large one
    assert not slots.fits("large", large)
    assert not slots.fits("small", small)
    assert slots.fits(
        "small", small
    )  # a whole round without the large one: it has failed elsewhere


@pytest.mark.parametrize(
    ("outer", "wanted", "seen"),
    [
        ("2,3,5", None, ["2", "3", "5"]),
        ("2,3,5", 2, ["2", "3"]),
        ("GPU-1a,MIG-7/1/0", None, ["GPU-1a", "MIG-7/1/0"]),
        ("1,-1,2", None, ["1"]),
        ("NoDevFiles", None, []),
        ("", None, []),
        ("0,0", None, ["0"]),
    ],
)
def test_an_outer_choice_is_kept(outer: str, wanted: int | None, seen: list[str]) -> None:
    assert visible_gpus(Profile(gpus=wanted), {"CUDA_VISIBLE_DEVICES": outer}) == seen


def test_more_than_the_outer_choice_is_refused() -> None:
    with pytest.raises(PrerequisiteError, match="uses 4 GPUs, but CUDA_VISIBLE_DEVICES shows 1"):
        visible_gpus(Profile(gpus=4), {"CUDA_VISIBLE_DEVICES": "7"})


def test_the_profile_counts_where_nothing_else_is_said() -> None:
    assert visible_gpus(Profile(gpus=3), {}) == ["0", "1", "2"]
    assert visible_gpus(Profile(gpus=0), {}) == []


def test_nvidia_smi_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus(Profile(), {}) == []
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-a)'\necho 'GPU 1: NVIDIA H100 (UUID:"
        " GPU-b)'\n"
    )
    program.chmod(0o755)
    assert visible_gpus(Profile(), {}) == ["0", "1"]


def test_a_gpu_cut_into_slices_is_its_slices() -> None:
    slices = "  MIG 1g.5gb Device 0: (UUID: MIG-x)\n  MIG 1g.5gb Device 1: (UUID: MIG-y)\n"
    listing = f"GPU 0: A100 (UUID: GPU-a)\n{slices}GPU 1: A100 (UUID: GPU-b)\n"
    assert parse_listing(listing) == ["MIG-x", "MIG-y", "1"]
    assert parse_listing("No devices found.\n") == []


def test_cores_are_those_of_the_allocation() -> None:
    mine = len(os.sched_getaffinity(0))
    assert cores({}) == mine
    assert cores({"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "64"}) == 1
    assert cores({"SLURM_CPUS_ON_NODE": str(mine + 5)}) == mine
    assert cores({"SLURM_CPUS_ON_NODE": "64(x2)"}) == mine


def test_torch_is_not_asked() -> None:
    imports = (
        "import sys; from study.runner.engines.devices import visible_gpus; from"
        " study.spec.machine.profile import Profile"
    )
    program = f"{imports}; visible_gpus(Profile()); print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


def test_tasks_of_one_size_start_in_the_order_in_which_they_are_asked() -> None:
    slots, one = Slots(1), Resources()
    for number in range(3 * PATIENCE):
        assert slots.fits(f"task{number}", one)
        slots.take(f"task{number}", one)
        assert not any(slots.fits(f"task{later}", one) for later in range(number + 1, 100))
        slots.free(f"task{number}")
        assert slots.fits("a run whose stage has just been made", one)
