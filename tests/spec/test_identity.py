"""One identity: pinned ids, refusals, and a property: every identity field counts, labels
never do.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.errors import SpecError
from study.spec import identity
from study.spec.grid.cell import Cell, Run
from study.spec.grid.grid import load_grid
from study.spec.identity import (
    NOT_IDENTITY,
    UnstableValue,
    canonical,
    cell_id,
    objective_name,
    run_id,
    stage_id,
)
from study.spec.recipe.corpus import ArithmeticCorpus
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import (
    Architecture,
    DistilledModel,
    GrpoModel,
    HubModel,
    LocalModel,
    PretrainedLab,
)
from study.spec.recipe.objective import PRESETS, Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.training import (
    Curve,
    DistillTraining,
    GrpoTraining,
    Optimisation,
    Sampling,
    SupervisedTraining,
)
from study.spec.recipe.user_code import Code

GOLDEN_RUN = "distill-full_reverse_kl-from_grpo-4steps-ad89a9cc-s0"
GOLDEN_STAGES = ["distill-9d9b53b6", "distill-769b74f0", "pretrain-cdde21a2", "grpo-12ba1f18"]

_ADAM = Optimisation(learning_rate=1e-3)
_SAMPLING = Sampling(max_completion_length=8)
_CURVE = Curve(every=10, problems=4, k=2)


def base_model(name: str = "student") -> PretrainedLab:
    shape = Architecture(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=32,
    )
    training = SupervisedTraining(steps=3, documents_per_step=2, optimisation=_ADAM, max_length=16)
    corpus = ArithmeticCorpus(style_mix={"A": 1.0})
    return PretrainedLab(
        name=name, architecture=shape, data=ArithmeticData(), corpus=corpus, training=training
    )


def minimal_cell() -> Cell:
    """All defaults wherever there is one."""
    student = base_model()
    training = GrpoTraining(
        steps=2,
        prompts_per_step=2,
        rollouts_per_prompt=2,
        optimisation=_ADAM,
        sampling=_SAMPLING,
        curve=_CURVE,
    )
    teacher = GrpoModel(base=student, data=ArithmeticData(), training=training)
    distill = DistillTraining(
        steps=4, prompts_per_step=2, optimisation=_ADAM, sampling=_SAMPLING, curve=_CURVE
    )
    model = DistilledModel(
        student=student,
        teacher=teacher,
        data=ArithmeticData(),
        objective=Objective(),
        training=distill,
    )
    return Cell(
        scale="lab",
        model=model,
        evaluation=Evaluation(task="lab_math", data=ArithmeticData(), k=2, sampling=_SAMPLING),
    )


def test_golden_ids_of_the_all_defaults_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed default, field name or canonical form changes what old ids mean: it must be seen
    here first. (Pinned at revision 1.)
    """
    monkeypatch.setattr(identity, "REVISIONS", dict.fromkeys(identity.REVISIONS, 1))
    cell = minimal_cell()
    assert run_id(Run(cell=cell, seed=0)) == GOLDEN_RUN
    assert stage_id(cell.model, 0) == GOLDEN_STAGES[0]
    assert stage_id(cell.model, 1) == GOLDEN_STAGES[1]
    assert isinstance(cell.model, DistilledModel)
    assert [stage_id(m, 0) for m in (cell.model.student, cell.model.teacher)] == GOLDEN_STAGES[2:]


def test_canonical_form_leaves_defaults_out_and_keeps_kind() -> None:
    assert canonical(Objective()) == "{}"
    assert canonical(Objective(support="student_topk", k=5)) == '{"k":5,"support":"student_topk"}'
    assert canonical(ArithmeticData()) == '{"kind":"arithmetic"}'
    assert (
        canonical({"b": [1, 0.5, None], "a": (True, "ü")})
        == '{"a":[true,"\\u00fc"],"b":[1,0.5,null]}'
    )


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -0.0, {1, 2}, b"x", object(), {1: 2}, Path("x"), 1j]
)
def test_unstable_values_are_refused_also_deep_inside(value: Any) -> None:
    with pytest.raises(UnstableValue):
        canonical(value)
    with pytest.raises(UnstableValue, match=r"value\.a\[1\]"):
        canonical({"a": [0, value]})


def test_a_negative_zero_is_not_taken_for_the_default_zero() -> None:
    with pytest.raises(UnstableValue, match="weight_decay"):
        canonical(Optimisation(learning_rate=1e-3, weight_decay=-0.0))


def test_a_revision_bump_changes_every_id_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = minimal_cell()
    assert isinstance(cell.model, DistilledModel)
    before = cell_id(cell), stage_id(cell.model, 0), stage_id(cell.model.student, 0)
    monkeypatch.setitem(identity.REVISIONS, "grpo", 2)
    assert cell_id(cell) != before[0]
    assert stage_id(cell.model, 0) != before[1]
    assert stage_id(cell.model.student, 0) == before[2]  # no grpo behind the student
    monkeypatch.setitem(identity.REVISIONS, "grpo", 1)
    monkeypatch.setitem(identity.REVISIONS, "evaluate", 2)
    assert cell_id(cell) != before[0]
    assert stage_id(cell.model, 0) == before[1]


def test_a_local_path_is_no_identity_but_its_digest_is() -> None:
    here, there = LocalModel(path="a", digest="0" * 16), LocalModel(path="b", digest="0" * 16)
    assert canonical(here) == canonical(there) != canonical(LocalModel(path="a", digest="1" * 16))
    with pytest.raises(SpecError, match="not made by a stage"):
        stage_id(HubModel(id="a/b", revision="c" * 40), 0)


