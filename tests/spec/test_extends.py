"""Scales that extend another, and grids that only some scales bind."""

from pathlib import Path

import pytest

from study.errors import SpecError
from study.runner.verbs import check
from study.spec.grid.grid import load_grid
from study.spec.grid.scale import Scale, load_scale
from study.spec.grid.unbound import NotBound, missing_names
from study.spec.identity import stage_id
from study.spec.recipe.corpus import TeacherSamples
from study.spec.recipe.model import GrpoModel, HubModel, PretrainedLab, SftModel
from study.spec.yaml.load import Located, find, load

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def scale_page(root: Path, text: str, name: str = "mine") -> Scale:
    folder = root / "experiments" / "scales"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(f"scale: {name}\n{text}", encoding="utf-8")
    return load_scale(name, root)


def model(scale: Scale, name: str) -> object:
    return scale.model(Located(name, "here"), "model").spec


def test_what_is_not_said_is_the_other_pages(tmp_path: Path) -> None:
    mine, lab = scale_page(tmp_path, "extends: lab\nlengths: {standard: 7}\n"), load_scale("lab")
    assert model(mine, "rlvr") == model(lab, "rlvr")
    assert mine.shape.lengths == lab.shape.lengths | {"standard": 7}
    (ours, *_), (theirs, *_) = load_grid("smoke", mine).cells, load_grid("smoke", lab).cells
    assert ours.cell_id != theirs.cell_id


def test_values_keep_the_line_that_they_stand_in(tmp_path: Path) -> None:
    mine = scale_page(tmp_path, "extends: lab\ndistill:\n  optimisation: {learning_rate: 1e-6}\n")
    origin = load_grid("smoke", mine).cells[0].origin
    assert origin["model.training.optimisation.learning_rate"] == "scales/mine.yaml:4"
    assert origin["model.training.optimisation.adam_beta1"].startswith("scales/lab.yaml:")
    assert origin["scale"] == "scales/mine.yaml:1"


def test_an_entry_with_a_kind_stands_alone_and_one_without_is_a_patch(tmp_path: Path) -> None:
    text = (
        f"models:\n  student: {{kind: hub, id: o/m, revision: {COMMIT}}}\n  rlvr: {{training:"
        " {steps: 3}}\n"
    )
    mine = scale_page(tmp_path, f"extends: lab\n{text}")
    student, rlvr, lab = (
        model(mine, "student"),
        model(mine, "rlvr"),
        model(load_scale("lab"), "rlvr"),
    )
    assert isinstance(student, HubModel)
    assert isinstance(rlvr, GrpoModel)
    assert isinstance(lab, GrpoModel)
    assert rlvr.base == student
    assert isinstance(lab.base, PretrainedLab)
    assert rlvr.training == lab.training.model_copy(update={"steps": 3})


