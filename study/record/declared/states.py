"""Store every state of the claims in which runs were started, by content.

    state = the files in force, name -> bytes
              GRID.yaml             the claims of a grid
              findings/NAME.yaml    findings, which are the families of the claims
              world.json            what the arms were (study/record/declared/world.py)
    hash  = sha256 over the lines `<file name>\\0<sha256 of its bytes>`, names sorted; a record
            holds it as `provenance.claims`
    place = results/declared/<first 16 digits of the hash>/<file name>

So a run's record shows whether a claim was declared before the run started. States of earlier
versions hold claims only: they do not say what the arms were. Records from the time of a single
claims file hold the sha256 of that file: such a state is one file with this sha256. A state whose
files do not give its hash is refused.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from study.errors import RecordMismatch
from study.record.store import atomic_write
from study.spec.yaml.load import experiment_folders

Pages = Mapping[str, bytes]
DIGITS = 16
WORLD = "world.json"
FINDINGS = "findings"


def in_force(root: Path | None = None) -> dict[str, bytes]:
    """Return the claims and findings for a run that starts now; a file of the working folder hides
    the shipped one of its name. No claims: nothing is declared.
    """
    pages: dict[str, bytes] = {}
    findings: dict[str, bytes] = {}
    for folder in reversed(experiment_folders(root)):
        pages |= {path.name: path.read_bytes() for path in (folder / "claims").glob("*.yaml")}
        findings |= {
            f"{FINDINGS}/{path.name}": path.read_bytes()
            for path in (folder / FINDINGS).glob("*.yaml")
        }
    return dict(sorted((pages | findings).items())) if pages else {}


def state_hash(pages: Pages) -> str | None:
    """Return the hash of a state; None where no claim is declared at all."""
    if not pages:
        return None
    lines = (f"{name}\0{hashlib.sha256(pages[name]).hexdigest()}\n" for name in sorted(pages))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def keep(declared: Path, pages: Pages) -> str | None:
    """Store a state below the folder `declared`, once; return its hash."""
    name = state_hash(pages)
    if name is not None:
        for file, data in pages.items():
            path = declared / name[:DIGITS] / file
            if not path.is_file():
                atomic_write(path, data)
    return name


def stored(declared: Path, name: str) -> dict[str, bytes]:
    """Return the files of a state, empty if it is not stored here. Errors: RecordMismatch if they
    do not give the hash.
    """
    folder = declared / name[:DIGITS]
    pages = state_files(folder)
    single = hashlib.sha256(next(iter(pages.values()))).hexdigest() if len(pages) == 1 else None
    if pages and name not in (state_hash(pages), single):
        raise RecordMismatch(
            f"{folder}: its pages are not those of the state {name}",
            hint=f"restore them: git checkout -- {folder}",
        )
    return pages


def state_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a state by their name in it; temporary files of a writer are none."""
    places = (folder.glob("*.yaml"), folder.glob(f"{FINDINGS}/*.yaml"), folder.glob(WORLD))
    paths = sorted(path for found in places for path in found)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def copy_states(names: Iterable[str], source: Path, target: Path) -> None:
    """Copy states, each checked, from one `declared` folder to another, except those that are not
    in `source`.
    """
    if source.resolve() == target.resolve():
        return
    for name in sorted(names):
        for file, data in stored(source, name).items():
            atomic_write(target / name[:DIGITS] / file, data)
