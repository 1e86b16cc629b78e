"""Estimate accuracy from one set of samples: avg@k, unbiased pass@k, maj@k.

Axes: P problems, S samples per problem. Counts are whole numbers of correct samples; a score is a
fraction in [0, 1].
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = Sequence[int] | NDArray[np.int64]


def avg_at_k(correct_counts_P: Counts, k: int) -> float:
    """Return avg@k = mean over problems of c_p / k, with c_p of k samples correct: the expected
    accuracy of one sample.

    Limit: k = 1 is plain accuracy. Raises ValueError on no problems or on a count outside 0..k.
    """
    return float((_checked(correct_counts_P, k) / k).mean())


def pass_at_k(correct_counts_P: Counts, n: int, k: int) -> float:
    """Return pass@k = mean over problems of 1 - C(n - c_p, k) / C(n, k): the chance that k of the n
    samples hold a correct one.

    Unbiased for 1 - (1 - accuracy_p)^k (Chen et al. 2021, arXiv 2107.03374), computed as a product
    so that no binomial overflows. Limits: k = 1 is avg@n; k = n is the share of problems with any
    correct sample. Raises ValueError unless 1 <= k <= n.
    """
    return float(pass_at_k_P(correct_counts_P, n, k).mean())


def pass_at_k_P(correct_counts_P: Counts, n: int, k: int) -> NDArray[np.float64]:
    """Return pass@k of each problem, for intervals over problems."""
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples and k >= 1; there are {n}")
    counts_P = _checked(correct_counts_P, n)
    draws_k = np.arange(k, dtype=np.float64)
    all_wrong_P = np.prod(
        np.clip(n - counts_P[:, None] - draws_k, 0.0, None) / (n - draws_k), axis=1
    )
    return 1.0 - all_wrong_P


def maj_at_k(answers_PS: Sequence[Sequence[str | None]], references_P: Sequence[str]) -> float:
    """Return maj@k = mean over problems of the chance that the most frequent answer is the
    reference.

    A tie between m answers is broken evenly: a tied reference scores 1 / m. An unparsed answer
    (None) casts no vote; without any vote there is no majority answer, and the score is 0. Raises
    ValueError on different numbers of problems.
    """
    if len(answers_PS) != len(references_P):
        raise ValueError(f"{len(answers_PS)} problems with answers, {len(references_P)} references")
    if not references_P:
        raise ValueError("maj@k of no problems is not defined")
    return sum(
        majority_share(answers, reference)
        for answers, reference in zip(answers_PS, references_P, strict=True)
    ) / len(references_P)


def majority_share(answers_S: Sequence[str | None], reference: str) -> float:
    """Return maj@k of one problem."""
    votes = Counter(answer for answer in answers_S if answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == most]
    return 1.0 / len(winners) if reference in winners else 0.0


def _checked(counts: Counts, n: int) -> NDArray[np.float64]:
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("counts must be one whole number per problem, for at least one problem")
    if n < 1 or bool(np.any((values < 0) | (values > n) | (values != np.floor(values)))):
        raise ValueError(f"counts must be whole numbers between 0 and {n}")
    return values