def test_pages_may_extend_pages_that_extend(tmp_path: Path) -> None:
    scale_page(tmp_path, "extends: lab\nlengths: {standard: 7}\n", "one")
    two = scale_page(tmp_path, "extends: one\nlengths: {long: 9}\n", "two")
    assert two.above == ("one", "lab")
    assert (two.shape.lengths["standard"], two.shape.lengths["long"]) == (7, 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: mine\n", "this page extends itself: scales/mine.yaml -> scales/mine.yaml"),
        ("extends: labb\n", "no scale named 'labb'; did you mean 'lab'?"),
        (
            "extends: lab\nlength: {standard: 7}\n",
            "scales/mine.yaml:3 length: unknown field 'length'; did you mean 'lengths'?",
        ),
    ],
)
def test_pages_that_cannot_be_extended(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as told:
        scale_page(tmp_path, text)
    assert message in told.value.message


def test_a_page_that_extends_needs_a_name(tmp_path: Path) -> None:
    scale_page(tmp_path, "extends: lab\n")
    (tmp_path / "experiments/scales/mine.yaml").write_text("extends: lab\n")
    with pytest.raises(SpecError, match="needs a name of its own"):
        load_scale("mine", tmp_path)


def test_a_grid_that_a_scale_does_not_bind_says_what_is_missing(tmp_path: Path) -> None:
    bare = scale_page(
        tmp_path, "data: {}\nmodels: {}\nlengths: {}\ndistill: {}\nevaluations: {}\n", "bare"
    )
    with pytest.raises(NotBound) as told:
        load_grid("opsd-shared", bare)
    assert told.value.message.startswith(
        "not bound at this scale (lab, paper only): the grid opsd-shared needs models.instructed, "
    )
    assert "scales/bare.yaml" in told.value.hint
    with pytest.raises(NotBound, match="the grid opsd-shared"):
        load_grid("opsd-shared", load_scale("bare", tmp_path))
    assert missing_names(load(find("grids", "opsd-shared")), load_scale("lab")) == []


def test_a_scale_that_binds_every_name_is_not_refused(tmp_path: Path) -> None:
    lab = find("scales", "lab").read_text(encoding="utf-8")
    other = scale_page(tmp_path, lab.replace("scale: lab\n", ""), "other")
    assert len(load_grid("opsd-shared", other).cells) == len(load_grid("opsd-shared").cells)
    assert len(load_grid("opsd-shared", scale_page(tmp_path, "extends: lab\n")).cells) == len(
        load_grid("opsd-shared").cells
    )


def test_study_check_does_not_call_an_unbound_grid_wrong(tmp_path: Path) -> None:
    scale_page(
        tmp_path, "data: {}\nmodels: {}\nlengths: {}\ndistill: {}\nevaluations: {}\n", "bare"
    )
    told = {
        grid: check._tried(check._check_grid, grid, "bare", tmp_path)
        for grid in ("opsd-shared", "math")
    }
    assert str(told["opsd-shared"]).startswith("not bound at this scale (lab, paper only)")
    assert type(told["math"]) is SpecError


def test_the_sampler_of_a_scale_is_that_of_every_sampling_that_names_none(tmp_path: Path) -> None:
    models = "models: {rlvr: {training: {sampling: {sampler: transformers}}}}\n"
    mine, lab = scale_page(tmp_path, f"extends: lab\nsampler: qwen3\n{models}"), load_scale("lab")

    def samplers(scale: Scale) -> dict[str, str]:
        warm, rlvr = model(scale, "warm_c"), model(scale, "rlvr")
        assert isinstance(warm, SftModel)
        assert isinstance(warm.corpus, TeacherSamples)
        assert isinstance(rlvr, GrpoModel)
        named = {name: Located(name, "here") for name in ("search", "math", "facts")}
        declared = {
            "distill": scale.training(named["search"], None).spec.sampling,
            "grpo": rlvr.training.sampling,
            "documents": warm.corpus.sampling,
            "evaluation": scale.evaluation(named["math"], "").spec.sampling,
            "probe": scale.probe(named["facts"], "").spec.sampling,
        }
        return {place: sampling.sampler for place, sampling in declared.items()}

    assert set(samplers(lab).values()) == {"transformers"}
    assert samplers(mine) == dict.fromkeys(samplers(lab), "qwen3") | {"grpo": "transformers"}
    sampling = mine.page.entries["distill"].entries["sampling"]
    assert sampling.entries["sampler"].origin == "scales/mine.yaml:3"


def test_the_sampler_is_part_of_identity_and_its_default_is_in_no_id(tmp_path: Path) -> None:
    lab = load_scale("lab")
    said = scale_page(tmp_path, "extends: lab\nsampler: transformers\n", "said")
    other = scale_page(tmp_path, "extends: lab\nsampler: qwen3\n", "other")
    stages = [
        [stage_id(one.cell.model, 0) for one in load_grid("smoke", scale).cells]
        for scale in (lab, said, other)
    ]
    assert stages[0] == stages[1]
    assert not set(stages[0]) & set(stages[2])


def test_an_unknown_sampler_names_its_line_and_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine.yaml:3 sampler: 'qwen' is not one of transf"):
        scale_page(tmp_path, "extends: lab\nsampler: qwen\n")


@pytest.mark.parametrize("setting", ["lora: {rank: 2, alpha: 4}", "dtype: bfloat16"])
@pytest.mark.parametrize("kind", ["distill", "grpo"])
def test_the_loop_draws_from_whole_weights_in_float32(
    kind: str, setting: str, tmp_path: Path
) -> None:
    text = f"extends: lab\nsampler: qwen3\n{kind}: {{{setting}}}\n"
    mine = scale_page(tmp_path, text)
    bound = {
        "grpo": lambda: model(mine, "grpo_rule"),
        "distill": lambda: mine.training(Located("standard", "here"), None),
    }
    with pytest.raises(SpecError, match="`sampler: qwen3` draws from whole weights"):
        bound[kind]()
