"""`study rehearse`: sizes are the published ones, memory and time follow from stated formulas, what
will not fit is refused with a knob.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3ForCausalLM

from study.cli import rehearse as verb
from study.errors import PrerequisiteError
from study.models import sampling
from study.runner.estimate import check as rehearse_check
from study.runner.estimate import memory, roofline, workload
from study.runner.estimate.advice import knobs
from study.runner.estimate.check import ratios
from study.runner.estimate.grid import rehearse
from study.runner.estimate.memory import GB, Settings
from study.runner.estimate.sizes import Sizes, read_config
from study.runner.estimate.workload import Lengths
from study.spec.grid.grid import load_grid
from study.spec.grid.scale import load_scale
from study.spec.machine.profile import load_profile
from study.spec.machine.shape import KnownShapes, Shape
from study.spec.recipe.data import Data, HiddenFactData, JsonlData
from study.spec.recipe.model import DistilledModel, HubModel
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.yaml.load import find, load
from study.spec.yaml.validation import validate
from study.train.rehearsal.bench import Bench
from study.train.rehearsal.measure import LARGEST, measure, weights_of, width_that_fits
from tests.support.harness import ROOT

KNOWN = validate(KnownShapes, load(find("architectures", "hub")), "").models
PUBLISHED = {
    "Qwen/Qwen3-0.6B": 596_049_920, "Qwen/Qwen3-4B": 4_022_468_096, "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304, "Qwen/Qwen2.5-Math-7B-Instruct": 7_615_616_512,
}  # fmt: skip
H200 = load_profile("h200")


def a_distillation() -> DistilledModel:
    recipe = load_grid("math", "paper").cells[0].cell.model
    assert isinstance(recipe, DistilledModel)
    return recipe


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_shapes_have_the_published_number_of_parameters(name: str) -> None:
    assert KNOWN[name].parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", ["Qwen/Qwen3-1.7B", "Qwen/Qwen2.5-Math-7B-Instruct"])
def test_the_closed_form_is_what_transformers_builds_on_the_meta_device(
    name: str, tmp_path: Path
) -> None:
    shape = KNOWN[name]
    (tmp_path / "config.json").write_text(json.dumps({**shape.model_dump(), "num_parameters": 1}))
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    assert read_config(tmp_path / "config.json") == shape
    linear = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name
    )
    assert linear == shape.blocks


def test_a_configuration_at_hand_goes_before_the_table_and_an_unknown_model_is_refused(
    tmp_path: Path,
) -> None:
    own = KNOWN["Qwen/Qwen3-0.6B"].model_copy(update={"num_hidden_layers": 2})
    (tmp_path / "Qwen3-1.7B").mkdir()
    (tmp_path / "Qwen3-1.7B" / "config.json").write_text(json.dumps(own.model_dump()))
    model = HubModel(id="Qwen/Qwen3-1.7B", revision="a" * 40)
    assert Sizes(tmp_path).of(model).shape == own
    assert Sizes().of(model).source == "architectures/hub.yaml"
    with pytest.raises(PrerequisiteError, match="shape of some/other is not known") as caught:
        Sizes(tmp_path).of(HubModel(id="some/other", revision="a" * 40))
    assert "other/ and type --configs" in caught.value.hint
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(PrerequisiteError, match="'gpt2' has no formula"):
        read_config(tmp_path / "config.json")


def test_what_is_said_twice_is_the_same() -> None:
    """Sizing needs no torch, so it repeats two numbers of a module that does."""
    assert (memory.ROWS, memory.CACHE_SHARE) == (sampling.ROWS, sampling.CACHE_SHARE)


def test_kept_activations_are_about_those_that_autograd_saves() -> None:
    """Bytes of distinct tensors saved by one more block, under the autocast that a GPU
    trains with.
    """
    shape = Shape(
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=8,
        vocab_size=32,
    )
    saved = [_saved_bytes(shape, layers) for layers in (1, 2)]
    assert (saved[1] - saved[0]) / (2 * 32) == pytest.approx(memory.kept_bytes(shape), rel=0.35)


def _saved_bytes(shape: Shape, layers: int) -> int:
    fields = shape.model_dump(
        exclude={"vocab_size", "num_hidden_layers", "model_type", "tie_word_embeddings"}
    )
    config: Any = Qwen3ForCausalLM.config_class(
        vocab_size=32, num_hidden_layers=layers, use_cache=False, **fields
    )
    model, found = Qwen3ForCausalLM(config), dict[int, int]()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage()
        if place.data_ptr() not in weights and tensor.shape[:1] == (
            2,
        ):  # a cast weight has no batch
            found[place.data_ptr()] = place.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast("cpu", torch.bfloat16),
    ):
        model(input_ids=torch.ones(2, 32, dtype=torch.long)).logits.sum()
    return sum(found.values())


def test_memory_follows_the_knobs() -> None:
    recipe, lengths = a_distillation(), Lengths()
    work = workload.of_stage(recipe, Sizes(), lengths)
    student = KNOWN["Qwen/Qwen3-1.7B"].parameters

    def held(**changes: Any) -> memory.Memory:
        return memory.of_stage(recipe, work, Settings(**changes))

    plain, small = held(), held(micro_batch=1, recompute=True)
    assert plain.always["weights"] == 4 * student
    assert plain.always["optimiser"] == 8 * student
    assert plain.training["activations"] > 64 * small.training["activations"] / 4
    assert plain.generation["cache"] == pytest.approx(
        64 * (256 + 4096) * 2 * 28 * 1024 * 3
    )  # 64 rows, keys float32, values bfloat16
    shared = held(micro_batch=1, recompute=True, processes=4, sharded=True)
    assert shared.always["optimiser"] == 2 * student
    assert shared.generation["gathered weights"] == 4 * student
    parts = held(room=60 * GB)
    assert 0 < parts.generation["cache"] < plain.generation["cache"]


def test_a_plan_that_will_not_fit_names_knobs_that_make_it_fit() -> None:
    recipe, sizes, lengths = a_distillation(), Sizes(), Lengths()

    def peak(changed: Any, settings: Settings) -> float:
        return memory.of_stage(changed, workload.of_stage(changed, sizes, lengths), settings).peak

    room = 70 * GB
    settings = Settings(room=room)
    assert peak(recipe, settings) > room
    found = knobs(recipe, settings, 64, room, peak)
    assert any("micro_batch" in knob for knob in found)
    assert all("not enough" not in knob for knob in found)
    nothing_alone = knobs(recipe, Settings(room=25 * GB), 64, 25 * GB, peak)
    assert nothing_alone[0].endswith("not enough alone)")
    assert nothing_alone[-1].startswith("together: ")
    assert "FSDP" in nothing_alone[-1]


def test_time_scales_as_the_roofline_says() -> None:
    hardware = H200.hardware
    assert hardware is not None
    work = workload.of_stage(a_distillation(), Sizes(), Lengths(filled=0.5))
    trained = next(one for one in work.passes if one.trained)
    flops = (
        trained.rows * trained.length * trained.shape.forward_flops(trained.length) * 3
        + trained.rows * trained.scored * 8 * trained.shape.head
    )
    used = hardware.utilisation
    expected = flops / (hardware.matrix_tflops * 1e12 * used.training) + 1000 * used.train_step_s
    assert roofline.pass_seconds(trained, hardware, Settings()) == pytest.approx(expected)
    faster = hardware.model_copy(
        update={
            "bandwidth_gb_s": 2 * hardware.bandwidth_gb_s,
            "utilisation": used.model_copy(update={"step_s": 0.0}),
        }
    )
    slower = faster.model_copy(update={"bandwidth_gb_s": hardware.bandwidth_gb_s})
    rollouts = [
        roofline.batch_seconds(work.generations[0], 8, one, "bfloat16") for one in (slower, faster)
    ]
    assert rollouts[0] / rollouts[1] == pytest.approx(
        2, rel=0.02
    )  # bound by memory, but for reading the prompt


def test_the_same_formulas_on_the_committed_lab_records() -> None:
    """Not a fit: the inputs of the profile were written down before the ratios were seen."""
    from study.record.store import read_record

    hardware = load_profile(verb.CHECKED_WITH).hardware
    assert hardware is not None
    files = sorted((ROOT / "results" / "records").glob("*.json"))[:12]
    found = {ratio.kind: ratio for ratio in ratios(map(read_record, files), hardware)}
    assert {"distill", "pretrain"} <= found.keys()
    assert all(1 / 3 < ratio.median < 3 for ratio in found.values())
    slower = hardware.model_copy(update={"matrix_tflops": hardware.matrix_tflops / 10})
    assert ratios([read_record(files[0])], slower)[0].median < found["distill"].low
    assert rehearse_check.LAB.prompt < 20


def test_a_profile_without_hardware_is_refused() -> None:
    with pytest.raises(PrerequisiteError, match="does not say what the machine can do"):
        rehearse(
            load_grid("math", "paper").runs(seeds=[0]), load_profile("laptop"), Sizes(), Lengths()
        )


def test_shared_stages_are_counted_once_and_chains_are_waited_for() -> None:
    runs = load_grid("math", "paper").runs(seeds=[0])
    found = rehearse(runs, H200, Sizes(), Lengths())
    assert sum(one.kind == "grpo" for one in found.stages) == 1
    assert sum(one.kind == "evaluate" for one in found.stages) == len(runs)
    longest = max(one.wall_s for one in found.stages if one.kind == "distill")
    assert found.chain_s > longest
    many = H200.model_copy(
        update={"hardware": H200.hardware.model_copy(update={"devices": 10_000, "price": 2.0})}
    )  # type: ignore[union-attr]
    wide = rehearse(runs, many, Sizes(), Lengths())
    assert wide.wall_hours == pytest.approx(found.chain_s / 3600)
    assert wide.cost == pytest.approx(2.0 * found.device_hours)


def test_the_screen_refuses_and_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (
        (ROOT / "experiments" / "profiles" / "h200.yaml")
        .read_text(encoding="utf-8")
        .replace("memory_gb: 141 ", "memory_gb: 48 ")
    )
    (tmp_path / "h200.yaml").write_text(page, encoding="utf-8")
    with pytest.raises(PrerequisiteError) as caught:
        verb.rehearse(
            "math",
            profile=str(tmp_path / "h200.yaml"),
            seeds="0",
            only=None,
            core=False,
            prompt=256,
            solution=1024,
            filled=0.35,
            configs=None,
            steps=0,
            scale="paper",
        )
    assert "distill of Qwen3-1.7B" in caught.value.message
    assert "GB of 48 -> " in caught.value.message
    shown = capsys.readouterr().out
    assert "AN ESTIMATE of 24 runs" in shown
    assert "no price in the profile" in shown


@pytest.mark.slow
def test_the_measured_part_runs_the_real_stage_on_random_models() -> None:
    cells = [
        next(
            cell.cell
            for cell in load_grid("math", "paper").cells
            if cell.labels["objective"] == "biased_k5"
        )
    ]
    found = {
        one.kind: one
        for one in measure(
            [cells[0].model_copy(update={"model": cells[0].model})], 1, vocabulary=400, hidden=32
        )
    }
    assert found["distill"].what == "student_topk"
    assert found["distill"].tokens > 0
    assert found["distill"].parameters == pytest.approx(weights_of(400, 32), rel=0.1)
    assert found["evaluate"].seconds > 0


@pytest.mark.parametrize(
    "data",
    [HiddenFactData(), JsonlData(train="not-here.jsonl", held_out_share=0.5)],
    ids=["world", "rows"],
)
def test_a_column_of_the_data_is_at_hand_or_stood_in_for(tmp_path: Path, data: Data) -> None:
    """Privileged information may ask for any column: a world brings its own, rows that cannot be
    read here are stood in for.
    """
    recipe = a_distillation().model_copy(
        update={"data": data, "privileged": PrivilegedInformation(template="<fact> {fact}")}
    )
    measured = Bench(tmp_path, 1, 400, 16).stage(recipe)
    assert (measured.kind, measured.steps) == ("distill", 1)
    assert measured.what.endswith("with PI")


def test_completions_of_the_random_teacher_end_also_at_a_large_vocabulary(tmp_path: Path) -> None:
    """One end in 20,000 tokens would leave a stage on the teacher's completions without a
    document.
    """
    (sft,) = [
        cell.cell.model
        for cell in load_grid("will-it-help", load_scale("lab")).cells
        if cell.labels["arm"] == "sft"
    ]
    measured = Bench(tmp_path, 1, 20_000, 16).stage(sft)
    assert (measured.kind, measured.what, measured.steps) == ("sft", "teacher_samples", 1)


def test_the_random_models_are_as_large_as_memory_takes_and_never_above_a_limit() -> None:
    assert width_that_fits(151_936, 1e12) == 1024
    assert weights_of(151_936, 1024) <= LARGEST
    assert width_that_fits(151_936, 4e9) == 256
    assert width_that_fits(151_936, 1e6) == 64


@pytest.mark.parametrize("profile", ["h200", "a100x8", "rtx-pro-6000x10"])
def test_with_adapters_on_the_largest_student_the_one_grid_fits_that_does_not_without(
    profile: str,
) -> None:
    fits = {}
    for scale in ("paper", "paper-8b-lora"):
        found = rehearse(
            load_grid("opsd-shared", scale).runs(seeds=[0]),
            load_profile(profile),
            Sizes(),
            Lengths(),
        )
        fits[scale] = not found.too_large
        assert {one.model for one in found.too_large} <= {"Qwen3-8B"}
    assert fits == {"paper": False, "paper-8b-lora": True}
