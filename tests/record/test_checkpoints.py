"""Checkpoints as files: sealed whole or not there at all, at most two on disk, never one of another
state of the code. No torch.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study.record import checkpoints as module
from study.record import provenance
from study.record.checkpoints import MANIFEST, Checkpoints


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Path]:
    """Folders as a trainer writes them."""

    def make(text: str) -> Path:
        folder = tmp_path / "trainer" / f"checkpoint-{text}"
        (folder / "sub").mkdir(parents=True)
        (folder / "model.safetensors").write_text(text)
        (folder / "sub" / "rng.bin").write_text("state")
        return folder

    return make


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_the_newest_is_found_and_older_ones_go(tmp_path: Path, made: Callable[[str], Path]) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.latest() is None
    for step in (9, 10):  # 10 sorts before 9 as a text
        place = checkpoints.seal(made(str(step)), step)
        assert names(tmp_path / "c") == [place.name]
    assert (Checkpoints(tmp_path / "c").latest() or tmp_path).name == "step-10"
    assert (tmp_path / "c" / "step-10" / "model.safetensors").read_text() == "10"
    assert names(tmp_path / "trainer") == []


@pytest.mark.parametrize("place", ["move", "seal_folder", "remove"])
def test_killed_while_sealing_an_intact_one_remains(
    place: str, tmp_path: Path, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the folder has come over, before it has its name, before the older one is gone."""
    Checkpoints(tmp_path / "c").seal(made("1"), 1)
    second = made("2")
    with monkeypatch.context() as patch:
        match place:
            case "move":
                patch.setattr(module.shutil, "move", killed)
            case "seal_folder":
                patch.setattr(module, "seal_folder", killed)
            case _:
                original = module._remove
                patch.setattr(
                    module,
                    "_remove",
                    lambda path: killed() if path.name == "step-1" else original(path),
                )
        with pytest.raises(KeyboardInterrupt):
            Checkpoints(tmp_path / "c").seal(second, 2)
    found = Checkpoints(tmp_path / "c").latest()
    assert found is not None
    assert found.name == ("step-2" if place == "remove" else "step-1")
    assert names(tmp_path / "c") == [found.name], "what is half-written or older is removed"


def killed(*_: object) -> None:
    raise KeyboardInterrupt


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda folder: os.truncate(folder / "model.safetensors", 0),
    "missing": lambda folder: (folder / "sub" / "rng.bin").unlink(),
    "foreign": lambda folder: (folder / "optimizer.pt").write_text("of another run"),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "half a manifest": lambda folder: os.truncate(folder / MANIFEST, 20),
    "renamed": lambda folder: folder.rename(folder.with_name("step-7")),
    "a list": lambda folder: (folder / MANIFEST).write_text("[]"),
    "spent": lambda folder: rewritten(folder, spent={"wall_s": "long"}),
    "outside": lambda folder: rewritten(folder, files={"../step-1/model.safetensors": "0" * 64}),
    "other code": lambda folder: rewritten(folder, written_by={"code": "0" * 16}),
}


def rewritten(folder: Path, **values: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(json.dumps(manifest | values))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_one_is_not_used(
    kind: str, tmp_path: Path, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one is used where it is still there; nothing where there is none.

    What is damaged is removed.
    """
    with monkeypatch.context() as patch:  # both stay, as after a kill
        patch.setattr(module.Checkpoints, "_entries", lambda self: [])
        Checkpoints(tmp_path / "c").seal(made("1"), 1)
        Checkpoints(tmp_path / "c").seal(made("2"), 2)
    DAMAGE[kind](tmp_path / "c" / "step-2")
    assert Checkpoints(tmp_path / "c").latest() == tmp_path / "c" / "step-1"
    assert names(tmp_path / "c") == ["step-1"]
    DAMAGE[kind](tmp_path / "c" / "step-1")
    assert Checkpoints(tmp_path / "c").latest() is None
    assert names(tmp_path / "c") == []


def test_of_another_state_of_the_code_is_not_used(
    tmp_path: Path, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Checkpoints(tmp_path / "c").seal(made("1"), 1)
    monkeypatch.setattr(provenance, "packages", lambda: {"torch": "0.1"})
    assert Checkpoints(tmp_path / "c").latest() is None


def test_seconds_of_attempts_add_up_over_the_checkpoints_that_were_continued(
    tmp_path: Path, made: Callable[[str], Path]
) -> None:
    first = Checkpoints(tmp_path / "c", clock=lambda: {"wall_s": 10.0, "core_s": 4.0})
    assert first.spent() == {"wall_s": 0.0, "core_s": 0.0}
    first.seal(made("1"), 1)
    assert first.spent() == {"wall_s": 0.0, "core_s": 0.0}, "its own seconds are on its own clock"
    second = Checkpoints(tmp_path / "c", clock=lambda: {"wall_s": 3.0, "core_s": 1.0})
    second.latest()
    assert second.spent() == {"wall_s": 10.0, "core_s": 4.0}
    second.seal(made("2"), 2)
    third = Checkpoints(tmp_path / "c")
    third.latest()
    assert third.spent() == {"wall_s": 13.0, "core_s": 5.0}


def test_due_after_a_while_or_when_a_stop_is_asked(
    tmp_path: Path, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path / "c", every_s=30)
    now[0] = 129
    assert not checkpoints.due()
    now[0] = 130
    assert checkpoints.due()
    checkpoints.seal(made("1"), 1)
    assert not checkpoints.due()
    checkpoints.ask_to_stop()
    assert checkpoints.due()
    assert Checkpoints(tmp_path / "c", every_s=0).due()


def test_the_folder_goes_with_clear(tmp_path: Path, made: Callable[[str], Path]) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.clear()  # a stage too short for a checkpoint
    checkpoints.seal(made("1"), 1)
    checkpoints.clear()
    assert not (tmp_path / "c").exists()


def test_kept_weights_outlive_checkpoints_and_only_whole_ones_are_taken(
    tmp_path: Path, made: Callable[[str], Path]
) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep="all")
    for step in (1, 2, 3):
        folder = made(str(step))
        checkpoints.keep_weights([folder / "model.safetensors"], step)
        checkpoints.seal(folder, step)
    assert names(tmp_path / "c") == ["kept", "step-3"]
    os.truncate(tmp_path / "c" / "kept" / "step-2" / "model.safetensors", 0)
    shutil.copytree(tmp_path / "c" / "kept" / "step-3", tmp_path / "c" / "kept" / "step-4.partial")
    again = Checkpoints(tmp_path / "c", keep="all")
    assert again.latest() == tmp_path / "c" / "step-3"
    again.take_kept(tmp_path / "out" / "steps")
    assert names(tmp_path / "out" / "steps") == ["step-1", "step-3"]
    assert names(tmp_path / "out" / "steps" / "step-3") == ["model.safetensors"]


def test_a_link_is_no_checkpoint(tmp_path: Path, made: Callable[[str], Path]) -> None:
    """A link in the folder is removed, not what it leads to."""
    Checkpoints(tmp_path / "elsewhere").seal(made("5"), 5)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "step-5").symlink_to(tmp_path / "elsewhere" / "step-5")
    assert Checkpoints(tmp_path / "c").latest() is None
    assert names(tmp_path / "c") == []
    assert names(tmp_path / "elsewhere") == ["step-5"]
