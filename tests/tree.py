"""docs/tree.md: every module with the first sentence of its docstring. Write it anew: `python -m
tests.tree`.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tree.md"
PLACES = ("study", "analysis", "benchmarks", "tests")


def tree() -> str:
    lines = [
        "# Every file, in one sentence",
        "",
        "Written from the files themselves: `python -m tests.tree`.",
    ]
    for folder in sorted(
        {path.parent for place in PLACES for path in (ROOT / place).rglob("*.py")}
    ):
        rows = [
            f"- `{path.name}` - {sentence}"
            for path in sorted(folder.glob("*.py"))
            if (sentence := first_sentence(path))
        ]
        if rows:
            lines += ["", f"## {folder.relative_to(ROOT).as_posix()}/", "", *rows]
    return "\n".join(lines) + "\n"


def first_sentence(path: Path) -> str:
    """Up to the first full stop or colon-ended line of the module's docstring; empty for an empty
    module.
    """
    source = path.read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    if source.strip() and not text:
        raise ValueError(f"{path.relative_to(ROOT)} has no docstring")
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]


if __name__ == "__main__":
    PAGE.write_text(tree(), encoding="utf-8")
