"""Claims as they were declared: every state of `experiments/claims/` in which runs were started,
kept by content.

state = the claims pages in force, file name -> bytes
hash  = sha256 over the lines `<file name>\\0<sha256 of its bytes>`, names sorted; a record holds it
      as `provenance.claims`
place = results/declared/<first 16 digits of the hash>/<file name>

So whether a claim stood before a run started can be read from the run's record, and nobody has to
say it. Records from the time of one single claims file hold the sha256 of that file: such a state
is one page with this sha256. A state whose pages do not give its hash is refused.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from study.errors import RecordMismatch
from study.record.store import atomic_write
from study.spec.yaml.load import experiment_folders

Pages = Mapping[str, bytes]
DIGITS = 16


def in_force(root: Path | None = None) -> dict[str, bytes]:
    """The claims pages that a run which starts now is under; a page of the working folder hides the
    shipped one of its name.
    """
    pages: dict[str, bytes] = {}
    for folder in reversed(experiment_folders(root)):
        pages |= {path.name: path.read_bytes() for path in (folder / "claims").glob("*.yaml")}
    return dict(sorted(pages.items()))


def state_hash(pages: Pages) -> str | None:
    """None where no claim is declared at all."""
    if not pages:
        return None
    lines = (f"{name}\0{hashlib.sha256(pages[name]).hexdigest()}\n" for name in sorted(pages))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def keep(declared: Path, pages: Pages) -> str | None:
    """Store a state below the folder `declared`, once; its hash."""
    name = state_hash(pages)
    if name is not None:
        for file, data in pages.items():
            path = declared / name[:DIGITS] / file
            if not path.is_file():
                atomic_write(path, data)
    return name


def stored(declared: Path, name: str) -> dict[str, bytes]:
    """The pages of a state, empty if it is not stored here. Errors: RecordMismatch if they are not
    what the hash says.
    """
    folder = declared / name[:DIGITS]
    pages = {path.name: path.read_bytes() for path in sorted(folder.glob("*.yaml"))}
    single = hashlib.sha256(next(iter(pages.values()))).hexdigest() if len(pages) == 1 else None
    if pages and name not in (state_hash(pages), single):
        raise RecordMismatch(
            f"{folder}: its pages are not those of the state {name}",
            hint=f"restore them: git checkout -- {folder}",
        )
    return pages


def copy_states(names: set[str], source: Path, target: Path) -> None:
    """Copy states, each checked, from one `declared` folder to another; what is not in `source` is
    left out.
    """
    if source.resolve() == target.resolve():
        return
    for name in sorted(names):
        for file, data in stored(source, name).items():
            atomic_write(target / name[:DIGITS] / file, data)
