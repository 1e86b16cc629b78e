"""The machine behind a number: read from the processor's own description and from torch, "not
recorded" where a record has none; and what two records share that were cut at different rungs.
"""

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.record import machine
from study.record.machine import described, this_machine, torch_build
from study.record.schema import (
    MAX_RECORD_BYTES,
    Machine,
    Record,
    record_bytes,
    same_content,
    sealed,
)
from study.record.store import read_record
from study.runner.verbs.equality import expectation
from study.runner.verbs.verify import RerunResult, compare_records
from tests.record.test_record import record
from tests.record.test_schema import COMMITTED

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse4_2 avx fma avx2 avx512f avx512_bf16 hypervisor

processor\t: 1
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve i8mm\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
CONFIGURATION = (
    "PyTorch built with:\n  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build\n"
    "  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release\n"
)
MACHINE = Machine(
    processor="Some Processor 6/143",
    vector="avx2 avx512f",
    torch="2.13.0+cpu",
    capability="AVX512",
    blas="mkl 2024.2",
    threads=1,
)


def fake_torch(*, gpu: bool = False, configuration: str = CONFIGURATION) -> Any:
    """As much of the module torch as is asked."""
    cuda = SimpleNamespace(
        is_available=lambda: gpu, is_initialized=lambda: gpu, get_device_name=lambda: "Some GPU"
    )
    cpu = SimpleNamespace(get_cpu_capability=lambda: "AVX2")
    return SimpleNamespace(
        __version__="2.13.0+cpu",
        backends=SimpleNamespace(cpu=cpu),
        __config__=SimpleNamespace(show=lambda: configuration),
        get_num_threads=lambda: 3,
        cuda=cuda,
    )