def test_every_preset_names_itself_and_no_two_share_a_tuple() -> None:
    for name, (fields, _) in PRESETS.items():
        k = {"k": 5} if str(fields.get("support", "full")) not in ("full", "sampled") else {}
        assert objective_name(Objective(**fields, **k)) == name
    assert objective_name(Objective(temperature=2.0)) == "2"


def _leaves(dump: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(dump, dict):
        return [leaf for key, value in dump.items() for leaf in _leaves(value, (*path, key))]
    return [path]


_OTHER: dict[str, Any] = {
    "divergence": "forward_kl",
    "reduction": "token_mean", "lr_scheduler_type": "linear", "name": "another", "task": "another",
    "scale": "paper", "sampler": "qwen3",
    "A": 0.5, "initializer_range": 0.01, "tie_word_embeddings": False, "support": "sampled",
    "guard": "stop", "grader": "math-1", "vocabulary": "worlds", "dtype": "bfloat16",
    "teacher_dtype": "bfloat16",
    "lora": {"rank": 2, "alpha": 4.0}, "scoring": {"kind": "server", "top_k": "all"},
}  # fmt: skip
_FLOATS = {0.9: 0.8, 0.95: 0.8, 1.0: 0.5, 0.0: 0.5, 0.2: 0.3, 1e-3: 2e-3}
_LEAVES = _leaves(minimal_cell().model_dump())


def _changed(path: tuple[Any, ...], value: Any) -> Any:
    """Another valid value of the same field, or None when no change of this field alone is
    valid.
    """
    if path == ("model", "training", "rollouts_per_prompt") or path[-1] == "min_operations":
        return None  # one rollout is all that distillation has; min moves past max
    if path[-1] in ("lora", "dtype") and path[:-1] != ("model", "training"):
        return None  # not for a model that is pretrained here
    if path[-1] in _OTHER:
        return _OTHER[path[-1]]
    if type(value) is int:
        return value + 2
    return _FLOATS.get(value) if type(value) is float else None


def _dump_with(path: tuple[Any, ...]) -> dict[str, Any] | None:
    dump = minimal_cell().model_dump()
    *parents, last = path
    place = dump
    for key in parents:
        place = place[key]
    place[last] = _changed(path, place[last])
    return None if place[last] is None else dump


_CHANGEABLE = [path for path in _LEAVES if _dump_with(path) is not None]


def test_nearly_every_field_can_be_changed_alone() -> None:
    """What the next test cannot reach: discriminators, and objective fields that need a
    second one.
    """
    left = {path[-1] for path in _LEAVES} - {path[-1] for path in _CHANGEABLE}
    together = {
        "k",
        "normalisation",
        "gradient",
        "missing",
        "beta",
        "advantage",
        "constant_tokens",
        "problems",
        "thinking",
        "min_operations",
    }
    own_code = {"python", "reward"}  # tests/train/test_user_code.py changes them
    assert left <= {"kind", "privileged", "also", "prefix", "probes", *together, *own_code}
    assert len(_CHANGEABLE) > 100


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(_CHANGEABLE))
def test_the_id_changes_when_any_identity_field_changes(path: tuple[Any, ...]) -> None:
    dump = _dump_with(path)
    assert dump is not None
    if (
        path[-1] == "support"
    ):  # the sampled token has its own gradient; the change must be one that is a loss
        dump["model"]["objective"]["gradient"] = "score_function"
    changed, known = (
        Run(cell=cell, seed=0) for cell in (Cell.model_validate(dump), minimal_cell())
    )
    assert run_id(changed) != run_id(known)
    # The repeats of a cell share its id and differ in those of their runs.
    assert (cell_id(changed.cell) == cell_id(known.cell)) == (path == ("model", "repeat"))


def test_the_fields_that_need_another_one_are_part_of_the_identity_too() -> None:
    dump = minimal_cell().model_dump()
    sampled = {"support": "sampled", "gradient": "score_function"}
    variants = [
        sampled,
        sampled | {"advantage": 1.0},
        sampled | {"advantage": 2.0},
        sampled | {"reduction": "constant"},
        sampled | {"reduction": "constant", "constant_tokens": 48},
    ]
    ids: set[str] = set()
    for fields in variants:
        dump["model"]["objective"] = Objective.model_validate(fields).model_dump()
        ids.add(cell_id(Cell.model_validate(dump)))
    assert len(ids) == len(variants)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0.0)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=_JSON)
def test_the_canonical_form_loses_nothing_and_ignores_the_order_of_keys(value: Any) -> None:
    assert json.loads(canonical(value)) == value
    if isinstance(value, dict):
        assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_privileged_information_is_identity() -> None:
    cell = minimal_cell()
    assert isinstance(cell.model, DistilledModel)
    told = cell.model.model_copy(update={"privileged": PrivilegedInformation(template="{answer}")})
    other = cell.model.model_copy(
        update={"privileged": PrivilegedInformation(template="{answer}", source="other")}
    )
    assert (
        len(
            {
                cell_id(Cell(scale="lab", model=m, evaluation=cell.evaluation))
                for m in (cell.model, told, other)
            }
        )
        == 3
    )


def test_only_paths_are_left_out_of_identity() -> None:
    assert {LocalModel: frozenset({"path"}), Code: frozenset({"file"})} == NOT_IDENTITY


def test_labels_are_not_identity(tmp_path: Path) -> None:
    page = """
name: labels
question: Do labels matter?
base: {student: student, teacher: rlvr, objective: full_reverse_kl,
  length: standard, data: math, evaluation: math}
factors: {objective: {%s: full_reverse_kl}}
"""
    ids: set[str] = set()
    for word in ("one", "another"):
        path = tmp_path / f"{word}.yaml"
        path.write_text(page % word, encoding="utf-8")
        ids |= {cell.cell_id for cell in load_grid(str(path)).cells}
    assert len(ids) == 1
