"""What all tests share: garbage collection without the imported libraries, and tiny lab models."""

import gc
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    """Leave out of garbage collection what is imported by now: it lives as long as the process.

    torch, transformers and trl make a million objects. Every trainer collects garbage once, and
    Python does it by itself; both would walk through all of them, half of the time of a tiny stage.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def lab_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three tiny random models of one tokenizer, by their roles in a recipe; only to be read."""
    from tests.support.random_models import random_models  # imports torch
    from tests.support.tiny_stages import ARCHITECTURE

    roles = ("student", "teacher", "base")
    return random_models(tmp_path_factory.mktemp("models"), ARCHITECTURE, *roles)
