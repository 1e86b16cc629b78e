"""Find out whether a training problem occurs in a benchmark.

contaminated(text) = same words, or it holds half of a benchmark problem's 13-grams.

Words are the runs of letters and digits of the text in lower case, so that typography and
backslashes of LaTeX commands do not hide a copy. A benchmark problem of fewer than NGRAM words
counts only if all its words are the same, because short texts share phrases by chance. This rule is
ours; the reference code checks nothing. GPT-3 and Qwen2.5-Math used the length 13; the share
excludes stock phrases.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

NGRAM = 13
SHARE = 0.5

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@dataclass
class Benchmarks:
    """Problems to keep out of training, by the name of their benchmark."""

    _texts: dict[int, str] = field(default_factory=dict[int, str])  # hash of all words -> benchmark
    # Hash of a 13-gram -> problems that have it.
    _grams: dict[int, set[int]] = field(default_factory=dict[int, set[int]])
    # Problem -> (benchmark, distinct 13-grams).
    _sizes: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def add(self, benchmark: str, problems: Iterable[str]) -> None:
        for text in problems:
            found = words(text)
            self._texts.setdefault(hash(tuple(found)), benchmark)
            grams = set(_grams(found))
            for gram in grams:
                self._grams.setdefault(gram, set()).add(len(self._sizes))
            self._sizes.append((benchmark, len(grams)))

    def holding(self, text: str) -> str | None:
        """Return the benchmark that holds this problem, or None."""
        found = words(text)
        if (benchmark := self._texts.get(hash(tuple(found)))) is not None:
            return benchmark
        shared: dict[int, int] = {}
        for gram in set(_grams(found)) & self._grams.keys():
            for problem in self._grams[gram]:
                shared[problem] = shared.get(problem, 0) + 1
        return next(
            (
                self._sizes[p][0]
                for p, n in sorted(shared.items())
                if n >= SHARE * self._sizes[p][1]
            ),
            None,
        )


def _grams(found: list[str]) -> Iterator[int]:
    return (hash(tuple(found[i : i + NGRAM])) for i in range(len(found) - NGRAM + 1))
