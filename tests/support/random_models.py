"""Folders with small random models of the lab's tokenizer, for tests of what reads models from
folders.
"""

from pathlib import Path

from study.models.lab import build_model, build_tokenizer
from study.models.loading import save
from study.spec.recipe.model import Architecture, LabTokenizer


def random_models(root: Path, architecture: Architecture, *names: str) -> dict[str, Path]:
    """Return name -> folder; model i has seed i."""
    tokenizer = build_tokenizer(LabTokenizer())
    for seed, name in enumerate(names):
        save(build_model(architecture, len(tokenizer), seed), tokenizer, root / name)
    return {name: root / name for name in names}
