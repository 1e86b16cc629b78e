"""What all tests share: garbage collection without the imported libraries, and tiny lab models."""

import gc


def pytest_collection_finish() -> None:
    """Leave out of garbage collection what is imported by now: it lives as long as the process.

    torch, transformers and trl make a million objects. Every trainer collects garbage once, and
    Python does it by itself; both would walk through all of them, half of the time of a tiny stage.
    """
    gc.collect()
    gc.freeze()
