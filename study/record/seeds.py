"""Derive named random streams: stream(seed, names) = first 63 bits of
sha256("streams-1/seed/name/...").

Every draw takes a generator made from one of these numbers, so that two draws of one run never
share a stream, the order in which parts of the program run does not matter, and all cells with one
seed see the same data order (common random numbers). The version in the text is part of every
number: changing the rule is a change of identity (bump the stage revisions with it).
"""

import hashlib

STREAMS_VERSION = 1
# torch.Generator.manual_seed and numpy.random.default_rng take it whole; legacy numpy.random.seed
# wants `% 2**32`
_BITS = 63


def stream(seed: int, *names: str | int) -> int:
    """Return a number in [0, 2**63) for the stream `names` of the run seed `seed`.

    Names are strings or whole numbers (a step, a problem's index); ("a/b",) and ("a", "b") are
    different streams, and so are 1 and "1".
    """
    text = "/".join(
        [f"streams-{STREAMS_VERSION}", repr(int(seed)), *(_spelled(name) for name in names)]
    )
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - _BITS)


def training_seed(seed: int, repeat: int) -> int:
    """Return the seed of a trained stage's own draws: the run's, and for a repeat another one.

    Below 2**31, which every random generator takes.
    """
    return stream(seed, "repeat", repeat) % 2**31 if repeat else seed


def _spelled(name: str | int) -> str:
    if type(name) not in (str, int):  # True == 1, and a float's repr is not a name
        raise TypeError(f"a stream name is a string or a whole number, not {name!r}")
    return repr(name)
