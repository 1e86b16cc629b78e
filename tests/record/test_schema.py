"""Schema versions: committed records of schema 1 are read, upgraded and compared with today's;
their files stay as they are.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from study.errors import RecordMismatch
from study.record.schema import (
    Cost,
    Guard,
    Record,
    content,
    record_bytes,
    same_content,
    seal_matches,
    seal_of,
    sealed,
)
from study.record.store import Results, atomic_write, read_record, write_record
from study.record.upgrade import NewerSchema, from_1_to_2, upgraded
from study.runner.verbs.publish import publish
from tests.record.test_record import record
from tests.support.paths import ROOT

COMMITTED = sorted((ROOT / "results" / "records").glob("*.json"))
NEW = ("revisions", "guard", "collapsed_at", "probes", "repeat")


def as_schema_1(made: Record) -> dict[str, Any]:
    """What version 1 of the schema would have written for the same run."""
    value = {
        name: item for name, item in made.model_dump(mode="json").items() if name not in NEW
    } | {"schema": 1}
    for later in ("machine", "stage_machines", "stage_claims", "preregistration"):
        value["provenance"].pop(later)
    return value | {"seal": seal_of(value)}


def write(path: Path, value: dict[str, Any]) -> Path:
    atomic_write(
        path,
        (
            json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
        ).encode(),
    )
    return path


def test_committed_records_of_schema_1_read_as_todays() -> None:
    old = [path for path in COMMITTED if b'"schema":1' in path.read_bytes()]
    assert len(old) >= 72
    for path in old[::9]:
        written = json.loads(path.read_bytes())
        read = read_record(path)
        assert (read.schema_version, read.status, read.guard, read.collapsed_at) == (
            4,
            "completed",
            None,
            None,
        )
        assert read.revisions == dict.fromkeys(written["cost"], 1)
        assert read.seal == written["seal"]
        kept = read.model_dump(mode="json", exclude={"schema_version", *NEW})
        made = kept["provenance"]
        assert (made.pop("machine"), made.pop("stage_machines")) == (None, {})
        assert (made.pop("stage_claims"), made.pop("preregistration")) == (None, None)
        assert kept == {name: item for name, item in written.items() if name != "schema"}


def test_an_old_file_whose_content_changed_is_corrupt(tmp_path: Path) -> None:
    value = as_schema_1(record()) | {"seed": 7}
    with pytest.raises(RecordMismatch, match="does not match its seal"):
        read_record(write(tmp_path / "records" / "a-s0.json", value))


def test_a_newer_schema_is_said_to_be_newer_and_not_corrupt(tmp_path: Path) -> None:
    value = record().model_dump(mode="json") | {"schema": 5, "a_field_of_tomorrow": 1}
    path = write(tmp_path / "records" / "a-s0.json", value | {"seal": seal_of(value)})
    with pytest.raises(NewerSchema, match=r"made by a newer version.*schema 5") as caught:
        read_record(path)
    assert str(path) in caught.value.message
    assert "corrupt" not in caught.value.message


@pytest.mark.parametrize("version", [0, "1", None, 1.0, True])
def test_a_schema_that_never_was_is_refused(tmp_path: Path, version: object) -> None:
    value = record().model_dump(mode="json") | {"schema": version}
    path = write(tmp_path / "records" / "a-s0.json", value | {"seal": seal_of(value)})
    with pytest.raises(RecordMismatch, match=r"corrupt record \(schema") as caught:
        read_record(path)
    assert "git checkout" in caught.value.hint


def test_an_old_record_that_lacks_a_field_of_its_own_schema_is_refused(tmp_path: Path) -> None:
    value = {name: item for name, item in as_schema_1(record()).items() if name != "cost"}
    with pytest.raises(RecordMismatch, match="cost"):
        read_record(write(tmp_path / "a.json", value | {"seal": seal_of(value)}))


def test_the_upgrade_changes_nothing_but_what_it_adds() -> None:
    old = as_schema_1(record())
    before = json.dumps(old)
    new = from_1_to_2(old)
    assert json.dumps(old) == before
    assert {name: new[name] for name in old if name != "schema"} == {
        name: item for name, item in old.items() if name != "schema"
    }
    today = upgraded(old)
    assert today == {**new, "schema": 4}
    assert upgraded(today) == today


def test_an_old_record_and_its_execution_today_agree_where_both_have_the_field(
    tmp_path: Path,
) -> None:
    cost = {
        "distill": Cost(wall_s=9.0, core_s=9.0, tokens_sampled=10),
        "evaluate": Cost(wall_s=1.0, core_s=1.0, tokens_sampled=900),
    }
    revisions = {"distill": 1, "evaluate": 1}
    today = record(
        cost=cost, revisions=revisions, guard=Guard(policy="observe", alarms={"entropy": 3})
    )
    uncounted = cost | {"evaluate": Cost(wall_s=2.0, core_s=2.0)}
    old = read_record(
        write(tmp_path / "a.json", as_schema_1(record(cost=uncounted, revisions=revisions)))
    )
    assert same_content(old, today)
    assert same_content(today, old)
    assert not same_content(old, record(cost=cost, revisions=revisions, seed=1))
    assert not same_content(old, record(cost=cost, revisions={"distill": 2, "evaluate": 1}))


def test_two_records_of_today_must_agree_in_guard_and_evaluation_tokens() -> None:
    guards = [Guard(policy="observe", alarms={"entropy": step}) for step in (3, 4)]
    assert not same_content(record(guard=guards[0]), record(guard=guards[1]))
    costs = [{"evaluate": Cost(wall_s=1.0, core_s=1.0, tokens_sampled=n)} for n in (900, 901)]
    assert not same_content(record(cost=costs[0]), record(cost=costs[1]))
    assert content(record(guard=guards[0])) == content(record(guard=guards[0]))


def test_an_upgraded_record_is_not_written_under_the_seal_of_its_old_form(tmp_path: Path) -> None:
    old = read_record(write(tmp_path / "a.json", as_schema_1(record())))
    with pytest.raises(RecordMismatch, match="seal"):
        write_record(tmp_path / "b.json", old)


def test_publish_leaves_a_committed_record_of_the_old_schema_alone(tmp_path: Path) -> None:
    results = Results(tmp_path)
    write_record(results.record("cell-00000000-s0"), record())
    committed = write(results.records / "cell-00000000-s0.json", as_schema_1(record()))
    before = committed.read_bytes()
    assert publish(results, results.records).same == ["cell-00000000-s0"]
    assert committed.read_bytes() == before


@pytest.mark.parametrize(("status", "step"), [("completed", 3), ("collapsed", None)])
def test_status_and_step_of_a_collapse_belong_together(status: str, step: int | None) -> None:
    with pytest.raises(ValidationError, match="collapsed_at"):
        record(status=status, collapsed_at=step)
    assert record(status="collapsed", collapsed_at=3).collapsed_at == 3


def test_the_seal_over_the_bytes_is_the_seal_of_the_value() -> None:
    data = record_bytes(record())
    assert seal_matches(data)
    assert seal_matches(json.dumps(json.loads(data), indent=1).encode())
    tricky = sealed(record(spec={"text": '"seal":"' + "0" * 64 + '",', "seal": "f" * 64}))
    assert seal_matches(record_bytes(tricky))
    assert not seal_matches(data.replace(b'"seed":0', b'"seed":1'))
    assert not seal_matches(data.replace(record().seal.encode(), b"0" * 64))
