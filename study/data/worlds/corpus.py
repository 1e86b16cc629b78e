"""Choose the author of a corpus: which world writes the documents that a training stage reads."""

from typing import assert_never

import numpy as np

from study.data.worlds import arithmetic
from study.data.worlds.common import Author
from study.data.worlds.hidden_fact import HiddenFactAuthor
from study.data.worlds.search import SearchAuthor
from study.data.worlds.shared_rule import SharedAuthor
from study.errors import SpecError
from study.spec.recipe.corpus import (
    ArithmeticCorpus,
    HiddenFactCorpus,
    SearchCorpus,
    SharedCorpus,
    WorldCorpus,
)
from study.spec.recipe.data import ArithmeticData, Data


def author(data: Data, corpus: WorldCorpus, rng: np.random.Generator) -> Author:
    """Return the author. Errors: SpecError if the data are of another world than the corpus."""
    if data.kind != corpus.kind:
        raise SpecError(
            f"a corpus of kind {corpus.kind} cannot be written from data of kind {data.kind}",
            hint=f"use {corpus.kind} data",
        )
    match corpus:
        case ArithmeticCorpus():
            assert isinstance(data, ArithmeticData)  # the kinds are equal
            return arithmetic.Author(data, corpus, rng)
        case SearchCorpus():
            return SearchAuthor(corpus, rng)
        case HiddenFactCorpus():
            return HiddenFactAuthor(corpus, rng)
        case SharedCorpus():
            return SharedAuthor(corpus, rng)
        case _:
            assert_never(corpus)
