"""What is remembered of records never outlives their bytes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.evidence import loading, reading
from analysis.evidence.reading import each_parsed_once, read_again
from study.errors import RecordMismatch
from study.record.schema import Record, record_bytes, sealed
from study.record.store import parse_record, write_record
from study.spec.grid.grid import Grid, load_grid
from tests.support import synthetic


@pytest.fixture(scope="module")
def grid() -> Grid:
    return load_grid("math", "lab")


@pytest.fixture
def records(grid: Grid, tmp_path: Path) -> list[Record]:
    made = synthetic.records(grid, seeds=[0], core=True)
    for record in made:
        write_record(tmp_path / f"{record.run}.json", record)
    return made


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bytes that are parsed while records are remembered."""
    found: list[bytes] = []

    def counting(data: bytes) -> Record:
        found.append(data)
        return parse_record(data)

    monkeypatch.setattr(reading, "parse_record", counting)
    return found


@pytest.fixture
def remembered(parsed: list[bytes]) -> Iterator[None]:
    with each_parsed_once():
        yield


def load(folder: Path) -> loading.Evidence:
    return loading.load(folder, grid="math", scale="lab", seeds=[0], core=True)


pytestmark = pytest.mark.usefixtures("remembered")


def test_two_readers_parse_a_record_once(
    records: list[Record], parsed: list[bytes], tmp_path: Path
) -> None:
    first, second = load(tmp_path), load(tmp_path)
    assert len(parsed) == len(records)
    assert first.runs.equals(second.runs)
    assert first.curves.record(records[0].run) == records[0]
    assert len(parsed) == len(records)


def test_a_record_made_again_is_read_again(
    records: list[Record], parsed: list[bytes], tmp_path: Path
) -> None:
    """Same name, size and time: other bytes are another record."""
    path = tmp_path / f"{records[0].run}.json"
    load(tmp_path)
    before = path.stat()
    made = records[0].provenance.model_copy(update={"code": "1" * 64})
    later = sealed(records[0].model_copy(update={"provenance": made}))
    path.write_bytes(record_bytes(later))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    again = load(tmp_path)
    assert {made.code for made in again.made} == {"0" * 64, "1" * 64}
    assert len(parsed) == len(records) + 1


def test_a_damaged_record_is_found_after_it_was_read_whole(
    records: list[Record], tmp_path: Path
) -> None:
    path = tmp_path / f"{records[0].run}.json"
    load(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"seed":0', b'"seed":1', 1))
    for _ in range(2):  # a failure is not remembered as a success, nor forgotten
        with pytest.raises(RecordMismatch, match="its content does not match its seal"):
            load(tmp_path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordMismatch, match="a corrupt record"):
        load(tmp_path)
    path.write_bytes(whole)
    assert len(load(tmp_path).runs) == len(records)


def test_a_seal_of_another_record_is_found(records: list[Record], tmp_path: Path) -> None:
    one, other = records[:2]
    path = tmp_path / f"{one.run}.json"
    load(tmp_path)
    path.write_bytes(path.read_bytes().replace(one.seal.encode(), other.seal.encode()))
    with pytest.raises(RecordMismatch, match="its content does not match its seal"):
        load(tmp_path)


def test_a_deleted_record_is_missing(records: list[Record], tmp_path: Path) -> None:
    load(tmp_path)
    (tmp_path / f"{records[0].run}.json").unlink()
    assert [run.run_id for run in load(tmp_path).missing] == [records[0].run]


def test_more_records_than_are_remembered_are_all_read(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "REMEMBERED", 2)
    with each_parsed_once():
        assert len(load(tmp_path).runs) == len(load(tmp_path).runs) == len(records)


def test_nothing_is_remembered_outside_of_the_block(records: list[Record], tmp_path: Path) -> None:
    path = tmp_path / f"{records[0].run}.json"
    with each_parsed_once():
        inside = read_again(path)
        assert read_again(path) is inside
    with each_parsed_once():
        outside = read_again(path)
    assert outside is not inside
    assert outside == inside
