"""Find circles of imports in `study` and `analysis`: `python -m tests.project.circles`.

Every import counts, also one inside a function or for type checkers alone: a circle that is only
hidden is still a circle for who reads the code. Exit code 1 and the files of each circle when
there is any.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("study", "analysis")


def modules(root: Path, packages: Iterable[str] = PACKAGES) -> dict[str, Path]:
    """Map every dotted module name below the packages to its file."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = path
    return found


def _package(node: ast.ImportFrom, name: str, path: Path) -> str:
    """Return the dotted name after `from`, relative levels resolved."""
    if not node.level:
        return node.module or ""
    above = node.level - 1 if path.name == "__init__.py" else node.level
    parts = name.split(".")
    parts = parts[: len(parts) - above]
    return ".".join([*parts, node.module] if node.module else parts)


def imported(name: str, path: Path, known: Iterable[str]) -> set[str]:
    """Return the known modules that one file imports anywhere in it, itself left out."""
    known = set(known)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = _package(node, name, path)
            members = {f"{package}.{alias.name}" for alias in node.names}
            # `from package import module` names the module, anything else the package itself.
            found |= members & known
            if members - known:
                found.add(package)
    return (found & known) - {name}


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the strongly connected components of two or more modules (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            start = stack.index(name)
            component = sorted(stack[start:])
            del stack[start:]
            if len(component) > 1:
                found.append(component)

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return sorted(found)


def check(root: Path, packages: Iterable[str] = PACKAGES) -> list[str]:
    """Describe every circle below a root: its files, and which of them each one imports."""
    files = modules(root, packages)
    graph = {name: imported(name, path, files) for name, path in files.items()}
    lines = []
    for circle in circles(graph):
        lines.append(f"circle of imports through {len(circle)} files:")
        for name in circle:
            where = files[name].relative_to(root).as_posix()
            others = sorted(graph[name] & set(circle))
            lines.append(f"  {where} imports {', '.join(others)}")
    return lines


def main() -> int:
    lines = check(ROOT)
    if not lines:
        return 0
    print("\n".join(lines), file=sys.stderr)
    print("move what both sides need to a file that imports neither", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