@pytest.mark.parametrize(
    ("text", "processor", "vector"),
    [
        (X86, "Intel(R) Xeon(R) Processor 6/143", "avx avx2 fma avx512f avx512_bf16"),
        (ARM, "0x41 0xd40", "asimd i8mm sve"),
        ("model name\t: Plain\n", "Plain", None),
    ],
)
def test_the_processor_is_named_with_its_vector_instructions(
    text: str, processor: str, vector: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    found = this_machine()
    assert (found.processor, found.vector) == (processor, vector)


def test_where_nothing_describes_the_processor_it_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert (this_machine().processor, this_machine().vector) == (None, None)
    assert described(None)["processor"] == "not recorded"
    assert described(Machine())["torch threads"] == "not recorded"


def test_torch_is_asked_for_build_capability_blas_and_threads() -> None:
    assert torch_build(None) == {}
    assert torch_build(fake_torch()) == {
        "torch": "2.13.0+cpu",
        "capability": "AVX2",
        "blas": "mkl 2024.2",
        "threads": 3,
        "accelerator": None,
    }
    assert torch_build(fake_torch(gpu=True))["accelerator"] == "Some GPU"
    assert torch_build(fake_torch(configuration="BLAS_INFO=open, X=1"))["blas"] == "open"
    assert torch_build(fake_torch(configuration=""))["blas"] is None


def test_the_installed_torch_describes_itself() -> None:
    import torch

    found = this_machine()
    assert found.torch == torch.__version__
    assert found.threads == torch.get_num_threads()
    assert found.capability
    assert socket.gethostname() not in found.model_dump_json()


def with_machine(made: Record, found: Machine | None, **changes: Any) -> Record:
    provenance = made.provenance.model_copy(update={"machine": found, **changes})
    return sealed(made.model_copy(update={"provenance": provenance}))


def test_equal_bytes_are_expected_on_the_same_kind_of_machine_alone() -> None:
    then = with_machine(record(), MACHINE).provenance
    packages = then.packages
    assert expectation(then, MACHINE, packages).expected is True
    other = MACHINE.model_copy(update={"processor": "Other", "threads": 2})
    found = expectation(then, other, packages)
    assert found.expected is False
    assert found.reasons == (
        "processor Some Processor 6/143 -> Other",
        "torch threads 1 -> 2",
    )
    assert "not expected: processor Some Processor 6/143 -> Other" in str(found)
    newer = expectation(then, MACHINE, {"torch": "3"})
    assert (newer.expected, newer.reasons) == (False, ("torch 2 -> 3",))


def test_what_is_not_recorded_or_not_known_cannot_be_foretold() -> None:
    old = record().provenance
    then = with_machine(record(), MACHINE).provenance
    assert expectation(old, MACHINE, old.packages).expected is None
    assert "does not say" in str(expectation(old, MACHINE, old.packages))
    assert expectation(then, None, then.packages).expected is None
    partly = with_machine(record(), MACHINE.model_copy(update={"torch": None})).provenance
    assert expectation(partly, MACHINE, partly.packages).expected is None
    stage = with_machine(record(), MACHINE, stage_machines={"distill-1": None}).provenance
    assert expectation(stage, MACHINE, stage.packages).expected is None


def test_a_stage_of_another_machine_and_an_accelerator_lower_the_expectation() -> None:
    other = MACHINE.model_copy(update={"processor": "Other"})
    then = with_machine(record(), MACHINE, stage_machines={"distill-1": other}).provenance
    assert expectation(then, MACHINE, then.packages).reasons == (
        "processor Other -> Some Processor 6/143",
    )
    gpu = MACHINE.model_copy(update={"accelerator": "Some GPU"})
    fast = with_machine(record(), gpu).provenance
    assert expectation(fast, gpu, fast.packages).reasons == ("it was computed on Some GPU",)


def test_other_bytes_fail_only_where_equal_ones_were_expected() -> None:
    then, now = record(), record(history={"step": [0]})
    changed = now.model_copy(update={"history": {"step": [0], "eval/avg@2": [0.5]}})
    cases = [
        (MACHINE, MACHINE, RerunResult.UNEQUAL),
        (None, MACHINE, RerunResult.CONSISTENT),
        (MACHINE, MACHINE.model_copy(update={"threads": 2}), RerunResult.CONSISTENT),
    ]
    for before, after, outcome in cases:
        found = compare_records(with_machine(then, before), with_machine(changed, after))
        assert found.outcome is outcome
        assert found.passed == (outcome is not RerunResult.UNEQUAL)
    assert (
        compare_records(with_machine(then, MACHINE), with_machine(then, None)).outcome
        is RerunResult.EQUAL
    )


def test_committed_records_read_as_not_recorded() -> None:
    old = [path for path in COMMITTED if b'"machine"' not in path.read_bytes()]
    assert old
    for path in old[::80]:
        assert read_record(path).provenance.machine is None


# about as much evidence as fills a record, so that a longer provenance takes another rung
def crowded(found: Machine | None, filler: int, completion: str = "word " * 50) -> Record:
    from study.record.assemble import assemble
    from tests.record.test_record import fields

    made = fields()
    made["provenance"] = made["provenance"].model_copy(update={"machine": found})
    made["spec"] = {"scale": "lab", "filler": "x" * filler}
    steps = list(range(40))
    history = {"step": steps, "train/loss": [step / 7 for step in steps]}
    completions = [
        {
            "step": step,
            "prompt": "1 + 1 =",
            "completion": f"{step} {completion}",
            "outcome": "wrong",
        }
        for step in (0, 20, 39)
        for _ in range(4)
    ]
    repeated = {"0": [("a", 9), ("b", 8), ("c", 7), ("d", 6), ("e", 5), ("f", 4), ("g", 3)]}
    return assemble(made, history, {"completions": completions, "repeated_tokens": repeated})


def test_a_record_that_had_to_leave_out_more_still_agrees_with_the_older_one() -> None:
    short = next(
        filler
        for filler in range(2000, 9000, 100)
        if crowded(None, filler).trimmed != crowded(MACHINE, filler).trimmed
    )
    then, now = crowded(None, short), crowded(MACHINE, short)
    assert len(record_bytes(now)) <= MAX_RECORD_BYTES
    assert same_content(then, now)
    assert same_content(now, then)
    assert not same_content(then, crowded(MACHINE, short, "word " * 10 + "else " * 40))
    history = {**now.history, "train/loss": [9.0] * len(now.history["step"])}
    assert not same_content(then, sealed(now.model_copy(update={"history": history})))
    assert json.loads(record_bytes(now))["provenance"]["machine"]["threads"] == 1
